//! GUID partition tables (UEFI 2.10 5.3).
//!
//! The table was written by a user's tool, or by nobody: it is taken only if its checksums are right and its partitions
//! lie apart from each other on the disk. What was read with the MBR has the header and the usual 128 entries; another
//! read is needed only where the entries lie elsewhere. If the primary table is damaged the backup at the end of the
//! disk is used, all of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::crc32::{crc32, is_zero, update};
use super::partitions::{BlockRead, PartUuid, Partition, Partitions, TableError, le32, overlap};
use super::{SECTOR_SIZE, Sector};

/// A GUID as it lies on the disk; shown in the usual mixed-endian way (UEFI 2.10 A).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (i, byte) in ORDER.into_iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[byte])?;
        }
        Ok(())
    }
}

/// What is wrong with one of the two tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFault {
    /// No "EFI PART" where the header should be.
    Signature,
    /// The header's checksum, size, revision or own address is wrong.
    Header,
    /// The header describes entries of a size or number that cannot be, or that lie off the disk.
    Layout,
    /// The checksum of the entries is wrong.
    Entries,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "there is no header",
            Self::Header => "its header is damaged",
            Self::Layout => "its header describes an impossible table",
            Self::Entries => "its entries are damaged",
        })
    }
}

/// Header (UEFI 2.10 5.3.2, table 5.5).
const REVISION: u32 = 0x0001_0000;
const HEADER_MIN: u32 = 92;
/// Most bytes of entries to read: 8 times what is usual.
const ENTRIES_MAX: u64 = 128 << 10;
/// Least size of an entry, and where its name begins and ends (UEFI 2.10 5.3.3, table 5.6).
const ENTRY_MIN: u32 = 128;
const ENTRY_NAME: core::ops::Range<usize> = 56..128;

/// Reads the partitions of a disk that begins with the sectors `start`, the first of which protects a GPT.
pub(super) fn read<R: BlockRead>(
    disk: &mut R,
    start: &[Sector],
) -> Result<Partitions, TableError<R::Error>> {
    let primary = match read_table(disk, 1, start)? {
        Ok(gpt) => return Ok(gpt),
        Err(fault) => fault,
    };
    let last = disk.sectors().saturating_sub(1);
    match read_table(disk, last, &[])? {
        Ok(gpt) => Ok(Partitions { from_backup: true, ..gpt }),
        Err(backup) => Err(TableError::Damaged { primary, backup }),
    }
}

/// The table with its header at sector `lba`. `start` is what was read already from sector 0 on.
fn read_table<R: BlockRead>(
    disk: &mut R,
    lba: u64,
    start: &[Sector],
) -> Result<Result<Partitions, TableFault>, TableError<R::Error>> {
    let mut own = Vec::new();
    let sectors = read_or_take(disk, start, lba, 1, &mut own).map_err(TableError::Read)?;
    let header = sectors.first().ok_or(TableFault::Signature);
    let header = match header.and_then(|sector| Header::check(sector, lba, disk.sectors())) {
        Ok(header) => header,
        Err(fault) => return Ok(Err(fault)),
    };
    let (at, count) = (header.entries_lba, header.entry_sectors());
    let entries = read_or_take(disk, start, at, count, &mut own).map_err(TableError::Read)?;
    if crc32(entries, header.entry_bytes() as usize) != header.entries_crc {
        return Ok(Err(TableFault::Entries));
    }
    header.partitions(entries).map(Ok)
}

/// `count` sectors from `sector` on: of `start` where it has them, or read into `own`.
fn read_or_take<'a, R: BlockRead>(
    disk: &mut R,
    start: &'a [Sector],
    sector: u64,
    count: u64,
    own: &'a mut Vec<Sector>,
) -> Result<&'a [Sector], R::Error> {
    // The count is at most that of ENTRIES_MAX, and an index that does not fit is beyond what is there.
    let from = usize::try_from(sector).unwrap_or(usize::MAX);
    let there = start.get(from..).and_then(|rest| rest.get(..count as usize));
    if let Some(sectors) = there {
        return Ok(sectors);
    }
    own.clear();
    own.resize(count as usize, Sector::default());
    disk.read(sector, own)?;
    Ok(own)
}

struct Header {
    first_usable: u64,
    last_usable: u64,
    entries_lba: u64,
    entry_count: u32,
    entry_size: u32,
    entries_crc: u32,
}

