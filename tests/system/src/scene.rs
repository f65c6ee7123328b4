//! The files of one test.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::artefacts::{root, write, xtask};
use crate::config::{Guest, dts};
use crate::disk::{self, Made, Partition};

/// A directory below `target/system`. It goes when the test has passed, and stays to be looked at otherwise.
pub struct Scene {
    directory: PathBuf,
}

impl Scene {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        let directory = root().join("target/system").join(name);
        // What a failed test left.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", directory.display()));
        Self { directory }
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

    /// Makes the board's disk.
    pub fn disk(&self, partitions: &[Partition]) -> (PathBuf, Vec<Made>) {
        let path = self.path("disk.img");
        let made = disk::make(&path, partitions);
        (path, made)
    }

    /// Packs these guests.
    pub fn bundle(&self, guests: &[Guest]) -> PathBuf {
        let config = self.file("tessera.dts", dts(guests).as_bytes());
        self.bundle_of(&config)
    }

    /// Packs a configuration that is somewhere.
    pub fn bundle_of(&self, config: &Path) -> PathBuf {
        let bundle = self.path("tessera.itb");
        let output = try_bundle(config, &bundle);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", config.display());
        bundle
    }
}

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
