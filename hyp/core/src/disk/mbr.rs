//! MBR partition tables, as PCs have had them since 1983 and Linux reads them (UEFI 2.10 5.2; Linux
//! block/partitions/msdos.c).
//!
//! Four primary partitions are in the disk's first sector. One of them may be *extended*: a chain of tables, each with one
//! logical partition, which are numbered from 5, and the place of the next table. The place of a logical partition is
//! counted from its table, that of a table from the extended partition. There are no checksums, so more is asked of it than
//! Linux asks: a partition that leaves the disk, or the extended partition it is in, or meets another or a table of the
//! chain, is an error that names it. The last is for the guest's sake who has no such partition: a guest that
//! could write to a table would move others' partitions at the next boot.

use alloc::string::String;
use alloc::vec::Vec;

use super::Sector;
use super::partitions::{
    BlockRead, PartUuid, Partition, Partitions, SECTOR, TableError, le32, overlap,
};

/// Offsets in the sector (UEFI 2.10 5.2.1, table 5.1) and in an entry (table 5.2).
const DISK_SIGNATURE: usize = 440;
const ENTRIES: usize = 446;
const ENTRY_SIZE: usize = 16;
const SIGNATURE: usize = 510;
const ENTRY_KIND: usize = 4;
const ENTRY_FIRST: usize = 8;
const ENTRY_SECTORS: usize = 12;
/// Kinds of partitions: that which protects a GPT, and the three ways to say "extended".
const KIND_GPT: u8 = 0xee;
const KINDS_EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;
/// Number of the last that is read: what bounds the chain.
const LAST_LOGICAL: u32 = 64;

/// A table: the first sector of the disk or of a logical partition.
pub(super) struct Mbr {
    signature: u32,
    entries: [Entry; 4],
}

#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    fn is_extended(self) -> bool {
        KINDS_EXTENDED.contains(&self.kind)
    }

    fn is_used(self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    fn is_partition(self) -> bool {
        self.is_used() && !self.is_extended()
    }

    /// Whether it lies in `[from, from + sectors)`, with its own place counted from `base`; the place.
    fn within(self, base: u64, from: u64, sectors: u64) -> Option<u64> {
        // 32 bits each, so there is no overflow.
        let first = base + self.first;
        (self.first != 0 && first >= from && first + self.sectors <= from + sectors)
            .then_some(first)
    }
}

impl Mbr {
    /// The table in a sector, if it is one: a boot sector of a file system ends with the same signature, but has code
    /// where an entry says whether it is bootable.
    pub(super) fn parse(sector: &Sector) -> Option<Self> {
        let bytes = &sector.0;
        let entries = [0, 1, 2, 3].map(|n| bytes.get(ENTRIES + n * ENTRY_SIZE..).unwrap_or(&[]));
        let plausible = entries.iter().all(|entry| matches!(entry.first(), Some(0 | 0x80)));
        let signed = bytes.get(SIGNATURE..) == Some(&[0x55, 0xaa]);
        (signed && plausible).then(|| Self {
            signature: le32(bytes, DISK_SIGNATURE),
            entries: entries.map(|entry| Entry {
                kind: entry.get(ENTRY_KIND).copied().unwrap_or(0),
                first: u64::from(le32(entry, ENTRY_FIRST)),
                sectors: u64::from(le32(entry, ENTRY_SECTORS)),
            }),
        })
    }

    /// Whether the disk has a GPT, and this table says so to those who do not know (UEFI 2.10 5.2.3). Where it has
    /// partitions of its own beside, they are the same as some of the GPT's.
    pub(super) fn protects_gpt(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == KIND_GPT)
    }
}

/// Reads the partitions of a disk that begins with `mbr`.
pub(super) fn read<R: BlockRead>(
    disk: &mut R,
    mbr: &Mbr,
) -> Result<Partitions, TableError<R::Error>> {
    let mut found = Found { signature: mbr.signature, partitions: Vec::new(), ranges: Vec::new() };
    let mut extended = None;
    for (number, &entry) in (1..).zip(&mbr.entries).filter(|(_, entry)| entry.is_used()) {
        let first = entry
            .within(0, 1, disk.sectors().saturating_sub(1))
            .ok_or(TableError::Outside(number))?;
        if entry.is_extended() {
            // Linux reads a second one too; nobody makes one.
            extended.get_or_insert(entry);
            found.ranges.push((first, entry.sectors, number));
        } else {
            found.push(number, first, entry.sectors);
        }
    }
    found.check()?;
    if let Some(extended) = extended {
        found.ranges.clear();
        found.logical(disk, extended)?;
        found.check()?;
    }
    Ok(Partitions { partitions: found.partitions, from_backup: false })
}

