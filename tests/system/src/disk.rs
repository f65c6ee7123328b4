//! Disks for boards: a GPT, and what each partition holds.

use std::path::Path;
use std::process::Command;

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;

use crate::artefacts::{run, write};

const BLOCK: u64 = 512;
/// Partitions start at a whole MiB, as every partitioning tool has it.
const MIB: u64 = 1 << 20;

/// A partition to make.
#[derive(Clone, Debug)]
pub struct Partition {
    label: String,
    mib: u64,
    files: Option<Vec<(String, String)>>,
}

impl Partition {
    /// One without content.
    pub fn empty(label: &str, mib: u64) -> Self {
        Self { label: label.into(), mib, files: None }
    }

    /// One with an ext4 file system that has a file `marker` with this text.
    pub fn ext4(label: &str, mib: u64, marker: &str) -> Self {
        let files = vec![("marker".to_string(), format!("{marker}\n"))];
        Self { label: label.into(), mib, files: Some(files) }
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.mib * MIB
    }
}

/// Where a partition came to be.
#[derive(Clone, Debug)]
pub struct Made {
    /// First byte on the disk.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
    /// Its PARTUUID, as a configuration names it.
    pub partuuid: String,
}

/// Makes a disk image at `path`, sparse.
pub fn make(path: &Path, partitions: &[Partition]) -> Vec<Made> {
    let all: u64 = partitions.iter().map(Partition::bytes).sum();
    let size = all + 2 * MIB;
    let made = partition(path, size, partitions);
    for (partition, made) in partitions.iter().zip(&made) {
        if let Some(files) = &partition.files {
            make_ext4(path, partition, made, files);
        }
    }
    made
}

fn partition(path: &Path, size: u64, partitions: &[Partition]) -> Vec<Made> {
    let mut image = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
    image.set_len(size).expect("a sparse file takes no room");
    let last = u32::try_from(size / BLOCK - 1).expect("test disks are small");
    ProtectiveMBR::with_lb_size(last).overwrite_lba0(&mut image).expect("the MBR is written");
    let mut disk = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(image, None)
        .expect("the partition table is made");
    let mut made = Vec::new();
    for Partition { label, mib, .. } in partitions {
        let bytes = mib * MIB;
        let id = disk
            .add_partition(label, bytes, partition_types::LINUX_FS, 0, Some(MIB / BLOCK))
            .expect("the partition fits");
        let entry = &disk.partitions()[&id];
        let partuuid = entry.part_guid.to_string();
        made.push(Made { start: entry.first_lba * BLOCK, bytes, partuuid });
    }
    disk.write().expect("the partition table is written");
    made
}

fn make_ext4(path: &Path, partition: &Partition, made: &Made, files: &[(String, String)]) {
    let content = path.with_extension("content");
    // One that an interrupted run left must not add to this one.
    let _ = std::fs::remove_dir_all(&content);
    std::fs::create_dir_all(&content).expect("a directory is made");
    for (name, text) in files {
        write(&content.join(name), text.as_bytes());
    }
    let options = format!("offset={},lazy_itable_init=0,lazy_journal_init=0,nodiscard", made.start);
    let mut mke2fs = Command::new("mke2fs");
    // An administrator's program, which a user's PATH may lack.
    let path_variable = std::env::var("PATH").unwrap_or_default();
    mke2fs
        .env("PATH", format!("{path_variable}:/usr/sbin:/sbin"))
        .args(["-q", "-F", "-t", "ext4", "-L", &partition.label, "-E", &options, "-d"])
        .arg(&content)
        .arg(path)
        .arg(format!("{}k", made.bytes >> 10));
    run(&mut mke2fs);
    std::fs::remove_dir_all(&content).expect("the directory is ours");
}
