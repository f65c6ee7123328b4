//! Driver of a virtio disk of the board: QEMU's, modern or legacy (VIRTIO 1.3 4.2, 4.2.4 and 5.2).
//!
//! A request occupies one of a fixed number of slots from submission to completion. A slot owns a control block (header
//! and status) and a chain of descriptors, in a table of its own where the disk takes indirect descriptors; what never
//! changes of them is written once, so that a request costs its data's descriptors and a few words.
//!
//! Idea not taken: the virtio-drivers crate. It takes buffers as slices, and Tessera must never form a reference to
//! memory that a guest writes to; here, memory is physical ranges from end to end.
//!
//! The disk is believed to keep the protocol, but checked where a mistake would reach further than this driver: a
//! completion that nobody waits for stops it for good, and all that was under way comes back as lost.

use alloc::vec;
use alloc::vec::Vec;

use crate::addr::Pa;
use crate::disk::{
    Accepted, DiskDriver, DiskError, DiskOp, DiskRequest, Registers, Segment, SubmitError, Tag,
};
use crate::hw::Hw;
use crate::virtio::blk::Status;
use crate::virtio::blk::request::{RANGE_SIZE, RANGE_UNMAP, kind};
use crate::virtio::{desc, reg};

mod job;
mod setup;

use job::{Job, Part};
use setup::{CONTROL_RANGE, CONTROL_STATUS, Layout, Limits};
pub use setup::{InitError, device_id};

/// What a slot is in use for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    Free,
    Request(Tag),
    /// A part of the [`Job`].
    Job(Tag),
}

/// The driver.
#[derive(Debug)]
pub struct VirtioDisk<R> {
    registers: R,
    limits: Limits,
    layout: Layout,
    slots: Vec<Use>,
    free: Vec<u16>,
    avail_idx: u16,
    /// The next used element to look at, and the disk's index when it was last read.
    next_used: u16,
    used_idx: u16,
    /// What `used_event` says.
    used_event: u16,
    job: Job,
    dead: bool,
}

/// Of both rings: index and elements behind the flags; the event word is behind the elements (VIRTIO 1.3 2.7).
const RING_IDX: u64 = 2;
const RING_ELEMENTS: u64 = 4;
const AVAIL_ELEMENT: u64 = 2;
const USED_ELEMENT: u64 = 8;
/// Flag of the used ring: the disk needs no notifications (VIRTIO 1.3 2.7.8).
const USED_NO_NOTIFY: u16 = 1;
/// What a status byte, and the byte behind it, hold until the disk has written it.
const STATUS_UNWRITTEN: u16 = 0xffff;

/// The disk broke the protocol.
struct Broken;

impl<R: Registers> VirtioDisk<R> {
    /// Takes the device into use. Its memory (about 80 KiB) is the driver's for ever.
    pub fn new(registers: R, hw: &impl Hw) -> Result<Self, InitError> {
        let (limits, layout) = setup::set_up(&registers, hw)?;
        Ok(Self {
            registers,
            limits,
            layout,
            slots: vec![Use::Free; usize::from(layout.slots)],
            free: (0..layout.slots).rev().collect(),
            avail_idx: 0,
            next_used: 0,
            used_idx: 0,
            used_event: 0,
            job: Job::new(),
            dead: false,
        })
    }

    /// How to go about a request.
    #[inline]
    fn plan(&self, request: &DiskRequest) -> Plan {
        let limits = &self.limits;
        let fits = |max: u32| request.sectors <= u64::from(max);
        let flush = request.durable && limits.flush && request.op.modifies();
        let whole = match request.op {
            DiskOp::Flush if !limits.flush => return Plan::Nothing,
            DiskOp::Discard if limits.max_discard == 0 => return Plan::Nothing,
            DiskOp::Flush => true,
            DiskOp::Discard => fits(limits.max_discard),
            DiskOp::WriteZeroes { .. } => {
                self.layout.zeroes.is_none() && fits(limits.max_write_zeroes)
            }
            DiskOp::Read | DiskOp::Write => {
                let segments = request.segments();
                segments.len() <= limits.segments
                    && segments.iter().all(|segment| segment.len <= limits.segment_bytes)
            }
        };
        if whole && !flush { Plan::Whole } else { Plan::Parts { flush } }
    }

