//! A FAT32 volume with files, made in memory.
//!
//! A Raspberry Pi's loader reads FAT16 and FAT32. What tells them apart is the number of clusters alone (Microsoft FAT
//! specification 1.03, "FAT Type Determination"), so a FAT32 volume has a least size. Time and serial number come from
//! outside: the same files make the same volume.

use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, ensure};
use fatfs::{
    Date, DateTime, Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};

/// A file on the volume: its name, with `/` between directories, and what is in it.
pub type File = (String, Vec<u8>);

type System<'v> = FileSystem<Cursor<&'v mut Vec<u8>>>;
type Directory<'s, 'v> = Dir<'s, Cursor<&'v mut Vec<u8>>>;

/// The least size at which there are enough clusters (65525 of 512 bytes) beside the tables.
pub const LEAST_BYTES: u64 = 40 << 20;

/// More than a loader's files take; a volume is made in memory.
pub const MOST_BYTES: u64 = 2 << 30;

/// What shows as the volume's name.
const LABEL: [u8; 11] = *b"TESSERA    ";

/// A directory entry, a share of the file allocation tables and the last cluster's unused part: by a wide margin what a
/// file takes besides its bytes.
const FILE_OVERHEAD: u64 = 64 << 10;

/// The size of a volume that has room for these files twice, so that later ones that grew fit too.
pub fn comfortable_size(files: &[File]) -> u64 {
    const STEP: u64 = 32 << 20;
    (room(files) * 2).next_multiple_of(STEP).max(2 * STEP)
}

fn room(files: &[File]) -> u64 {
    files.iter().map(|(_, content)| content.len() as u64 * 33 / 32 + FILE_OVERHEAD).sum()
}

/// A volume of `bytes` with `files`, its serial number `id`.
pub fn volume(bytes: u64, id: u32, files: &[File]) -> Result<Vec<u8>> {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    ensure!(
        (LEAST_BYTES..=MOST_BYTES).contains(&bytes),
        "{} MiB is no size for its file system: between {} and {} MiB",
        mib(bytes),
        mib(LEAST_BYTES),
        mib(MOST_BYTES)
    );
    ensure!(
        bytes >= room(files),
        "{} MiB is too small for {} MiB of files",
        mib(bytes),
        mib(room(files))
    );
    let mut disk = Cursor::new(vec![0; usize::try_from(bytes)?]);
    let options =
        FormatVolumeOptions::new().fat_type(FatType::Fat32).volume_id(id).volume_label(LABEL);
    fatfs::format_volume(&mut disk, options).context("cannot make a FAT file system")?;
    let mut volume = disk.into_inner();
    update(&mut volume, files)?;
    Ok(volume)
}

/// Writes `files` to a volume, in place of those with the same names. What is there already is not written again.
pub fn update(volume: &mut Vec<u8>, files: &[File]) -> Result<()> {
    let system = open(volume)?;
    // Counted once, the number is kept, and written where others look for it.
    system.stats().context("its tables cannot be read")?;
    for (name, content) in files {
        write(&system.root_dir(), name, content).with_context(|| {
            let free =
                system.stats().map_or(0, |stats| stats.free_clusters() * stats.cluster_size());
            format!("cannot write {name}, {} bytes, where {free} are left", content.len())
        })?;
    }
    system.unmount().context("cannot finish the file system")
}

/// The names of the files of a volume.
pub fn names(volume: &mut Vec<u8>) -> Result<Vec<String>> {
    let system = open(volume)?;
    let mut names = Vec::new();
    let mut directories = vec![(String::new(), system.root_dir())];
    while let Some((path, directory)) = directories.pop() {
        for entry in directory.iter() {
            let entry = entry?;
            let name = format!("{path}{}", entry.file_name());
            if entry.is_file() {
                names.push(name);
            } else if ![".", ".."].contains(&entry.file_name().as_str()) {
                directories.push((name + "/", entry.to_dir()));
            }
        }
    }
    Ok(names)
}

fn open(volume: &mut Vec<u8>) -> Result<System<'_>> {
    let options = FsOptions::new().time_provider(&NoTime);
    FileSystem::new(Cursor::new(volume), options)
        .context("it has no FAT file system that can be read")
}

fn write(root: &Directory<'_, '_>, name: &str, content: &[u8]) -> Result<()> {
    let mut directory = root.clone();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            directory = directory.create_dir(part)?;
            continue;
        }
        let mut file = directory.create_file(part)?;
        let mut old = Vec::new();
        file.read_to_end(&mut old)?;
        if old != content {
            file.seek(SeekFrom::Start(0))?;
            file.truncate()?;
            file.write_all(content)?;
        }
    }
    Ok(())
}

/// The beginning of FAT's time, for every file.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        let time = Time { hour: 0, min: 0, sec: 0, millis: 0 };
        DateTime { date: self.get_current_date(), time }
    }
}
