//! What once failed stays mended.

use std::collections::BTreeSet;
use std::path::Path;

use tessera_core::fuzz::TARGETS;
use tessera_fuzz::{corpus, inputs};

fn stems(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_kept_input_and_every_seed_passes() {
    for target in TARGETS {
        for input in inputs(target).unwrap() {
            (target.run)(&input);
        }
    }
}

#[test]
fn every_entry_has_a_target_and_every_corpus_an_entry() {
    let entries: BTreeSet<String> = TARGETS.iter().map(|target| target.name.into()).collect();
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
    assert_eq!(stems(&targets), entries);
    assert!(stems(&corpus()).is_subset(&entries));
}
