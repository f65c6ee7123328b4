//! The power goes away in the middle of writes: what a guest was told is on the disk is there, and its file system is whole.
//!
//! Two guests write files, each of a content that its name tells, and say so only when `fsync` has come back. The board is
//! switched off at a moment that a seeded generator chooses. Then the host looks at the partitions, as they are: a file
//! system's journal may be replayed, which is what it is for, and nothing else may be wrong. The next round goes on with the
//! same disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tessera_system_tests::artefacts::{read, run};
use tessera_system_tests::disk::{Made, administrators};
use tessera_system_tests::random::times;
use tessera_system_tests::{
    Boot, EMULATED, Guest, Machine, Partition, RASPI4B, Scene, Target, tests,
};

tests! {
    EMULATED:
        what_was_flushed_is_there_after_each_power_cut_and_the_file_systems_are_whole;
}

const NAMES: [&str; 2] = ["web", "db"];
/// A guest keeps this many files; it deletes the oldest.
const KEPT: u64 = 24;
/// The moments are the same in each run, as far as a busy host lets them be.
const SEED: u64 = 0x7e55_e4a0_c07d_0ff5;
/// The latest moment after the first file of a round.
const LATEST_MILLIS: u64 = 2500;

/// What a guest does: file after file, with numbers that go on where the round before ended. Each has 7 to 63 KB of lines
/// that all say its number.
const WRITE: &str = "cd /mnt; n=$(ls | sed -n 's/^f//p' | sort -n | tail -n 1); n=${n:-0}; \
    while :; do n=$((n+1)); \
    yes \"file $n of $(hostname)\" | head -n $((512 << n % 4)) | dd of=f$n bs=4k conv=fsync 2>/dev/null \
    && echo \"FLUSHED $n\"; rm -f f$((n-KEPT)); done";

fn what_was_flushed_is_there_after_each_power_cut_and_the_file_systems_are_whole(machine: Machine) {
    let scene = Scene::new(machine, "power-cuts");
    let script = WRITE.replace("KEPT", &KEPT.to_string());
    let guest = |(core, name): (u32, &str)| {
        Guest::debian(name, &[core]).memory("96M").disk(name).script(&script)
    };
    let bundle = Some(scene.bundle(&[guest((0, NAMES[0])), guest((1, NAMES[1]))]));
    let partitions = NAMES.map(|name| Partition::ext4(name, 16, name));
    let (disk, made) = scene.disk(&partitions);
    let boot = Boot { bundle, disk: Some(disk.clone()) };
    let mut random = SEED;
    let mut flushed = BTreeMap::new();
    for cut in 1..=times(cuts(machine)) {
        let mut target = Target::start(machine.board(&boot), &NAMES);
        for name in NAMES {
            target.line(name, "FLUSHED");
        }
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        target.let_run(Duration::from_millis((random >> 33) % LATEST_MILLIS));
        target.cut();
        for (name, made) in NAMES.iter().zip(&made) {
            let said = target.said(name);
            assert!(!said.contains("I/O error") && !said.contains("EXT4-fs error"), "{said}");
            let last =
                said.lines().filter_map(|line| line.strip_prefix("FLUSHED ")?.parse().ok()).max();
            let before = flushed.insert(*name, last.unwrap_or(0)).unwrap_or(0);
            assert!(last > Some(before), "{name} did not get on from {before} in round {cut}");
            check(&scene, name, &disk, made, last.unwrap_or(0), cut);
        }
    }
}

/// How often the power is cut. The card's driver is all Tessera's; of a virtio disk much is QEMU's, and its driver is the same
/// on both boards.
fn cuts(machine: Machine) -> u64 {
    if RASPI4B.contains(&machine) { 20 } else { 5 }
}

/// Looks at a copy of a partition after the power was cut.
fn check(scene: &Scene, name: &str, disk: &Path, made: &Made, last: u64, cut: u64) {
    let partition = scene.file(&format!("{name}.cut"), &made.read(disk));
    let context = format!("{name} after cut {cut}, {last} files flushed");
    let repaired = administrators("e2fsck").args(["-f", "-p"]).arg(&partition).output();
    let repaired = repaired.expect("e2fsck is there: `cargo xtask setup` installs it");
    let said = String::from_utf8_lossy(&repaired.stdout).into_owned();
    let whole = |line: &str| {
        let expected = ["recovering journal", "Clearing orphaned inode", " files ("];
        line.is_empty() || expected.iter().any(|part| line.contains(part))
    };
    let harmless = matches!(repaired.status.code(), Some(0 | 1)) && said.lines().all(whole);
    assert!(harmless, "{context}: e2fsck ended with {:?}: {said}", repaired.status.code());
    // And that was all there was to do.
    run(administrators("e2fsck").args(["-f", "-n"]).arg(&partition));
    let files = scene.path(&format!("{name}.files"));
    std::fs::create_dir_all(&files).expect("a directory is made");
    let dump = format!("rdump / \"{}\"", files.display());
    run(administrators("debugfs").args(["-R", &dump]).arg(&partition));
    assert_eq!(read(&files.join("marker")), format!("{name}\n").as_bytes(), "{context}");
    for n in (last + 1).saturating_sub(KEPT).max(1)..=last {
        let lines = 512 << (n % 4);
        let expected = format!("file {n} of {name}\n").repeat(lines);
        let found = read(&files.join(format!("f{n}")));
        assert!(
            found == expected.as_bytes(),
            "{context}: f{n} has {} bytes, of {}",
            found.len(),
            expected.len()
        );
    }
    std::fs::remove_dir_all(files).expect("the directory is ours");
    std::fs::remove_file(partition).expect("the file is ours");
}
