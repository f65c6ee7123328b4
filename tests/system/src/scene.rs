//! The files of one test.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::artefacts::{root, run, write, xtask};
use crate::config::{Guest, dts};
use crate::disk::{self, Made, Partition};
use crate::machine::{Boot, Machine};
use crate::target::Target;

/// A directory below `target/system`. It goes when the test has passed, and stays to be looked at otherwise.
pub struct Scene {
    machine: Machine,
    directory: PathBuf,
}

impl Scene {
    /// An empty one.
    pub fn new(machine: Machine, name: &str) -> Self {
        let directory = root().join("target/system").join(machine.name()).join(name);
        // What a failed test left.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", directory.display()));
        Self { machine, directory }
    }

    /// A file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file of the test.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        write(&path, bytes);
        path
    }

    /// Makes the board's disk. A memory card has the bundle on it, too, so that has to be there before.
    pub fn disk(&self, partitions: &[Partition]) -> (PathBuf, Vec<Made>) {
        let path = self.path("disk.img");
        if !self.machine.has_a_card() {
            let made = disk::make(&path, partitions);
            return (path, made);
        }
        let mut image = xtask();
        image.args(["image", self.machine.platform(), "--bundle"]).arg(self.path(BUNDLE));
        if let Some(firmware) = std::env::var_os("TESSERA_FIRMWARE") {
            image.arg("--firmware").arg(firmware);
        }
        for partition in partitions {
            let file = partition.image(&self.directory);
            image.args(["--partition", &format!("{}={}", partition.label(), file.display())]);
        }
        run(image.arg("-o").arg(&path));
        let made = disk::find(&path, partitions);
        (path, made)
    }

    /// Packs these guests.
    pub fn bundle(&self, guests: &[Guest]) -> PathBuf {
        let config = self.file("tessera.dts", dts(guests).as_bytes());
        self.bundle_of(&config)
    }

    /// Packs a configuration that is somewhere.
    pub fn bundle_of(&self, config: &Path) -> PathBuf {
        let bundle = self.path(BUNDLE);
        let output = try_bundle(config, &bundle);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", config.display());
        bundle
    }

    /// Starts these guests on a board with these partitions, or without a disk if there are none.
    pub fn start(&self, guests: &[Guest], partitions: &[Partition]) -> Target {
        let names: Vec<&str> = guests.iter().map(Guest::name).collect();
        self.start_only(&names, guests, partitions)
    }

    /// Starts these guests, of which only those with these names are going to run.
    pub fn start_only(&self, names: &[&str], guests: &[Guest], partitions: &[Partition]) -> Target {
        let bundle = Some(self.bundle(guests));
        let wanted = !partitions.is_empty() || self.machine == Machine::Shelf;
        let disk = wanted.then(|| self.disk(partitions).0);
        Target::start(self.machine.board(&Boot { bundle, disk }), names)
    }
}

const BUNDLE: &str = "tessera.itb";

/// Runs `cargo xtask bundle`.
pub fn try_bundle(config: &Path, bundle: &Path) -> Output {
    xtask().arg("bundle").arg(config).arg("-o").arg(bundle).output().expect("xtask can be run")
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Nothing depends on its going.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
