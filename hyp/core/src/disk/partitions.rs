//! The partitions of the board's disk, whichever table it has.
//!
//! One read fetches what nearly every table is in: the MBR, which is all of an MBR's primary partitions and says
//! whether there is a GPT, the GPT's header and its usual 128 entries. Blocks are 512 bytes, as virtio disks and SD
//! cards have them.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::gpt::{self, Guid, TableFault};
use super::mbr::{self, Mbr};
use super::{SECTOR_SIZE, Sector, Window};

/// Whence sectors are read.
pub trait BlockRead {
    /// Why one was not.
    type Error: fmt::Display;
    /// Sectors there are.
    fn sectors(&self) -> u64;
    /// Reads sectors from `sector` on.
    fn read(&mut self, sector: u64, into: &mut [Sector]) -> Result<(), Self::Error>;
}

/// The disk's partitions, in the order of their entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Partitions {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// The first table of a GPT was damaged and this is the backup.
    pub from_backup: bool,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number, from 1, as Linux counts.
    pub number: u32,
    /// Its label: empty in an MBR.
    pub label: String,
    /// What names it for ever.
    pub partuuid: PartUuid,
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub sectors: u64,
}

impl Partition {
    /// What a guest may reach that is given this partition.
    pub fn window(&self, read_only: bool) -> Window {
        Window { first: self.first, sectors: self.sectors, read_only }
    }
}

/// A name for ever, as Linux writes it after `PARTUUID=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartUuid {
    /// Of a GPT.
    Guid(Guid),
    /// Of an MBR: the disk's signature and the partition's number.
    Mbr(u32, u8),
}

impl fmt::Display for PartUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guid(guid) => guid.fmt(f),
            Self::Mbr(signature, number) => write!(f, "{signature:08x}-{number:02x}"),
        }
    }
}

impl PartUuid {
    /// Whether `text` is this name, in letters of either case.
    fn is(&self, text: &str) -> bool {
        struct Rest<'a>(&'a str);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                let (head, rest) = self.0.split_at_checked(part.len()).ok_or(fmt::Error)?;
                self.0 = rest;
                if head.eq_ignore_ascii_case(part) { Ok(()) } else { Err(fmt::Error) }
            }
        }
        let mut rest = Rest(text);
        fmt::write(&mut rest, format_args!("{self}")).is_ok() && rest.0.is_empty()
    }
}

/// Why the disk has no partitions to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError<E> {
    /// The disk could not be read.
    Read(E),
    /// The disk is too small or its first sector is no MBR.
    NoTable,
    /// Neither the primary nor the backup GPT is usable.
    Damaged {
        /// What is wrong with the primary.
        primary: TableFault,
        /// What is wrong with the backup.
        backup: TableFault,
    },
    /// The partition with this number is not inside the usable sectors, or the extended partition it is in.
    Outside(u32),
    /// These two partitions have a sector in common.
    Overlap(u32, u32),
    /// There are more logical partitions than this number, or their chain is a ring.
    Chain(u32),
}

impl<E: fmt::Display> fmt::Display for TableError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the partition table cannot be read: {error}"),
            Self::NoTable => f.write_str(
                "the disk has no partition table: make one, for example with `sfdisk` and `label: gpt`",
            ),
            Self::Damaged { primary, backup } => write!(
                f,
                "both partition tables of the disk are unusable (primary: {primary}; backup: {backup})"
            ),
            Self::Outside(n) => write!(f, "partition {n} reaches beyond the usable part of the disk"),
            Self::Overlap(a, b) => write!(f, "partitions {a} and {b} overlap"),
            Self::Chain(n) => write!(f, "the chain of logical partitions does not end at {n}"),
        }
    }
}

/// Why a name means no partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindError {
    /// No partition has this label or PARTUUID.
    Missing,
    /// These two, and maybe more, have it.
    Ambiguous(u32, u32),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no partition of the disk has this label or PARTUUID"),
            Self::Ambiguous(a, b) => {
                write!(f, "partitions {a} and {b} both have this label: name one by its PARTUUID")
            }
        }
    }
}

/// Sectors that the first read fetches: MBR, GPT header and 128 entries of 128 bytes.
pub const FIRST_READ: u64 = 34;

impl Partitions {
    /// Reads the partitions of a disk.
    pub fn read<R: BlockRead>(disk: &mut R) -> Result<Self, TableError<R::Error>> {
        let mut start = vec![Sector::default(); FIRST_READ.min(disk.sectors()) as usize];
        disk.read(0, &mut start).map_err(TableError::Read)?;
        match start.first().and_then(Mbr::parse) {
            None => Err(TableError::NoTable),
            Some(mbr) if mbr.protects_gpt() => gpt::read(disk, &start),
            Some(mbr) => mbr::read(disk, &mbr),
        }
    }

    /// The partition with this label or PARTUUID.
    pub fn find(&self, name: &str) -> Result<&Partition, FindError> {
        let is_it = |p: &&Partition| p.label == name && !name.is_empty() || p.partuuid.is(name);
        let mut found = self.partitions.iter().filter(is_it);
        let first = found.next().ok_or(FindError::Missing)?;
        match found.next() {
            Some(other) => Err(FindError::Ambiguous(first.number, other.number)),
            None => Ok(first),
        }
    }
}

/// The first two of these ranges (first sector, sectors, number) that have a sector in common, the lower number first.
/// All lie on the disk. Each is held against each: there are few, a thousand at most.
pub(super) fn overlap(ranges: &[(u64, u64, u32)]) -> Option<(u32, u32)> {
    let meet = |a: (u64, u64, u32), b: (u64, u64, u32)| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
    ranges.iter().enumerate().find_map(|(n, &a)| {
        let (_, _, other) = ranges.iter().take(n).find(|&&b| meet(a, b))?;
        Some((a.2.min(*other), a.2.max(*other)))
    })
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// Bytes of a sector as an index.
pub(crate) const SECTOR: usize = SECTOR_SIZE as usize;
