//! The board's disk, and how guests share it.
//!
//! A guest's request arrives as a [`DiskRequest`]: sectors of the board's disk and the physical pieces of memory to
//! move them to or from. [`Disk`] lets it through to a driver ([`virtio_blk`], [`sdhci`]) if its owner may, and hands
//! the completion back under the request's [`Tag`]. [`partitions`] says where partitions are ([`gpt`], [`mbr`]).
//!
//! Nothing here waits for the disk, except [`boot::BootReader`] before the first guest runs. Nothing here holds a
//! guest's requests either: where the disk has no room the guest's own ring keeps them ([`Disk`] tells how).

use alloc::vec::Vec;
use core::fmt;

use crate::addr::Pa;
use crate::hw::Hw;

pub mod boot;
pub(crate) mod crc32;
pub mod gpt;
pub mod mbr;
#[cfg(any(test, feature = "fake"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests use more of it than fuzz targets"))]
pub(crate) mod model;
pub mod partitions;
pub mod sdhci;
mod shared;
#[cfg(any(test, feature = "fake"))]
pub(crate) mod sparse;
#[cfg(test)]
mod tests;
pub mod virtio_blk;

pub use shared::{Attached, Disk, ShareError};

/// Bytes of a sector, the unit of all positions (VIRTIO 1.3 5.2.4: always 512).
pub const SECTOR_SIZE: u64 = 512;

/// The bytes of a sector. Aligned, so that a checksum takes them by words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(16))]
pub struct Sector(pub [u8; SECTOR_SIZE as usize]);

impl Default for Sector {
    fn default() -> Self {
        Self([0; SECTOR_SIZE as usize])
    }
}

/// Most pieces of memory that one request can have.
pub const MAX_SEGMENTS: usize = 96;

/// A piece of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First byte.
    pub at: Pa,
    /// Bytes, more than 0.
    pub len: u32,
}

/// What to do with the sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Move them to memory.
    Read,
    /// Move memory to them.
    Write,
    /// Make earlier writes durable; no sectors.
    Flush,
    /// Their content is of no more use; no memory.
    Discard,
    /// Make them read as zero; no memory.
    WriteZeroes {
        /// They may also give up their place on the medium.
        unmap: bool,
    },
}

impl DiskOp {
    /// Whether the disk's content changes.
    pub const fn modifies(self) -> bool {
        matches!(self, Self::Write | Self::Discard | Self::WriteZeroes { .. })
    }
}

/// Whose request it is: which attachment of a [`Disk`], and which of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The attachment, as [`Disk::attach`] gave it.
    pub owner: u8,
    /// A number of the owner's choice.
    pub request: u16,
}

/// A request to the board's disk.
#[derive(Debug)]
pub struct DiskRequest {
    /// What to do.
    pub op: DiskOp,
    /// First sector of the board's disk.
    pub sector: u64,
    /// Sectors; where memory takes part, as many as all segments together have.
    pub sectors: u64,
    /// It is complete only when the data is durable, as if a flush followed.
    pub durable: bool,
    /// Whose it is.
    pub tag: Tag,
    /// Memory, in the order of the sectors. The capacity of [`MAX_SEGMENTS`] is all it ever has.
    segments: Vec<Segment>,
}

impl DiskRequest {
    /// A request to fill in, with room for its segments.
    pub fn new(tag: Tag) -> Self {
        let segments = Vec::with_capacity(MAX_SEGMENTS);
        Self { op: DiskOp::Flush, sector: 0, sectors: 0, durable: false, tag, segments }
    }

    /// The memory, in the order of the sectors.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Begins again without memory.
    pub fn clear_segments(&mut self) {
        self.segments.clear();
    }

    /// Adds memory, joined to the last piece where it follows it; `false` where there are too many pieces.
    #[inline]
    pub fn add_segment(&mut self, at: Pa, len: u32) -> bool {
        if let Some(last) = self.segments.last_mut()
            && last.at.offset(u64::from(last.len)) == at
            && let Some(sum) = last.len.checked_add(len)
        {
            last.len = sum;
            return true;
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return false;
        }
        self.segments.push(Segment { at, len });
        true
    }

