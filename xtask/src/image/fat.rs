//! A FAT32 volume with files, made in memory.
//!
//! A Raspberry Pi's loader reads FAT16 and FAT32. What tells them apart is the number of clusters alone (Microsoft FAT
//! specification 1.03, "FAT Type Determination"), so a FAT32 volume has a least size. Time and serial number come from
//! outside: the same files make the same volume.

use std::io::{Cursor, Write};

use anyhow::{Context, Result, ensure};
use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};

/// A file on the volume: its name, with `/` between directories, and what is in it.
pub type File = (String, Vec<u8>);

/// The least size at which there are enough clusters (65525 of 512 bytes) beside the tables.
pub const LEAST_BYTES: u64 = 40 << 20;

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
        bytes >= LEAST_BYTES,
        "{} MiB is too small for FAT32, which takes {}",
        mib(bytes),
        mib(LEAST_BYTES)
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
    let options = FsOptions::new().time_provider(&NoTime);
    let system = FileSystem::new(&mut disk, options)?;
    for (name, content) in files {
        write(&system, name, content).with_context(|| format!("cannot write {name} to it"))?;
    }
    system.unmount()?;
    Ok(disk.into_inner())
}

fn write(system: &FileSystem<&mut Cursor<Vec<u8>>>, name: &str, content: &[u8]) -> Result<()> {
    let mut directory = system.root_dir();
    let mut parts = name.split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            directory = directory.create_dir(part)?;
        } else {
            directory.create_file(part)?.write_all(content)?;
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
