//! Fuzz targets for what takes bytes from outside. The entries are in `tessera_core::fuzz`; here are those who feed them:
//! libFuzzer (`targets/`), inputs that are kept (`corpus/`), and for machines without cargo-fuzz a loop of seeded noise.
//!
//! A file `corpus/TARGET.hex` has an input a line as hexadecimal digits, behind `#` why it is kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tessera_core::fuzz::{TARGETS, Target};

/// The target of this name.
pub fn target(name: &str) -> Result<&'static Target> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.with_context(|| format!("there is no target `{name}`; there are {}", names()))
}

/// Runs an input through the target `name`, which there is.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target is named as its entry is").run)(bytes);
}

/// What a target begins with: what its entry makes up, and what is kept.
pub fn inputs(target: &Target) -> Result<Vec<Vec<u8>>> {
    let mut all = (target.seeds)();
    let path = corpus().join(format!("{}.hex", target.name));
    if path.exists() {
        let text = std::fs::read_to_string(&path)?;
        for line in text.lines().map(code).filter(|line| !line.is_empty()) {
            all.push(unhex(line).with_context(|| format!("{}: {line}", path.display()))?);
        }
    }
    Ok(all)
}

/// Where inputs are kept.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

/// `bytes` as a line of a corpus.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "bytes are two digits each");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16);
    (0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>().context("not hexadecimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_corpus_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(code(&format!("{}  # all", hex(&bytes)))).unwrap(), bytes);
        assert!(unhex("0").is_err() && unhex("0g").is_err() && unhex("\u{e9}").is_err());
        assert_eq!(code("# only words"), "");
    }

    #[test]
    fn a_target_that_is_not_there_is_answered_with_those_that_are() {
        let error = target("vgic").err().unwrap().to_string();
        assert!(error.contains("vgic_v3") && error.contains("bundle"), "{error}");
    }
}
