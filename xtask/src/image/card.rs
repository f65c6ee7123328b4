//! A disk as a file: partition tables and what the partitions hold.
//!
//! Problem: a Raspberry Pi's loaders look for a FAT partition in the MBR, and older ones know no GPT; Tessera finds the
//! guests' partitions by their GPT labels. Idea: both. A hybrid MBR has the FAT partition first, for loaders, and then
//! the entry of type 0xee that leads everyone else to the GPT (UEFI 2.10 5.2.3 knows only the protective form; Linux and
//! sgdisk read and write this one too). Not taken: an MBR alone, which has no labels and four partitions.
//!
//! The file is sparse, and its size a power of two because QEMU takes no other for an SD card.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::{PartRecord, ProtectiveMBR};
use gpt::partition_types;

use super::fat;
use crate::proc;

/// What a partition's size is a multiple of.
pub const SECTOR: u64 = 512;
/// Partitions start at a whole MiB, as every partitioning tool has it.
const ALIGN: u64 = 1 << 20;
/// Room for the backup of the partition table (UEFI 2.10 5.3.1).
const BACKUP: u64 = 33 * SECTOR;
/// UTF-16 code units of a label (UEFI 2.10 5.3.3).
const LABEL_UNITS: usize = 36;
/// Entries of a usual table.
const MAX_PARTITIONS: usize = 128;
/// MBR type of a FAT32 partition that is reached by sector numbers.
const MBR_FAT32: u8 = 0x0c;
/// Cylinder, head and sector of what lies beyond these (UEFI 2.10 5.2.3).
const BEYOND_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
/// How much is compared at once: what is equal is not written, so that holes stay holes.
const CHUNK: usize = 64 << 10;

/// A partition to make.
#[derive(Debug)]
pub struct Partition {
    /// Its label.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What is in it.
    pub content: Content,
}

/// What is in a partition.
#[derive(Debug)]
pub enum Content {
    /// A FAT file system with these files, which the MBR shows to loaders.
    Boot(Vec<fat::File>),
    /// An empty ext4 file system.
    Ext4,
    /// What is in this file.
    Copy(PathBuf),
}

/// Where a partition came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its label.
    pub name: String,
    /// Its first byte on the disk.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
}

/// A disk's table of partitions.
pub struct Table {
    /// The partitions in the order of the table.
    pub places: Vec<Place>,
    /// The first bytes of the disk's GUID: what else of the disk should have a number takes this.
    id: u32,
}

impl Table {
    /// Reads the table of the disk in `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let disk = GptConfig::new().logical_block_size(LogicalBlockSize::Lb512).open(path)?;
            let place = |partition: &gpt::partition::Partition| -> Result<Place> {
                let start = partition.bytes_start(LogicalBlockSize::Lb512)?;
                let bytes = partition.bytes_len(LogicalBlockSize::Lb512)?;
                Ok(Place { name: partition.name.clone(), start, bytes })
            };
            let used = disk.partitions().values().filter(|partition| partition.is_used());
            Ok(Table {
                places: used.map(place).collect::<Result<_>>()?,
                id: disk.guid().as_fields().0,
            })
        };
        read()
            .with_context(|| format!("{} has no partition table that can be read", path.display()))
    }

    /// The partition with this label.
    pub fn find(&self, name: &str) -> Option<&Place> {
        self.places.iter().find(|place| place.name == name)
    }
}

/// Makes a disk with `partitions` in `path`, and replaces what was there only once it is whole.
pub fn make(path: &Path, partitions: &[Partition]) -> Result<()> {
    check(partitions)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let unfinished = PathBuf::from(name);
    let made = write(&unfinished, partitions).and_then(|()| {
        std::fs::rename(&unfinished, path)
            .with_context(|| format!("cannot make {}", path.display()))
    });
    if made.is_err() {
        // Nothing more can be done about it than what the error says.
        let _ = std::fs::remove_file(&unfinished);
    }
    made
}

/// Writes files to the boot partition called `name`, in place of those with the same names, and returns the names of all
/// that it then has. Everything else stays as it is.
pub fn update(path: &Path, name: &str, files: &[fat::File]) -> Result<Vec<String>> {
    let table = Table::read(path)?;
    let place = table
        .find(name)
        .with_context(|| format!("{} has no partition `{name}`", path.display()))?;
    let what = || format!("the partition `{name}` of {}", path.display());
    ensure!(place.bytes <= fat::MOST_BYTES, "{} is too large for a boot partition", what());
    let mut disk = open(path, OpenOptions::new().read(true).write(true))?;
    let mut volume = vec![0; usize::try_from(place.bytes)?];
    disk.seek(SeekFrom::Start(place.start))?;
    disk.read_exact(&mut volume).with_context(what)?;
    fat::update(&mut volume, files).with_context(what)?;
    write_at(&mut disk, place.start, &mut &volume[..])
        .with_context(|| format!("cannot write {}", path.display()))?;
    fat::names(&mut volume)
}

/// The size of a disk with these partitions.
fn disk_size(partitions: &[Partition]) -> u64 {
    let all: u64 = partitions.iter().map(|partition| partition.bytes.next_multiple_of(ALIGN)).sum();
    (ALIGN + all + BACKUP).next_power_of_two()
}