struct Found {
    signature: u32,
    partitions: Vec<Partition>,
    /// What must lie apart: first sector, sectors, number.
    ranges: Vec<(u64, u64, u32)>,
}

impl Found {
    fn push(&mut self, number: u32, first: u64, sectors: u64) {
        let partuuid = PartUuid::Mbr(self.signature, number as u8);
        self.partitions.push(Partition { number, label: String::new(), partuuid, first, sectors });
        self.ranges.push((first, sectors, number));
    }

    fn check<E>(&self) -> Result<(), TableError<E>> {
        match overlap(&self.ranges) {
            None => Ok(()),
            Some((a, b)) => Err(TableError::Overlap(a, b)),
        }
    }

    /// The logical partitions in `extended`, which lies on the disk.
    fn logical<R: BlockRead>(
        &mut self,
        disk: &mut R,
        extended: Entry,
    ) -> Result<(), TableError<R::Error>> {
        let Entry { first: start, sectors: len, .. } = extended;
        let mut at = start;
        let mut number = FIRST_LOGICAL;
        for _ in FIRST_LOGICAL..=LAST_LOGICAL {
            let mut sector = [Sector([0; SECTOR])];
            disk.read(at, &mut sector).map_err(TableError::Read)?;
            // An extended partition with nothing in it may never have been written to.
            let Some(table) = sector.first().and_then(Mbr::parse) else { return Ok(()) };
            self.ranges.push((at, 1, number));
            if let Some(entry) = table.entries.iter().find(|entry| entry.is_partition()) {
                let first = entry.within(at, start, len).ok_or(TableError::Outside(number))?;
                self.push(number, first, entry.sectors);
                number += 1;
            }
            let next = table.entries.iter().find(|entry| entry.is_used() && entry.is_extended());
            let Some(next) = next else { return Ok(()) };
            let one = Entry { sectors: 1, ..*next };
            at = one.within(start, start, len).ok_or(TableError::Outside(number))?;
        }
        Err(TableError::Chain(LAST_LOGICAL))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::disk::model::Random;
    use crate::disk::partitions::FindError;
    use crate::disk::sparse::SparseDisk;

    type Raw = (u8, u32, u32);
    const NONE: Raw = (0, 0, 0);

    fn table(entries: &[Raw]) -> Sector {
        let mut sector = Sector::default();
        for (n, (kind, first, sectors)) in entries.iter().enumerate() {
            let entry = &mut sector.0[ENTRIES + n * ENTRY_SIZE..][..ENTRY_SIZE];
            entry[ENTRY_KIND] = *kind;
            entry[ENTRY_FIRST..ENTRY_SECTORS].copy_from_slice(&first.to_le_bytes());
            entry[ENTRY_SECTORS..].copy_from_slice(&sectors.to_le_bytes());
        }
        sector.0[DISK_SIGNATURE..DISK_SIGNATURE + 4].copy_from_slice(&[0x1f, 0xc2, 0xab, 0x0e]);
        sector.0[SIGNATURE..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn disk(tables: &[(u64, &[Raw])]) -> SparseDisk {
        let written = tables.iter().map(|(at, entries)| (*at, table(entries))).collect();
        SparseDisk { written, ..SparseDisk::new(100_000) }
    }

    fn places(disk: &mut SparseDisk) -> Vec<(u32, u64, u64)> {
        let found = Partitions::read(disk).unwrap();
        found.partitions.iter().map(|p| (p.number, p.first, p.sectors)).collect()
    }

    fn error(tables: &[(u64, &[Raw])]) -> TableError<&'static str> {
        Partitions::read(&mut disk(tables)).unwrap_err()
    }

    const PRIMARY: [Raw; 4] = [(0x0c, 2048, 8192), (0x83, 10240, 100), NONE, (5, 20_000, 50_000)];

    #[test]
    fn primary_and_logical_partitions_have_the_numbers_and_names_that_linux_gives_them() {
        let mut disk = disk(&[
            (0, &PRIMARY),
            (20_000, &[(0x83, 2048, 1000), (5, 10_000, 3000)]),
            // A table without a partition is passed over.
            (30_000, &[NONE, (5, 15_000, 3000)]),
            (35_000, &[(0x83, 1, 34_999), NONE]),
        ]);
        let want = [(1, 2048, 8192), (2, 10240, 100), (5, 22_048, 1000), (6, 35_001, 34_999)];
        assert_eq!(places(&mut disk), want);
        let found = Partitions::read(&mut disk).unwrap();
        assert_eq!(found.partitions[3].partuuid.to_string(), "0eabc21f-06");
        for (name, number) in [("0eabc21f-01", 1), ("0EABC21F-06", 6)] {
            assert_eq!(found.find(name).unwrap().number, number);
        }
        for name in ["", "0eabc21f", "0eabc21f-04", "0eabc21f-6", "1"] {
            assert_eq!(found.find(name), Err(FindError::Missing));
        }
    }

    #[test]
    fn an_extended_partition_that_nobody_wrote_to_is_empty() {
        assert_eq!(places(&mut disk(&[(0, &PRIMARY)])).len(), 2);
    }

    #[test]
    fn a_boot_sector_of_a_file_system_is_no_table() {
        let mut fat = disk(&[(0, &PRIMARY)]);
        fat.written[0].1.0[ENTRIES] = 0xe9;
        assert_eq!(Partitions::read(&mut fat).unwrap_err(), TableError::NoTable);
        let mut unsigned = disk(&[(0, &PRIMARY)]);
        unsigned.written[0].1.0[SIGNATURE] = 0;
        assert_eq!(Partitions::read(&mut unsigned).unwrap_err(), TableError::NoTable);
    }

    #[test]
    fn a_table_that_protects_a_gpt_is_not_taken_for_the_disks_own() {
        let hybrid = [(0x0c, 2048, 8192), (KIND_GPT, 1, 2047), NONE, NONE];
        assert!(matches!(error(&[(0, &hybrid)]), TableError::Damaged { .. }));
    }

    #[test]
    fn partitions_that_meet_or_leave_the_disk_are_refused_by_number() {
        let with = |n: usize, raw| {
            let mut entries = PRIMARY;
            entries[n] = raw;
            error(&[(0, &entries)])
        };
        assert_eq!(with(1, (0x83, 10_239, 1)), TableError::Overlap(1, 2));
        assert_eq!(with(2, (0x83, 69_999, 1)), TableError::Overlap(3, 4));
        for (first, sectors) in [(0, 1), (99_999, 2), (100_000, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(with(2, (0x83, first, sectors)), TableError::Outside(3));
        }
        let chain = |first: &[Raw], second: &[Raw]| {
            error(&[(0, &PRIMARY), (20_000, first), (30_000, second)])
        };
        let next = (5, 10_000, 3000);
        // On itself; on the next table; on the next partition; behind the extended partition's end.
        assert_eq!(chain(&[(0x83, 0, 10), next], &[]), TableError::Outside(5));
        let good = [(0x83, 10, 10), NONE];
        assert_eq!(chain(&[(0x83, 10, 9991), next], &good), TableError::Overlap(5, 6));
        assert_eq!(chain(&[(0x83, 10_015, 9), next], &good), TableError::Overlap(5, 6));
        assert_eq!(chain(&[(0x83, 10, 49_991), next], &good), TableError::Outside(5));
        // The next table outside, or the same again.
        for first in [0, 50_000, u32::MAX] {
            assert_eq!(chain(&[(0x83, 10, 10), (5, first, 10)], &[]), TableError::Outside(6));
        }
        let ring = chain(&[NONE, next], &[NONE, next]);
        assert_eq!(ring, TableError::Chain(LAST_LOGICAL));
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_read_for_ever_or_let_partitions_meet() {
        let mut random = Random(5);
        let mut good = 0;
        for _ in 0..20_000 {
            let mut disk = disk(&[
                (0, &PRIMARY),
                (20_000, &[(0x83, 2048, 1000), (5, 10_000, 3000)]),
                (30_000, &[(0x83, 2048, 1000), (5, 20_000, 3000)]),
                (40_000, &[(0x83, 2048, 1000), NONE]),
            ]);
            for _ in 0..1 + random.below(3) {
                let at = SIGNATURE - 1 - random.below(66) as usize;
                let byte = [random.next() as u8, 0, 5, 0xff][random.below(4) as usize];
                disk.written[random.below(4) as usize].1.0[at] = byte;
            }
            if let Ok(found) = Partitions::read(&mut disk) {
                good += 1;
                let mut used = vec![(0, 1, 0)];
                used.extend(found.partitions.iter().map(|p| (p.first, p.sectors, p.number)));
                assert!(used.iter().all(|(first, sectors, _)| first + sectors <= disk.sectors));
                assert_eq!(overlap(&used), None);
            }
            assert!(disk.reads <= 1 + LAST_LOGICAL);
        }
        assert!(good > 2000, "{good}");
    }
}