    /// Becomes a copy of `other`, in the memory it has.
    fn copy_from(&mut self, other: &Self) {
        let Self { op, sector, sectors, durable, tag, ref segments } = *other;
        self.segments.clear();
        self.segments.extend_from_slice(segments);
        (self.op, self.sector, self.sectors) = (op, sector, sectors);
        (self.durable, self.tag) = (durable, tag);
    }
}

/// What an owner may reach of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub sectors: u64,
    /// Not for writing.
    pub read_only: bool,
}

impl Window {
    /// Whether `sectors` sectors from the absolute `sector` on are all inside.
    pub fn contains(&self, sector: u64, sectors: u64) -> bool {
        sector
            .checked_sub(self.first)
            .and_then(|inside| inside.checked_add(sectors))
            .is_some_and(|end| end <= self.sectors)
    }

    /// Whether some sector is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first < other.first.saturating_add(other.sectors)
            && other.first < self.first.saturating_add(self.sectors)
    }
}

/// Why a request that the disk took came back undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// The disk reported an error of this request.
    Failed,
    /// The disk cannot do what was asked.
    Unsupported,
    /// The disk broke down; it takes no more requests.
    Lost,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the disk reported an error",
            Self::Unsupported => "the disk does not support the request",
            Self::Lost => "the disk broke down and takes no more requests",
        })
    }
}

/// How a request was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Accepted {
    /// It is under way; its completion comes later.
    Queued,
    /// There was nothing to do; no completion comes.
    Done,
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmitError {
    /// There is no room now: offer it again when [`Disk::next_waiting`] says so.
    Full,
    /// Its owner may not, or the request contradicts itself.
    Refused,
    /// The disk broke down.
    Lost,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the disk has no room for another request now",
            Self::Refused => "the request reaches beyond what its owner may reach",
            Self::Lost => "the disk broke down and takes no more requests",
        })
    }
}

/// The registers of a disk or its controller.
pub trait Registers {
    /// Loads 32 bits.
    fn read32(&self, offset: u64) -> u32;
    /// Stores 32 bits, after all earlier stores to memory.
    fn write32(&self, offset: u64, value: u32);
}

/// A driver of a physical disk, as [`Disk`] and the boot use it.
pub trait DiskDriver {
    /// Sectors of the disk.
    fn sectors(&self) -> u64;
    /// Whether it cannot be written.
    fn read_only(&self) -> bool;
    /// Begins a request and does not wait. Sectors and segments were checked by the caller. [`SubmitError::Full`] only
    /// while requests are under way.
    fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError>;
    /// Quietens the disk's interrupt; to be called before [`Self::complete`].
    fn acknowledge(&mut self);
    /// The next request that came to its end, until there is none.
    fn complete(&mut self, hw: &impl Hw) -> Option<(Tag, Result<(), DiskError>)>;
    /// `None` where nothing is under way; otherwise a number that changes when a request comes forward that takes its
    /// time. (That requests come to their end is seen without.)
    fn progress(&self) -> Option<u32>;
    /// Stops the disk for ever: no DMA is under way afterwards, and what was is completed as [`DiskError::Lost`].
    fn stop(&mut self);
}

impl<D: DiskDriver> DiskDriver for &mut D {
    fn sectors(&self) -> u64 {
        (**self).sectors()
    }
    fn read_only(&self) -> bool {
        (**self).read_only()
    }
    fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        (**self).submit(hw, request)
    }
    fn acknowledge(&mut self) {
        (**self).acknowledge();
    }
    fn complete(&mut self, hw: &impl Hw) -> Option<(Tag, Result<(), DiskError>)> {
        (**self).complete(hw)
    }
    fn progress(&self) -> Option<u32> {
        (**self).progress()
    }
    fn stop(&mut self) {
        (**self).stop();
    }
}