fn check(partitions: &[Partition]) -> Result<()> {
    ensure!(partitions.len() <= MAX_PARTITIONS, "a disk has at most {MAX_PARTITIONS} partitions");
    for (index, Partition { name, bytes, .. }) in partitions.iter().enumerate() {
        ensure!(!name.is_empty(), "a partition has no name");
        let units = name.encode_utf16().count();
        ensure!(
            units <= LABEL_UNITS,
            "the name of partition `{name}` is too long: {units} UTF-16 units, where GPT has {LABEL_UNITS}"
        );
        ensure!(
            *bytes > 0 && bytes % SECTOR == 0,
            "the size of partition `{name}` is no multiple of {SECTOR} bytes"
        );
        ensure!(
            partitions[..index].iter().all(|other| other.name != *name),
            "there are two partitions `{name}`"
        );
    }
    let sectors = disk_size(partitions) / SECTOR;
    ensure!(u32::try_from(sectors).is_ok(), "the partitions are too large for a card: 2 TiB");
    Ok(())
}

fn open(path: &Path, options: &OpenOptions) -> Result<File> {
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn write(path: &Path, partitions: &[Partition]) -> Result<()> {
    let mut disk =
        open(path, OpenOptions::new().read(true).write(true).create(true).truncate(true))?;
    disk.set_len(disk_size(partitions))
        .with_context(|| format!("cannot write {}", path.display()))?;
    write_tables(&mut disk, partitions)?;
    let table = Table::read(path)?;
    for (partition, place) in partitions.iter().zip(&table.places) {
        fill(path, &mut disk, table.id, &partition.content, place)
            .with_context(|| format!("the partition `{}`", place.name))?;
    }
    Ok(())
}

fn fill(path: &Path, disk: &mut File, id: u32, content: &Content, place: &Place) -> Result<()> {
    match content {
        Content::Boot(files) => {
            let volume = fat::volume(place.bytes, id, files)
                .context("give it another size: `--size boot=256M`")?;
            write_at(disk, place.start, &mut &volume[..])?;
        }
        Content::Ext4 => make_ext4(path, place)?,
        Content::Copy(from) => {
            let mut content = open(from, OpenOptions::new().read(true))?;
            write_at(disk, place.start, &mut content)?;
        }
    }
    Ok(())
}

fn write_tables(disk: &mut File, partitions: &[Partition]) -> Result<()> {
    let last = u32::try_from(disk.metadata()?.len() / SECTOR - 1)?;
    ProtectiveMBR::with_lb_size(last).overwrite_lba0(disk)?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(&mut *disk, None)?;
    let mut boot = None;
    for Partition { name, bytes, content } in partitions {
        let kind = match content {
            Content::Boot(_) => partition_types::BASIC,
            _ => partition_types::LINUX_FS,
        };
        let id = table.add_partition(name, *bytes, kind, 0, Some(ALIGN / SECTOR))?;
        if matches!(content, Content::Boot(_)) {
            let made = table.partitions().get(&id).context("the partition table lost an entry")?;
            boot = Some((u32::try_from(made.first_lba)?, u32::try_from(made.sectors_len()?)?));
        }
    }
    let id = table.guid().as_fields().0;
    table.write()?;
    if let Some((first, sectors)) = boot {
        hybrid(first, sectors, id).overwrite_lba0(disk)?;
    }
    Ok(())
}

/// The MBR with the boot partition and, for the table and whatever lies before that partition, the entry that says GPT.
fn hybrid(first: u32, sectors: u32, id: u32) -> ProtectiveMBR {
    let [head, sector, track] = BEYOND_CHS;
    let boot = PartRecord {
        boot_indicator: 0,
        start_head: head,
        start_sector: sector,
        start_track: track,
        os_type: MBR_FAT32,
        end_head: head,
        end_sector: sector,
        end_track: track,
        lb_start: first,
        lb_size: sectors,
    };
    let mut mbr = ProtectiveMBR::new();
    mbr.set_disk_signature(id.to_le_bytes());
    mbr.set_partition(0, boot);
    mbr.set_partition(1, PartRecord::new_protective(Some(first - 1)));
    mbr
}

/// Writes all of `from` to `start`, where it differs from what is there.
fn write_at(disk: &mut File, start: u64, from: &mut impl Read) -> std::io::Result<()> {
    let (mut new, mut old) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = start;
    loop {
        let length = read_chunk(from, &mut new)?;
        if length == 0 {
            return Ok(());
        }
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(&mut old[..length])?;
        if new[..length] != old[..length] {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(&new[..length])?;
        }
        at += length as u64;
    }
}

/// Reads until `into` is full or there is no more.
fn read_chunk(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match from.read(&mut into[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn make_ext4(disk: &Path, place: &Place) -> Result<()> {
    let mke2fs = proc::which("mke2fs").context("mke2fs is missing: run `cargo xtask setup`")?;
    let offset = place.start;
    let options = format!("offset={offset},lazy_itable_init=0,lazy_journal_init=0,nodiscard");
    let size = format!("{}k", place.bytes >> 10);
    let mut command = Command::new(mke2fs);
    command.args(["-q", "-F", "-t", "ext4", "-L", &place.name, "-E", &options]).arg(disk).arg(size);
    proc::output(&mut command)?;
    Ok(())
}