    /// Puts a chain together in `slot` and hands it to the disk.
    #[inline]
    fn start(&mut self, hw: &impl Hw, slot: u16, part: Part, segments: Segments<'_>) {
        let control = self.layout.control(slot);
        let (chain, first) = self.layout.chain(slot);
        let (code, to_memory) = match part.op {
            DiskOp::Read => (kind::IN, true),
            DiskOp::Write => (kind::OUT, false),
            DiskOp::Flush => (kind::FLUSH, false),
            DiskOp::Discard => (kind::DISCARD, false),
            DiskOp::WriteZeroes { .. } => (kind::WRITE_ZEROES, false),
        };
        let by_range = matches!(part.op, DiskOp::Discard | DiskOp::WriteZeroes { .. });
        // The sector of a request that carries a range, or none, is 0 (VIRTIO 1.3 5.2.6.1).
        let sector = if by_range || part.op == DiskOp::Flush { 0 } else { part.sector };
        let head = u128::from(code) | u128::from(sector) << 64;
        hw.write(control, &head.to_le_bytes());
        hw.store_u16_release(control.offset(CONTROL_STATUS), STATUS_UNWRITTEN);

        let range = [Segment { at: control.offset(CONTROL_RANGE), len: RANGE_SIZE as u32 }];
        if by_range {
            self.write_range(hw, control, part);
        }
        let segments = match segments {
            _ if by_range => &range[..],
            Segments::Of(segments) => segments,
            Segments::Job => &self.job.segments,
        };
        let flags = if to_memory { desc::NEXT | desc::WRITE } else { desc::NEXT };
        let (mut at, mut next) = (chain, first.wrapping_add(1));
        for segment in segments {
            at = at.offset(desc::SIZE);
            next = next.wrapping_add(1);
            Descriptor { at: segment.at, len: segment.len, flags, next }.store(hw, at);
        }
        let status = control.offset(CONTROL_STATUS);
        let last = Descriptor { at: status, len: 1, flags: desc::WRITE, next: 0 };
        last.store(hw, at.offset(desc::SIZE));
        self.offer(hw, slot * self.layout.stride);
    }

    /// The range of a discard or write-zeroes (VIRTIO 1.3 5.2.6).
    #[cold]
    fn write_range(&self, hw: &impl Hw, control: Pa, part: Part) {
        let unmap = matches!(part.op, DiskOp::WriteZeroes { unmap: true });
        let flags = if unmap { u128::from(RANGE_UNMAP) } else { 0 };
        let raw = u128::from(part.sector) | u128::from(part.sectors as u32) << 64 | flags << 96;
        hw.write(control.offset(CONTROL_RANGE), &raw.to_le_bytes());
    }

    /// Makes the chain at `head` available and notifies the disk if it wants that (VIRTIO 1.3 2.7.13).
    #[inline]
    fn offer(&mut self, hw: &impl Hw, head: u16) {
        let Layout { avail, used, size, .. } = self.layout;
        let slot = u64::from(self.avail_idx & size.wrapping_sub(1));
        hw.store_u16_release(avail.offset(RING_ELEMENTS + slot * AVAIL_ELEMENT), head);
        self.avail_idx = self.avail_idx.wrapping_add(1);
        hw.store_u16_release(avail.offset(RING_IDX), self.avail_idx);
        // The index must be visible before the disk's wish is read, or both sides wait for each other.
        hw.fence();
        let wanted = if self.limits.event_idx {
            let at = RING_ELEMENTS + u64::from(size) * USED_ELEMENT;
            hw.load_u16_acquire(used.offset(at)) == self.avail_idx.wrapping_sub(1)
        } else {
            hw.load_u16_acquire(used) & USED_NO_NOTIFY == 0
        };
        if wanted {
            self.registers.write32(reg::QUEUE_NOTIFY, 0);
        }
    }

    /// The slot of the next chain that the disk gave back.
    #[inline]
    fn next_used(&mut self, hw: &impl Hw) -> Result<Option<u16>, Broken> {
        if self.next_used == self.used_idx && !self.look(hw)? {
            return Ok(None);
        }
        let Layout { used, size, stride, .. } = self.layout;
        let place = u64::from(self.next_used & size.wrapping_sub(1));
        let mut element = [0; USED_ELEMENT as usize];
        hw.read(used.offset(RING_ELEMENTS + place * USED_ELEMENT), &mut element);
        self.next_used = self.next_used.wrapping_add(1);
        // The chain; how much was written of it is known.
        let id = u64::from_le_bytes(element) as u32;
        let slot = u16::try_from(id / u32::from(stride)).map_err(|_| Broken)?;
        if slot >= self.layout.slots || !id.is_multiple_of(u32::from(stride)) {
            return Err(Broken);
        }
        Ok(Some(slot))
    }

    /// Asks for an interrupt at the next completion, then reads the disk's index; whether there is one already.
    #[inline]
    fn look(&mut self, hw: &impl Hw) -> Result<bool, Broken> {
        let Layout { avail, used, size, slots, .. } = self.layout;
        if self.limits.event_idx && self.used_event != self.next_used {
            let at = RING_ELEMENTS + u64::from(size) * AVAIL_ELEMENT;
            hw.store_u16_release(avail.offset(at), self.next_used);
            self.used_event = self.next_used;
            hw.fence();
        }
        let idx = hw.load_u16_acquire(used.offset(RING_IDX));
        if idx.wrapping_sub(self.next_used) > slots {
            return Err(Broken);
        }
        self.used_idx = idx;
        Ok(idx != self.next_used)
    }

    #[inline]
    fn result(&self, hw: &impl Hw, slot: u16) -> Result<(), DiskError> {
        let status = hw.load_u16_acquire(self.layout.control(slot).offset(CONTROL_STATUS)) as u8;
        match status {
            s if s == Status::Ok as u8 => Ok(()),
            s if s == Status::Unsupported as u8 => Err(DiskError::Unsupported),
            _ => Err(DiskError::Failed),
        }
    }

