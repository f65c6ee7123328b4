//! A split queue (VIRTIO 1.3 2.7) in DMA pages.

use super::{Transport, reg};
use crate::mmio::{read16, read32, write16, write32, write64};
use crate::{cpu, dma};

/// Descriptor flag: there is a next one.
pub const NEXT: u16 = 1;
/// Descriptor flag: the device writes the buffer.
pub const WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors.
pub const INDIRECT: u16 = 4;

/// A descriptor (VIRTIO 1.3 2.7.5).
#[derive(Clone, Copy, Debug, Default)]
pub struct Desc {
    /// Address of the buffer.
    pub addr: u64,
    /// Its bytes.
    pub len: u32,
    /// [`NEXT`], [`WRITE`], [`INDIRECT`].
    pub flags: u16,
    /// The next one.
    pub next: u16,
}

impl Desc {
    /// Writes it to entry `index` of a table.
    pub fn put(&self, table: u64, index: u16) {
        let at = table + u64::from(index) * 16;
        write64(at, self.addr);
        write32(at + 8, self.len);
        write16(at + 12, self.flags);
        write16(at + 14, self.next);
    }
}

/// A queue: addresses of its three parts and where the driver is in them.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Entries.
    pub size: u16,
    /// Descriptor table.
    pub desc: u64,
    /// Available ring.
    pub avail: u64,
    /// Used ring.
    pub used: u64,
    /// What the available index is next.
    pub avail_idx: u16,
    /// How far the used ring has been read.
    pub used_idx: u16,
    event_idx: bool,
}

impl Queue {
    /// Makes queue 0 of the device, of `size` entries at most.
    pub fn new(device: &Transport, size: u16, event_idx: bool) -> Option<Self> {
        device.write(reg::QUEUE_SEL, 0);
        let size = size.min(device.read(reg::QUEUE_NUM_MAX).min(1 << 15) as u16);
        if size == 0 || device.read(reg::QUEUE_READY) != 0 {
            return None;
        }
        let memory = dma::pages(3);
        let queue = Self {
            size,
            desc: memory,
            avail: memory + dma::PAGE,
            used: memory + 2 * dma::PAGE,
            avail_idx: 0,
            used_idx: 0,
            event_idx,
        };
        queue.tell(device);
        Some(queue)
    }

    /// Starts again in the same memory, after a reset of the device.
    pub fn restart(&mut self, device: &Transport, event_idx: bool) {
        dma::fill(self.desc, 3 * dma::PAGE as usize, 0);
        *self = Self { avail_idx: 0, used_idx: 0, event_idx, ..*self };
        self.tell(device);
    }

    fn tell(&self, device: &Transport) {
        device.write(reg::QUEUE_SEL, 0);
        device.write(reg::QUEUE_NUM, u32::from(self.size));
        device.write_address(reg::QUEUE_DESC, self.desc);
        device.write_address(reg::QUEUE_DRIVER, self.avail);
        device.write_address(reg::QUEUE_DEVICE, self.used);
        device.write(reg::QUEUE_READY, 1);
    }

    /// Puts a chain's head into the available ring and moves the index on.
    pub fn offer(&mut self, head: u16) {
        write16(self.avail + 4 + u64::from(self.avail_idx % self.size) * 2, head);
        self.set_avail_idx(self.avail_idx.wrapping_add(1));
    }

    /// Sets the available index, whatever it was.
    pub fn set_avail_idx(&mut self, index: u16) {
        self.avail_idx = index;
        cpu::dsb();
        write16(self.avail + 2, index);
        cpu::dsb();
    }

    /// Whether the device wants to be notified of what was offered since the index was `old` (VIRTIO 1.3 2.7.10).
    pub fn wants_notify(&self, old: u16) -> bool {
        if !self.event_idx {
            return read16(self.used) & 1 == 0;
        }
        let event = read16(self.used + 4 + u64::from(self.size) * 8);
        self.avail_idx.wrapping_sub(event).wrapping_sub(1) < self.avail_idx.wrapping_sub(old)
    }

    /// Asks for an interrupt when the used index passes `index` (event index only).
    pub fn interrupt_at(&self, index: u16) {
        write16(self.avail + 4 + u64::from(self.size) * 2, index);
        cpu::dsb();
    }

    /// The used index as the device wrote it.
    pub fn device_used_idx(&self) -> u16 {
        read16(self.used + 2)
    }

    /// Takes the next used element: the head of its chain and the bytes that the device wrote.
    pub fn take_used(&mut self) -> Option<(u32, u32)> {
        if self.device_used_idx() == self.used_idx {
            return None;
        }
        cpu::dsb();
        let at = self.used + 4 + u64::from(self.used_idx % self.size) * 8;
        self.used_idx = self.used_idx.wrapping_add(1);
        if self.event_idx {
            self.interrupt_at(self.used_idx);
        }
        Some((read32(at), read32(at + 4)))
    }
}