impl Header {
    fn check(sector: &Sector, lba: u64, sectors: u64) -> Result<Self, TableFault> {
        let sector = &sector.0;
        if sector.first_chunk() != Some(b"EFI PART") {
            return Err(TableFault::Signature);
        }
        let size = le32(sector, 12);
        let bytes = sector.get(..size as usize).ok_or(TableFault::Header)?;
        if size < HEADER_MIN || le32(sector, 8) != REVISION || le64(sector, 24) != lba {
            return Err(TableFault::Header);
        }
        // The checksum is of the header with the checksum's own field as zero.
        let (before, rest) = bytes.split_at_checked(16).ok_or(TableFault::Header)?;
        let (_, after) = rest.split_at_checked(4).ok_or(TableFault::Header)?;
        if !update(update(update(!0, before), &[0; 4]), after) != le32(sector, 16) {
            return Err(TableFault::Header);
        }
        let header = Self {
            first_usable: le64(sector, 40),
            last_usable: le64(sector, 48),
            entries_lba: le64(sector, 72),
            entry_count: le32(sector, 80),
            entry_size: le32(sector, 84),
            entries_crc: le32(sector, 88),
        };
        if header.is_possible(sectors) { Ok(header) } else { Err(TableFault::Layout) }
    }

    /// Whether the entries lie on the disk, behind the MBR and apart from the usable sectors.
    fn is_possible(&self, sectors: u64) -> bool {
        let Self { first_usable, last_usable, entries_lba, entry_size, .. } = *self;
        let sizes = entry_size >= ENTRY_MIN
            && entry_size.is_power_of_two()
            && self.entry_bytes() <= ENTRIES_MAX;
        let Some(end) = entries_lba.checked_add(self.entry_sectors()) else { return false };
        let places = entries_lba >= 2
            && end <= sectors
            && first_usable >= 2
            && last_usable < sectors.saturating_sub(1);
        sizes && places && (end <= first_usable || entries_lba > last_usable)
    }

    /// The partitions, all inside the usable sectors and apart from each other.
    fn partitions<E>(&self, entries: &[Sector]) -> Result<Partitions, TableError<E>> {
        let mut partitions = Vec::new();
        let per_sector = (SECTOR_SIZE as u32 / self.entry_size).max(1);
        // Bounded by ENTRIES_MAX. The number of an entry, counted from 1, and where it is.
        let (mut number, mut at) = (1, 0);
        while number <= self.entry_count {
            // An entry's size is a power of two and at least 128, so that its fields never cross a sector.
            let sector = entries.get((at / SECTOR_SIZE) as usize);
            // As nearly all of them are.
            if at % SECTOR_SIZE == 0 && sector.is_some_and(is_zero) {
                number += per_sector;
                at += u64::from(per_sector) * u64::from(self.entry_size);
                continue;
            }
            let entry = sector.and_then(|s| s.0.get((at % SECTOR_SIZE) as usize..)?.first_chunk());
            if let Some(entry) = entry.filter(|entry| is_used(entry)) {
                partitions.push(self.partition(number, entry).ok_or(TableError::Outside(number))?);
            }
            number += 1;
            at += u64::from(self.entry_size);
        }
        let range = |p: &Partition| (p.first, p.sectors, p.number);
        let ranges: Vec<_> = partitions.iter().map(range).collect();
        if let Some((a, b)) = overlap(&ranges) {
            return Err(TableError::Overlap(a, b));
        }
        Ok(Partitions { partitions, from_backup: false })
    }

    /// The partition that an entry describes, if it lies in the usable sectors.
    fn partition(&self, number: u32, entry: &[u8; ENTRY_MIN as usize]) -> Option<Partition> {
        let (first, last) = (le64(entry, 32), le64(entry, 40));
        if first < self.first_usable || last > self.last_usable || first > last {
            return None;
        }
        let guid = entry.get(16..).and_then(|rest| rest.first_chunk()).copied()?;
        let (label, partuuid) = (label(entry), PartUuid::Guid(Guid(guid)));
        // No overflow: the last usable sector is on the disk.
        Some(Partition { number, label, partuuid, first, sectors: last - first + 1 })
    }

    fn entry_bytes(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_size)
    }

    fn entry_sectors(&self) -> u64 {
        self.entry_bytes().div_ceil(SECTOR_SIZE)
    }
}

/// An entry with a type of zero is not in use (UEFI 2.10 5.3.3).
#[inline]
fn is_used(entry: &[u8; ENTRY_MIN as usize]) -> bool {
    entry.first_chunk().is_some_and(|kind| u128::from_le_bytes(*kind) != 0)
}