    /// Starts the job's next part in its slot; whether there was one.
    #[cold]
    fn go_on(&mut self, hw: &impl Hw, slot: u16) -> Result<bool, DiskError> {
        let Some(part) = self.job.next(&self.limits, self.layout.zeroes)? else { return Ok(false) };
        self.start(hw, slot, part, Segments::Job);
        Ok(true)
    }

    #[inline]
    fn set_use(&mut self, slot: u16, to: Use) -> Use {
        match self.slots.get_mut(usize::from(slot)) {
            Some(place) => core::mem::replace(place, to),
            None => Use::Free,
        }
    }

    /// After the end: one of the requests that were under way.
    #[cold]
    fn lose(&mut self) -> Option<(Tag, Result<(), DiskError>)> {
        self.slots.iter_mut().find_map(|slot| match core::mem::replace(slot, Use::Free) {
            Use::Request(tag) | Use::Job(tag) => Some((tag, Err(DiskError::Lost))),
            Use::Free => None,
        })
    }
}

impl<R: Registers> DiskDriver for VirtioDisk<R> {
    fn sectors(&self) -> u64 {
        self.limits.sectors
    }

    fn read_only(&self) -> bool {
        self.limits.read_only
    }

    #[inline]
    fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        if self.dead {
            return Err(SubmitError::Lost);
        }
        let plan = self.plan(request);
        let busy = self.job.active && matches!(plan, Plan::Parts { .. });
        if plan == Plan::Nothing {
            return Ok(Accepted::Done);
        }
        let slot = match self.free.last() {
            Some(&slot) if !busy => slot,
            _ => return Err(SubmitError::Full),
        };
        if let Plan::Parts { flush } = plan {
            self.job.begin(request, flush);
            match self.go_on(hw, slot) {
                Ok(true) => self.set_use(slot, Use::Job(request.tag)),
                Ok(false) | Err(_) => {
                    self.job.active = false;
                    return Err(SubmitError::Refused);
                }
            };
        } else {
            let DiskRequest { op, sector, sectors, .. } = *request;
            self.start(hw, slot, Part { op, sector, sectors }, Segments::Of(request.segments()));
            self.set_use(slot, Use::Request(request.tag));
        }
        self.free.pop();
        Ok(Accepted::Queued)
    }

    fn acknowledge(&mut self) {
        let reasons = self.registers.read32(reg::INTERRUPT_STATUS);
        self.registers.write32(reg::INTERRUPT_ACK, reasons);
    }

    #[inline]
    fn complete(&mut self, hw: &impl Hw) -> Option<(Tag, Result<(), DiskError>)> {
        // Each turn takes a completion, and a job has a bounded number of parts.
        while !self.dead {
            let slot = match self.next_used(hw) {
                Ok(Some(slot)) => slot,
                Ok(None) => return None,
                Err(Broken) => break,
            };
            let mut result = self.result(hw, slot);
            let tag = match self.set_use(slot, Use::Free) {
                Use::Request(tag) => tag,
                Use::Job(tag) => {
                    match result.and_then(|()| self.go_on(hw, slot)) {
                        Ok(true) => {
                            self.set_use(slot, Use::Job(tag));
                            continue;
                        }
                        Ok(false) => {}
                        Err(error) => result = Err(error),
                    }
                    self.job.active = false;
                    tag
                }
                Use::Free => break,
            };
            // Cannot grow: a slot is in the list or in use, never both.
            self.free.push(slot);
            return Some((tag, result));
        }
        self.stop();
        self.lose()
    }

    fn progress(&self) -> Option<u32> {
        (self.free.len() != self.slots.len()).then_some(0)
    }

    #[cold]
    fn stop(&mut self) {
        if !core::mem::replace(&mut self.dead, true) {
            reset(&self.registers);
        }
    }
}

/// How to go about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// The disk has nothing of the kind, and not to do it is right.
    Nothing,
    Whole,
    Parts {
        flush: bool,
    },
}

/// Whose memory a chain has.
enum Segments<'a> {
    Of(&'a [Segment]),
    Job,
}

/// Resets the device and waits until it has (VIRTIO 1.3 2.4.2); whether it did within reason.
fn reset(registers: &impl Registers) -> bool {
    const TRIES: u32 = 1_000_000;
    registers.write32(reg::STATUS, 0);
    (0..TRIES).any(|_| registers.read32(reg::STATUS) == 0)
}

/// A descriptor to write (VIRTIO 1.3 2.7.5).
struct Descriptor {
    at: Pa,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    #[inline]
    fn store(&self, hw: &impl Hw, to: Pa) {
        let high = u64::from(self.next) << 48 | u64::from(self.flags) << 32 | u64::from(self.len);
        let raw = u128::from(high) << 64 | u128::from(self.at.0);
        hw.write(to, &raw.to_le_bytes());
    }
}
