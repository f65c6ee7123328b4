//! Disks for boards: a partition table, and what each partition holds.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types;

use crate::artefacts::{read, run, write};

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

    /// Its name in the partition table.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Makes what it holds as a file in `directory`, zeroes if there is no file system.
    pub fn image(&self, directory: &Path) -> PathBuf {
        self.content(directory).unwrap_or_else(|| {
            let zeroes = directory.join(format!("{}.zero", self.label));
            let file = File::create(&zeroes).expect("the scene takes files");
            file.set_len(self.mib * MIB).expect("a sparse file takes no room");
            zeroes
        })
    }

    /// Makes its file system, if it has one, as a file in `directory`.
    fn content(&self, directory: &Path) -> Option<PathBuf> {
        let image = directory.join(format!("{}.ext4", self.label));
        let files = self.files.as_ref()?;
        let content = image.with_extension("content");
        // One that an interrupted run left must not add to this one.
        let _ = std::fs::remove_dir_all(&content);
        std::fs::create_dir_all(&content).expect("a directory is made");
        for (name, text) in files {
            write(&content.join(name), text.as_bytes());
        }
        let mut mke2fs = administrators("mke2fs");
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        mke2fs.args(["-q", "-F", "-t", "ext4", "-L", &self.label, "-E", options, "-d"]);
        run(mke2fs.arg(&content).arg(&image).arg(format!("{}m", self.mib)));
        std::fs::remove_dir_all(&content).expect("the directory is ours");
        Some(image)
    }
}

/// A program for administrators, whose directory a user's PATH may lack.
pub fn administrators(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
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

impl Made {
    /// Its bytes, out of those of the disk.
    pub fn read(&self, disk: &Path) -> Vec<u8> {
        let (start, end) = (self.start as usize, (self.start + self.bytes) as usize);
        read(disk)[start..end].to_vec()
    }
}

/// Makes a disk image at `path`, sparse.
pub fn make(path: &Path, partitions: &[Partition]) -> Vec<Made> {
    let all: u64 = partitions.iter().map(|partition| partition.mib * MIB).sum();
    let size = all + 2 * MIB;
    let made = partition(path, size, partitions);
    let directory = path.parent().expect("a disk is in a scene");
    for (partition, made) in partitions.iter().zip(&made) {
        if let Some(image) = partition.content(directory) {
            let disk = File::options().write(true).open(path);
            let mut disk = disk.expect("the disk was just made");
            disk.seek(SeekFrom::Start(made.start)).expect("a file has any place");
            disk.write_all(&read(&image)).expect("the partition has this size");
            std::fs::remove_file(image).expect("the file is ours");
        }
    }
    made
}

fn partition(path: &Path, size: u64, partitions: &[Partition]) -> Vec<Made> {
    let mut image = File::options()
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
        let id = disk
            .add_partition(label, mib * MIB, partition_types::LINUX_FS, 0, Some(MIB / BLOCK))
            .expect("the partition fits");
        made.push(place(&disk.partitions()[&id]));
    }
    disk.write().expect("the partition table is written");
    made
}

fn place(entry: &gpt::partition::Partition) -> Made {
    let blocks = entry.last_lba + 1 - entry.first_lba;
    let partuuid = entry.part_guid.to_string();
    Made { start: entry.first_lba * BLOCK, bytes: blocks * BLOCK, partuuid }
}

/// Where the partitions of a disk are that somebody else made.
pub fn find(path: &Path, partitions: &[Partition]) -> Vec<Made> {
    let disk = gpt::GptConfig::new().open(path);
    let disk = disk.unwrap_or_else(|error| panic!("{} has no GPT: {error}", path.display()));
    let named = |label: &str| disk.partitions().values().find(|entry| entry.name == label);
    let find = |Partition { label, .. }: &Partition| {
        place(named(label).unwrap_or_else(|| panic!("{} has no {label}", path.display())))
    };
    partitions.iter().map(find).collect()
}
