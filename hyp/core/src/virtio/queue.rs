//! The device's side of a split virtqueue (VIRTIO 1.3 2.7).
//!
//! All three areas are guest memory that the driver may change at any moment and that may hold anything. So: every
//! descriptor is copied once and judged by its copy; a walk ends after as many descriptors as the queue has; an index
//! is compared before it becomes an address; an address goes through [`GuestRam`]. What breaks the protocol is a
//! [`QueueError`], after which the device must be reset: nobody knows any more what the two sides agree on.
//!
//! Where the areas lie is checked when the queue becomes ready and again by every access. To keep physical addresses
//! instead would save a few instructions and tie the queue to pages that may move.

use core::fmt;

use super::{AVAIL_NO_INTERRUPT, desc};
use crate::addr::Ipa;
use crate::guest_mem::{GuestRam, Outside};
use crate::hw::Hw;

/// How the driver broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueError {
    /// A ring, a table or a status byte lies outside the guest's RAM.
    Outside,
    /// The queue's size is no power of two or too large.
    Size,
    /// An area of the queue is not aligned as VIRTIO 1.3 2.7 demands.
    Unaligned,
    /// More buffers were made available than the queue can hold.
    AvailJump,
    /// A chain begins at a descriptor that does not exist, or at one that is in use.
    Head,
    /// A chain goes on at a descriptor that does not exist.
    Next,
    /// An indirect descriptor where none may be, or with an impossible table.
    Indirect,
    /// A chain is longer than the queue: it may well be a loop.
    Loop,
    /// A buffer for the device to read follows one for it to write.
    Order,
    /// A request lacks its header or its status byte.
    Frame,
    /// A buffer has no room for what the device writes.
    Short,
    /// The queue is filled as fast as it is emptied, with requests that need no disk.
    Endless,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "a part of the virtqueue lies outside the guest's RAM",
            Self::Size => "the virtqueue's size is no power of two or too large",
            Self::Unaligned => "a part of the virtqueue is not aligned",
            Self::AvailJump => "more buffers are available than the virtqueue can hold",
            Self::Head => "a chain begins at a descriptor that does not exist or is in use",
            Self::Next => "a chain goes on at a descriptor that does not exist",
            Self::Indirect => "an indirect descriptor is out of place or its table is impossible",
            Self::Loop => "a chain of descriptors is longer than the virtqueue",
            Self::Order => "a buffer to read follows a buffer to write",
            Self::Frame => "a request lacks its header or its status byte",
            Self::Short => "a buffer has no room for what the device writes",
            Self::Endless => "the virtqueue is filled as fast as it is emptied",
        })
    }
}

impl From<Outside> for QueueError {
    fn from(_: Outside) -> Self {
        Self::Outside
    }
}

/// A buffer of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer {
    /// Where it begins; nothing was checked about it.
    pub at: Ipa,
    /// Bytes.
    pub len: u32,
    /// The device writes it; it reads it where `false`.
    pub write: bool,
}

/// One virtqueue.
#[derive(Debug)]
pub struct Queue {
    max: u16,
    size: u16,
    ready: bool,
    event_idx: bool,
    indirect: bool,
    /// Index of the next available buffer to take.
    next_avail: u16,
    /// The driver's index when it was last looked at.
    avail_idx: u16,
    /// What was last written to `avail_event`.
    avail_event: u16,
    /// Index of the next used element to write.
    next_used: u16,
    /// `next_used` when an interrupt was last considered.
    considered: u16,
    desc: Ipa,
    avail: Ipa,
    used: Ipa,
}

/// `idx` and the elements of a ring, behind `flags` (VIRTIO 1.3 2.7.6 and 2.7.8).
const RING_IDX: u64 = 2;
const RING_ELEMENTS: u64 = 4;
const AVAIL_ELEMENT: u64 = 2;
const USED_ELEMENT: u64 = 8;
/// `used_event` and `avail_event` behind the elements.
const RING_EVENT: u64 = 2;

