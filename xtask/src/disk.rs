//! The disks of `cargo xtask run`: one for each platform, made once and kept. What a guest wrote is there at the next run.
//!
//! Where the board starts from a card the disk is that card, as `cargo xtask image` makes it, and every run brings its boot
//! partition up to date. Only the firmware is missing, which QEMU has no use for; one that is put there stays.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::image::card::{self, Content, Partition};
use crate::image::{self, BOOT, fat};
use crate::progress::step;
use crate::workspace::Workspace;

/// Where the disk of a platform is.
pub fn path(workspace: &Workspace, platform: &str) -> PathBuf {
    workspace.target(format!("disks/{platform}.img"))
}

/// Makes the disk of `cargo xtask bench` unless it is there.
pub fn of_bench(workspace: &Workspace) -> Result<PathBuf> {
    let path = path(workspace, "bench");
    keep(&path, None, &["web".to_string()], false)?;
    Ok(path)
}

/// Makes the disk in `path` unless it is there; with `fresh` in any case. It has a partition for each name in `named` and,
/// with `boot`, a boot partition with these files.
pub fn keep(
    path: &Path,
    boot: Option<Vec<fat::File>>,
    named: &[String],
    fresh: bool,
) -> Result<()> {
    if fresh || !path.is_file() {
        let boot = boot.map(|files| Partition {
            name: BOOT.into(),
            bytes: fat::comfortable_size(&files),
            content: Content::Boot(files),
        });
        // A PARTUUID is of a disk that is not made here.
        let labels = named.iter().filter(|name| !name.starts_with("PARTUUID="));
        let guests = labels.map(|name| image::empty(name, None));
        let partitions: Vec<Partition> = boot.into_iter().chain(guests).collect();
        return step("making the guests' disk", || card::make(path, &partitions));
    }
    if let Some(files) = boot {
        step("writing the boot partition", || card::update(path, BOOT, &files))?;
    }
    image::missing_partitions(path, named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_guests_that_name_no_partition_is_made_and_kept() {
        let path = std::env::temp_dir().join(format!("tessera-disk-{}.img", std::process::id()));
        keep(&path, None, &[], true).unwrap();
        let table = card::Table::read(&path).unwrap();
        assert!(table.places.is_empty());
        keep(&path, None, &[], false).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
