//! Block device (VIRTIO 1.3 5.2).

use super::queue::{Desc, INDIRECT, NEXT, Queue, WRITE};
use super::{F_EVENT_IDX, F_INDIRECT, F_VERSION_1, Transport, enable_interrupt, reg};
use crate::machine::VirtioNode;
use crate::mmio::{read8, write8, write32, write64};
use crate::{Machine, cpu, dma, timer};

/// Feature: the device is read-only.
pub const F_RO: u64 = 1 << 5;
/// Feature: flush.
pub const F_FLUSH: u64 = 1 << 9;
/// Feature: discard.
pub const F_DISCARD: u64 = 1 << 13;
/// Feature: write zeroes.
pub const F_WRITE_ZEROES: u64 = 1 << 14;
/// Status of a request that was done.
pub const OK: u8 = 0;
/// Status of a request that failed.
pub const IOERR: u8 = 1;
/// Status of a request that the device does not know.
pub const UNSUPP: u8 = 2;
/// No status: the device did not answer.
pub const TIMEOUT: u8 = 0xfe;
/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Requests in flight at most.
pub const SLOTS: usize = 16;

/// Most data segments of a request with direct descriptors; with indirect ones it is [`TABLE`] less two.
const SEGMENTS: u16 = 2;
const DIRECT: u16 = SEGMENTS + 2;
const TABLE: u16 = 32;
/// Where the parts of a request lie in its page.
const STATUS_AT: u64 = 16;
const TABLE_AT: u64 = 64;

/// Request types (VIRTIO 1.3 5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum Op {
    Read = 0,
    Write = 1,
    Flush = 4,
    GetId = 8,
    Discard = 11,
    WriteZeroes = 13,
    Unknown = 77,
}

/// A block device that runs.
pub struct Blk {
    /// Its registers.
    pub device: Transport,
    /// Features agreed on.
    pub features: u64,
    /// Its queue.
    pub queue: Queue,
    requests: u64,
    busy: [bool; SLOTS],
    written: [u32; SLOTS],
}

impl Blk {
    /// The window of the first block device.
    pub fn find(machine: &Machine) -> Option<VirtioNode> {
        let is_blk = |node: &&VirtioNode| {
            Transport::probe(node).is_some_and(|device| device.read(reg::DEVICE_ID) == 2)
        };
        machine.virtio().iter().find(is_blk).copied()
    }

    /// Brings the device up with what it has of `wanted`.
    pub fn open(node: &VirtioNode, wanted: u64) -> Result<Self, &'static str> {
        let known =
            F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_RO | F_FLUSH | F_DISCARD | F_WRITE_ZEROES;
        let device = Transport::probe(node).ok_or("no device")?;
        let features = device.negotiate(wanted & known).ok_or("features not accepted")?;
        let size = SLOTS as u16 * DIRECT;
        let queue =
            Queue::new(&device, size, features & F_EVENT_IDX != 0).ok_or("queue not available")?;
        enable_interrupt(node);
        device.go();
        let requests = dma::pages(SLOTS);
        Ok(Self { device, features, queue, requests, busy: [false; SLOTS], written: [0; SLOTS] })
    }

    /// Resets the device and brings it up again, with the same memory and other features.
    pub fn reopen(&mut self, wanted: u64) -> Result<(), &'static str> {
        self.features = self.device.negotiate(wanted).ok_or("features not accepted")?;
        self.queue.restart(&self.device, self.features & F_EVENT_IDX != 0);
        self.busy = [false; SLOTS];
        self.device.go();
        Ok(())
    }

    /// Sectors of the disk.
    pub fn capacity(&self) -> u64 {
        let low = self.device.read(reg::CONFIG);
        u64::from(self.device.read(reg::CONFIG + 4)) << 32 | u64::from(low)
    }

    /// Puts a request into the queue and returns its slot. The data segments are `(address, bytes)`.
    pub fn submit(&mut self, op: Op, sector: u64, data: &[(u64, u32)]) -> usize {
        let slot = self.prepare(op, sector, data);
        self.kick(1);
        slot
    }

    /// Puts a request into the queue without telling the device.
    pub fn prepare(&mut self, op: Op, sector: u64, data: &[(u64, u32)]) -> usize {
        let slot = self.busy.iter().position(|busy| !busy).expect("too many requests");
        self.busy[slot] = true;
        let page = self.page(slot);
        write32(page, op as u32);
        write32(page + 4, 0);
        write64(page + 8, sector);
        write8(page + STATUS_AT, 0xff);
        let head = slot as u16 * DIRECT;
        if self.features & F_INDIRECT != 0 {
            let count = chain(page, page + TABLE_AT, 0, op, data);
            let table = Desc {
                addr: page + TABLE_AT,
                len: u32::from(count) * 16,
                flags: INDIRECT,
                next: 0,
            };
            table.put(self.queue.desc, head);
        } else {
            assert!(data.len() <= usize::from(SEGMENTS), "too many segments");
            chain(page, self.queue.desc, head, op, data);
        }
        self.queue.offer(head);
        slot
    }

    /// Tells the device of the last `count` requests, where it wants to know.
    pub fn kick(&self, count: u16) {
        if self.queue.wants_notify(self.queue.avail_idx.wrapping_sub(count)) {
            self.device.write(reg::QUEUE_NOTIFY, 0);
        }
    }

    /// Waits for a request, polling.
    pub fn wait(&mut self, slot: usize) -> Result<u32, u8> {
        self.wait_with(slot, core::hint::spin_loop)
    }

    /// Waits for a request; `idle`, with IRQ masked, is how. Gives the bytes that the device says it wrote.
    pub fn wait_with(&mut self, slot: usize, idle: fn()) -> Result<u32, u8> {
        let comes = timer::comes(|| {
            self.reap();
            if self.busy[slot] {
                idle();
                cpu::with_irqs(|| ());
            }
            !self.busy[slot]
        });
        if !comes {
            return Err(TIMEOUT);
        }
        match read8(self.page(slot) + STATUS_AT) {
            OK => Ok(self.written[slot]),
            error => Err(error),
        }
    }

    /// Whether a request is still with the device.
    pub fn is_busy(&mut self, slot: usize) -> bool {
        self.reap();
        self.busy[slot]
    }

    /// Submits and waits.
    pub fn run(&mut self, op: Op, sector: u64, data: &[(u64, u32)]) -> Result<u32, u8> {
        let slot = self.submit(op, sector, data);
        self.wait(slot)
    }

    fn reap(&mut self) {
        while let Some((head, written)) = self.queue.take_used() {
            let slot = head as usize / usize::from(DIRECT);
            if let (Some(busy), Some(place)) = (self.busy.get_mut(slot), self.written.get_mut(slot))
            {
                *busy = false;
                *place = written;
            }
        }
    }

    fn page(&self, slot: usize) -> u64 {
        self.requests + slot as u64 * dma::PAGE
    }
}

/// Writes header, data and status as a chain to a table from entry `first` on, and gives the number of entries.
fn chain(page: u64, table: u64, first: u16, op: Op, data: &[(u64, u32)]) -> u16 {
    let device_writes = if matches!(op, Op::Read | Op::GetId) { WRITE } else { 0 };
    let mut index = first;
    let mut put = |addr, len, flags| {
        Desc { addr, len, flags, next: index + 1 }.put(table, index);
        index += 1;
    };
    put(page, 16, NEXT);
    for (addr, len) in data.iter().take(usize::from(TABLE) - 2) {
        put(*addr, *len, NEXT | device_writes);
    }
    put(page + STATUS_AT, 1, WRITE);
    index - first
}