fn label(entry: &[u8]) -> String {
    let (units, _) = entry.get(ENTRY_NAME).unwrap_or(&[]).as_chunks::<2>();
    let text = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|&unit| unit != 0);
    char::decode_utf16(text).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::disk::Window;
    use crate::disk::model::Random;
    use crate::disk::partitions::FindError;

    const SECTOR: usize = crate::disk::partitions::SECTOR;

    /// The checksum of plain bytes.
    fn crc32(bytes: &[u8]) -> u32 {
        !update(!0, bytes)
    }

    /// A disk in memory.
    struct Bytes {
        bytes: Vec<u8>,
        reads: u32,
    }

    impl BlockRead for Bytes {
        type Error = &'static str;
        fn sectors(&self) -> u64 {
            (self.bytes.len() / SECTOR) as u64
        }
        fn read(&mut self, sector: u64, into: &mut [Sector]) -> Result<(), Self::Error> {
            self.reads += 1;
            let from = usize::try_from(sector).unwrap().checked_mul(SECTOR).ok_or("far")?;
            let there = self.bytes.get(from..from + into.len() * SECTOR).ok_or("beyond")?;
            for (to, from) in into.iter_mut().zip(there.chunks_exact(SECTOR)) {
                to.0.copy_from_slice(from);
            }
            Ok(())
        }
    }

    const SECTORS: u64 = 2048;

    fn put(bytes: &mut [u8], at: usize, value: u64, len: usize) {
        bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    fn entry(label: &str, id: u8, first: u64, last: u64) -> Vec<u8> {
        let mut entry = vec![0; 128];
        entry[..16].fill(0x11);
        entry[16..32].copy_from_slice(&core::array::from_fn::<u8, 16, _>(|i| id + i as u8));
        put(&mut entry, 32, first, 8);
        put(&mut entry, 40, last, 8);
        for (i, unit) in label.encode_utf16().enumerate() {
            put(&mut entry, 56 + 2 * i, u64::from(unit), 2);
        }
        entry
    }

    fn write_header(bytes: &mut [u8], lba: u64, other: u64, entries_lba: u64) {
        let entries = entries_lba as usize * SECTOR;
        let entries_crc = crc32(&bytes[entries..entries + 128 * 128]);
        let header = &mut bytes[lba as usize * SECTOR..][..92];
        header.fill(0);
        header[..8].copy_from_slice(b"EFI PART");
        for (at, value, len) in [
            (8, u64::from(REVISION), 4),
            (12, 92, 4),
            (24, lba, 8),
            (32, other, 8),
            (40, 34, 8),
            (48, SECTORS - 34, 8),
            (72, entries_lba, 8),
            (80, 128, 4),
            (84, 128, 4),
            (88, u64::from(entries_crc), 4),
        ] {
            put(header, at, value, len);
        }
        let crc = crc32(header);
        put(header, 16, u64::from(crc), 4);
    }

    fn disk(entries: &[Vec<u8>]) -> Bytes {
        let mut bytes = vec![0; SECTORS as usize * SECTOR];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[450] = 0xee;
        let last = SECTORS - 1;
        for lba in [2, last - 32] {
            for (i, entry) in entries.iter().enumerate() {
                bytes[lba as usize * SECTOR + i * 128..][..128].copy_from_slice(entry);
            }
        }
        write_header(&mut bytes, 1, last, 2);
        write_header(&mut bytes, last, 1, last - 32);
        Bytes { bytes, reads: 0 }
    }

    fn two() -> Bytes {
        disk(&[entry("web", 0, 34, 99), vec![0; 128], entry("dÄtå 💾", 16, 100, SECTORS - 34)])
    }

    #[test]
    fn partitions_are_found_by_label_and_by_partuuid_with_one_read() {
        let mut disk = two();
        let gpt = Partitions::read(&mut disk).unwrap();
        assert_eq!((disk.reads, gpt.partitions.len(), gpt.from_backup), (1, 2, false));
        let web = gpt.find("web").unwrap();
        assert_eq!((web.number, web.first, web.sectors), (1, 34, 66));
        let uuid = "03020100-0504-0706-0809-0a0b0c0d0e0f";
        assert_eq!(web.partuuid.to_string(), uuid);
        assert_eq!(gpt.find(&uuid.to_uppercase()), Ok(web));
        assert_eq!(gpt.find("dÄtå 💾").unwrap().number, 3);
        for missing in ["we", "webb", "", &uuid[..35], "03020100"] {
            assert_eq!(gpt.find(missing), Err(FindError::Missing));
        }
        let window = Window { first: 34, sectors: 66, read_only: true };
        assert_eq!(web.window(true), window);
    }

    #[test]
    fn a_label_that_two_partitions_have_is_ambiguous() {
        let gpt =
            Partitions::read(&mut disk(&[entry("a", 0, 40, 41), entry("a", 1, 50, 51)])).unwrap();
        assert_eq!(gpt.find("a"), Err(FindError::Ambiguous(1, 2)));
    }

    #[test]
    fn the_backup_is_used_where_the_primary_is_damaged() {
        for damaged in [512, 512 + 30, 512 + 41, 1024 + 40, 1024 + 16383] {
            let mut disk = two();
            disk.bytes[damaged] ^= 1;
            let gpt = Partitions::read(&mut disk).unwrap();
            assert!(gpt.from_backup);
            assert_eq!(gpt.partitions, Partitions::read(&mut two()).unwrap().partitions);
            disk.bytes[(SECTORS as usize - 1) * SECTOR + 60] ^= 1;
            let Err(TableError::Damaged { backup: TableFault::Header, .. }) =
                Partitions::read(&mut disk)
            else {
                panic!("both tables are damaged")
            };
        }
    }

    #[test]
    fn a_disk_without_a_table_is_told_from_a_damaged_one() {
        let error = |bytes: Vec<u8>| Partitions::read(&mut Bytes { bytes, reads: 0 }).unwrap_err();
        assert_eq!(error(vec![]), TableError::NoTable);
        assert_eq!(error(vec![0; 512]), TableError::NoTable);
        assert_eq!(error(vec![0; 1 << 20]), TableError::NoTable);
        // The smallest that has a protective MBR only.
        let mut bytes = two().bytes;
        bytes[512..].fill(0);
        let (primary, backup) = (TableFault::Signature, TableFault::Signature);
        assert_eq!(error(bytes.clone()), TableError::Damaged { primary, backup });
        bytes.truncate(512);
        assert!(matches!(error(bytes), TableError::Read(_) | TableError::Damaged { .. }));
    }

    #[test]
    fn partitions_that_overlap_or_leave_the_usable_sectors_are_refused() {
        let error = |entries: &[Vec<u8>]| Partitions::read(&mut disk(entries)).unwrap_err();
        let good = entry("a", 0, 100, 200);
        assert_eq!(error(&[good.clone(), entry("b", 1, 200, 300)]), TableError::Overlap(1, 2));
        assert_eq!(error(&[entry("b", 1, 40, 100), good.clone()]), TableError::Overlap(1, 2));
        let inside = [entry("b", 1, 90, 300), entry("c", 2, 310, 320), good.clone()];
        assert_eq!(error(&inside), TableError::Overlap(1, 3));
        for (first, last) in [(33, 99), (300, SECTORS - 33), (300, 299), (300, u64::MAX)] {
            assert_eq!(error(&[good.clone(), entry("b", 1, first, last)]), TableError::Outside(2));
        }
    }

    #[test]
    fn a_table_that_cannot_be_is_refused_though_its_checksums_are_right() {
        for (at, value, len) in [
            (80, 0xffff_ffff, 4),
            (80, 1025, 4),
            (84, 64, 4),
            (84, 129, 4),
            (72, 1, 8),
            (72, SECTORS - 10, 8),
            (72, u64::MAX, 8),
            (72, 40, 8),
            (40, 1, 8),
            (40, 20, 8),
            (48, SECTORS - 1, 8),
        ] {
            let mut disk = two();
            let header = &mut disk.bytes[512..512 + 92];
            put(header, at, value, len);
            put(header, 16, 0, 4);
            let crc = crc32(header);
            put(header, 16, u64::from(crc), 4);
            disk.bytes[(SECTORS as usize - 1) * SECTOR] = 0;
            let primary = TableFault::Layout;
            let want = TableError::Damaged { primary, backup: TableFault::Signature };
            assert_eq!(Partitions::read(&mut disk), Err(want), "{value:#x} at {at}");
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_a_partition_leave_the_disk() {
        let mut random = Random(7);
        let mut good = 0;
        for round in 0..1500 {
            let mut disk = two();
            let last = SECTORS as usize - 1;
            for _ in 0..1 + random.below(4) {
                let part = [1, 2, last, last - 32][random.below(4) as usize] * SECTOR;
                let at = part + random.below(160) as usize;
                disk.bytes[at] = [random.next() as u8, 0, 0xff][random.below(3) as usize];
            }
            if random.below(3) != 0 {
                // Make the checksums right again, so that what is behind them is reached.
                for (lba, entries) in [(1, 2), (last, last - 32)] {
                    let crc = crc32(&disk.bytes[entries * SECTOR..][..128 * 128]);
                    let header = &mut disk.bytes[lba * SECTOR..][..92];
                    put(header, 88, u64::from(crc), 4);
                    put(header, 16, 0, 4);
                    let crc = crc32(header);
                    put(header, 16, u64::from(crc), 4);
                }
            }
            if round % 5 == 0 {
                disk.bytes.truncate(random.below(SECTORS) as usize * SECTOR);
            }
            let sectors = disk.sectors();
            if let Ok(gpt) = Partitions::read(&mut disk) {
                good += 1;
                assert!(gpt.partitions.iter().all(|p| p.first + p.sectors <= sectors));
            }
            assert!(disk.reads <= 3);
        }
        assert!(good > 100, "{good}");
    }
}
