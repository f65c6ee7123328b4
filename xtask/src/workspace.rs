//! Where things are: the tree's own files and everything that is made below `target/`.
//!
//! Images, guests and disks keep fixed names under the workspace's `target/`, whatever `CARGO_TARGET_DIR` says:
//! scripts and sample configurations refer to them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checked-out tree.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The tree that this program was built from.
    pub fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask has no parent directory")?;
        anyhow::ensure!(
            root.join("Cargo.toml").is_file(),
            "{} is not there any more: run `cargo xtask` in the tree that it was built from",
            root.display()
        );
        Ok(Workspace { root: root.to_path_buf() })
    }

    /// A file of the tree, by its name relative to the root.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file below `target/`.
    pub fn target(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("target").join(name)
    }

    /// `path` as a user would type it from the root of the tree.
    pub fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}