impl Queue {
    /// A queue of at most `max` descriptors, a power of two, not in use.
    pub const fn new(max: u16) -> Self {
        Self {
            max,
            size: max,
            ready: false,
            event_idx: false,
            indirect: false,
            next_avail: 0,
            avail_idx: 0,
            avail_event: 0,
            next_used: 0,
            considered: 0,
            desc: Ipa(0),
            avail: Ipa(0),
            used: Ipa(0),
        }
    }

    /// Back to the state after power-on.
    pub fn reset(&mut self) {
        *self = Self::new(self.max);
    }

    /// Most descriptors the queue can have.
    pub const fn max(&self) -> u16 {
        self.max
    }

    /// Descriptors the queue has.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Whether the queue is in use.
    pub const fn ready(&self) -> bool {
        self.ready
    }

    /// Sets the number of descriptors; what is wrong with it shows when the queue is to become ready.
    pub fn set_size(&mut self, size: u16) {
        self.size = size;
    }

    /// The address of an area, to be set before the queue is ready.
    pub fn area(&mut self, area: Area) -> &mut Ipa {
        match area {
            Area::Desc => &mut self.desc,
            Area::Driver => &mut self.avail,
            Area::Device => &mut self.used,
        }
    }

    /// Takes the queue into use, with its indices at 0 (VIRTIO 1.3 2.7: sizes and alignments).
    pub fn start(
        &mut self,
        ram: &GuestRam,
        event_idx: bool,
        indirect: bool,
    ) -> Result<(), QueueError> {
        if !self.size.is_power_of_two() || self.size > self.max {
            return Err(QueueError::Size);
        }
        if !self.desc.is_aligned(16) || !self.avail.is_aligned(2) || !self.used.is_aligned(4) {
            return Err(QueueError::Unaligned);
        }
        let size = u64::from(self.size);
        let event = if event_idx { RING_EVENT } else { 0 };
        let inside = ram.contains(self.desc, size * desc::SIZE)
            && ram.contains(self.avail, RING_ELEMENTS + size * AVAIL_ELEMENT + event)
            && ram.contains(self.used, RING_ELEMENTS + size * USED_ELEMENT + event);
        if !inside {
            return Err(QueueError::Outside);
        }
        let Self { max, size, desc, avail, used, .. } = *self;
        let ready = true;
        *self = Self { size, ready, event_idx, indirect, desc, avail, used, ..Self::new(max) };
        Ok(())
    }

    /// Takes the queue out of use.
    pub fn stop(&mut self) {
        self.ready = false;
    }

