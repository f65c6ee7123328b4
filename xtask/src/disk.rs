//! The sample's disk: a GPT with one ext4 partition for each guest.
//!
//! It is made once and kept: what a guest wrote is there at the next run. `--fresh-disk` makes it anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;

use crate::proc;
use crate::progress::step;
use crate::workspace::Workspace;

/// Labels of the partitions, which the sample configuration names.
const PARTITIONS: &[&str] = &["web", "db"];
const PARTITION_BYTES: u64 = 64 << 20;
const BLOCK: u64 = 512;
/// Partitions start at a whole MiB, as every partitioning tool has it.
const ALIGN: u64 = 1 << 20;

/// Where the disk is.
pub fn path(workspace: &Workspace) -> PathBuf {
    workspace.target("disks/qemu-virt.img")
}

/// Makes the disk unless it is there; with `fresh` in any case.
pub fn ensure(workspace: &Workspace, fresh: bool) -> Result<PathBuf> {
    let path = path(workspace);
    if fresh || !path.is_file() {
        // Under another name until it is whole, so that an interrupted run leaves no half of a disk.
        let unfinished = path.with_extension("new");
        step("making the guests' disk", || make(&unfinished))?;
        std::fs::rename(&unfinished, &path)
            .with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(path)
}

fn make(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let image = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let size = ALIGN + PARTITIONS.len() as u64 * PARTITION_BYTES + ALIGN;
    image.set_len(size)?;
    for (name, start) in partition(image, size)? {
        make_file_system(path, name, start)?;
    }
    Ok(())
}

/// Writes the partition table; where each partition starts.
fn partition(mut image: std::fs::File, size: u64) -> Result<Vec<(&'static str, u64)>> {
    let blocks = u32::try_from(size / BLOCK - 1)?;
    ProtectiveMBR::with_lb_size(blocks).overwrite_lba0(&mut image)?;
    let mut disk = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(image, None)?;
    let mut starts = Vec::new();
    for name in PARTITIONS {
        let kind = partition_types::LINUX_FS;
        let id = disk.add_partition(name, PARTITION_BYTES, kind, 0, Some(ALIGN / BLOCK))?;
        let made = disk.partitions().get(&id).context("the partition table lost an entry")?;
        starts.push((*name, made.first_lba * BLOCK));
    }
    disk.write()?;
    Ok(starts)
}

fn make_file_system(image: &Path, name: &str, start: u64) -> Result<()> {
    let mke2fs = proc::which("mke2fs").context("mke2fs is missing: run `cargo xtask setup`")?;
    let options = format!("offset={start},lazy_itable_init=0,lazy_journal_init=0,nodiscard");
    let size = format!("{}k", PARTITION_BYTES >> 10);
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-L", name, "-E", &options]).arg(image).arg(size);
    proc::output(&mut command)?;
    Ok(())
}