    /// Takes the next available chain and gives its head, a number below [`Self::size`].
    ///
    /// Where there is none, the driver has been asked to notify the device of the next one *before* the last look
    /// (VIRTIO 1.3 2.7.10), so none can slip in between.
    #[inline]
    pub fn pop(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<Option<u16>, QueueError> {
        if self.next_avail == self.avail_idx && !self.look(hw, ram)? {
            return Ok(None);
        }
        let slot = u64::from(self.next_avail & self.size.wrapping_sub(1));
        let at = self.avail.offset(RING_ELEMENTS + slot * AVAIL_ELEMENT);
        let head = ram.load_u16_acquire(hw, at)?;
        if head >= self.size {
            return Err(QueueError::Head);
        }
        self.next_avail = self.next_avail.wrapping_add(1);
        Ok(Some(head))
    }

    /// Gives the chain back that [`Self::pop`] gave last, to be taken again later.
    #[inline]
    pub fn put_back(&mut self) {
        self.next_avail = self.next_avail.wrapping_sub(1);
    }

    /// Asks for a notification, then reads the driver's index; whether something is available.
    #[inline]
    fn look(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        if self.event_idx && self.avail_event != self.next_avail {
            let event = RING_ELEMENTS + u64::from(self.size) * USED_ELEMENT;
            ram.store_u16_release(hw, self.used.offset(event), self.next_avail)?;
            self.avail_event = self.next_avail;
            hw.fence();
        }
        let idx = ram.load_u16_acquire(hw, self.avail.offset(RING_IDX))?;
        if idx.wrapping_sub(self.next_avail) > self.size {
            return Err(QueueError::AvailJump);
        }
        self.avail_idx = idx;
        Ok(idx != self.next_avail)
    }

    /// Gives each buffer of the chain at `head`, in order (VIRTIO 1.3 2.7.5).
    #[inline]
    pub fn walk(
        &self,
        hw: &impl Hw,
        ram: &GuestRam,
        head: u16,
        mut each: impl FnMut(Buffer) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        let (mut table, mut entries, mut index) = (self.desc, u32::from(self.size), head);
        let (mut in_table, mut writing) = (false, false);
        // One more than the queue's size, for the descriptor that refers to a table.
        for _ in 0..=self.size {
            if u32::from(index) >= entries {
                return Err(QueueError::Next);
            }
            let d = Descriptor::read(hw, ram, table, index)?;
            if d.flags & desc::INDIRECT != 0 {
                if in_table || !self.indirect || d.flags & desc::NEXT != 0 {
                    return Err(QueueError::Indirect);
                }
                in_table = true;
                (table, entries, index) = (d.addr, self.table_entries(d.len)?, 0);
                continue;
            }
            let write = d.flags & desc::WRITE != 0;
            if writing && !write {
                return Err(QueueError::Order);
            }
            writing = write;
            each(Buffer { at: d.addr, len: d.len, write })?;
            if d.flags & desc::NEXT == 0 {
                return Ok(());
            }
            index = d.next;
        }
        Err(QueueError::Loop)
    }

    /// A chain is never longer than the queue, in a table neither (VIRTIO 1.3 2.7.5.3.1).
    #[inline]
    fn table_entries(&self, bytes: u32) -> Result<u32, QueueError> {
        let entries = bytes / desc::SIZE as u32;
        let whole = bytes.is_multiple_of(desc::SIZE as u32);
        if !whole || entries == 0 || entries > u32::from(self.size) {
            return Err(QueueError::Indirect);
        }
        Ok(entries)
    }

    /// Gives the chain at `head` back to the driver, `written` bytes of it written (VIRTIO 1.3 2.7.8).
    #[inline]
    pub fn push(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        head: u16,
        written: u32,
    ) -> Result<(), QueueError> {
        let slot = u64::from(self.next_used & self.size.wrapping_sub(1));
        let element = u64::from(written) << 32 | u64::from(head);
        let at = self.used.offset(RING_ELEMENTS + slot * USED_ELEMENT);
        ram.write(hw, at, &element.to_le_bytes())?;
        self.next_used = self.next_used.wrapping_add(1);
        ram.store_u16_release(hw, self.used.offset(RING_IDX), self.next_used)?;
        Ok(())
    }

    /// Whether the driver wants an interrupt for what was pushed since it was last asked (VIRTIO 1.3 2.7.7).
    #[inline]
    pub fn wants_interrupt(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        // The new index must be visible before the driver's wish is read, or both sides wait for each other.
        hw.fence();
        let before = core::mem::replace(&mut self.considered, self.next_used);
        if !self.event_idx {
            let flags = ram.load_u16_acquire(hw, self.avail)?;
            return Ok(flags & AVAIL_NO_INTERRUPT == 0);
        }
        let at = RING_ELEMENTS + u64::from(self.size) * AVAIL_ELEMENT;
        let event = ram.load_u16_acquire(hw, self.avail.offset(at))?;
        let passed = self.next_used.wrapping_sub(event).wrapping_sub(1);
        Ok(passed < self.next_used.wrapping_sub(before))
    }
}

/// An area of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// Descriptor table.
    Desc,
    /// Available ring, which the driver writes.
    Driver,
    /// Used ring, which the device writes.
    Device,
}

struct Descriptor {
    addr: Ipa,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    #[inline]
    fn read(hw: &impl Hw, ram: &GuestRam, table: Ipa, index: u16) -> Result<Self, QueueError> {
        let at = table.checked_add(u64::from(index) * desc::SIZE).ok_or(QueueError::Outside)?;
        let mut bytes = [0; desc::SIZE as usize];
        ram.read(hw, at, &mut bytes)?;
        let raw = u128::from_le_bytes(bytes);
        Ok(Self {
            addr: Ipa(raw as u64),
            len: (raw >> 64) as u32,
            flags: (raw >> 96) as u16,
            next: (raw >> 112) as u16,
        })
    }
}
