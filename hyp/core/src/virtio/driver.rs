//! For tests: a driver in guest memory, for devices with several queues whose data is copied.

use alloc::vec;
use alloc::vec::Vec;

use super::{desc, feature, reg};
use crate::addr::{Ipa, Pa};
use crate::fuzz::Random;
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::fake::FakeHw;

/// Where the guest's RAM begins.
pub(crate) const RAM: u64 = 0x4000_0000;
pub(crate) const RAM_SIZE: u64 = 0x8_0000;
/// Where buffers are.
pub(crate) const DATA: u64 = RAM + 0x4_0000;
/// Descriptors of each queue.
pub(crate) const SIZE: u16 = 16;

/// A device under test.
pub(crate) trait Device {
    fn load(&self, offset: u64, size: u8) -> u64;
    /// Whether its interrupt is to be pulsed.
    fn store(&mut self, offset: u64, size: u8, value: u64, hw: &FakeHw, ram: &GuestRam) -> bool;
}

#[derive(Clone, Copy, Default)]
struct Ring {
    avail: u16,
    seen: u16,
}

/// A guest with a device: its memory, and what its driver remembers.
pub(crate) struct Driver<D> {
    pub hw: FakeHw,
    pub ram: GuestRam,
    pub device: D,
    pub interrupts: u32,
    pub features: u64,
    rings: Vec<Ring>,
}

impl<D: Device> Driver<D> {
    /// A guest, of whose RAM the second half lies before the first, and a device with `queues` queues.
    pub(crate) fn new(device: D, queues: usize, features: u64) -> Self {
        let hw = FakeHw::new(Pa(0x8000_0000), 1 << 21);
        let half = RAM_SIZE / 2;
        let extent = |ipa, pa| Extent { ipa: Ipa(ipa), pa: Pa(pa), len: half };
        let (first, second) = (hw.base.0 + half, hw.base.0);
        let ram = GuestRam::new(vec![extent(RAM, first), extent(RAM + half, second)]).unwrap();
        let features = features | feature::VERSION_1;
        Self { hw, ram, device, interrupts: 0, features, rings: vec![Ring::default(); queues] }
    }

    /// Descriptors, available and used ring of a queue.
    pub(crate) fn areas(queue: u16) -> [u64; 3] {
        [0, 0x1000, 0x2000].map(|area| RAM + u64::from(queue) * 0x4000 + area)
    }

    pub(crate) fn load(&self, offset: u64) -> u64 {
        self.device.load(offset, 4)
    }

    pub(crate) fn store(&mut self, offset: u64, value: u64) {
        self.store_sized(offset, 4, value);
    }

    pub(crate) fn store_sized(&mut self, offset: u64, size: u8, value: u64) {
        let interrupt = self.device.store(offset, size, value, &self.hw, &self.ram);
        self.interrupts += u32::from(interrupt);
    }

    /// Takes the driver to DRIVER_OK, with empty queues.
    pub(crate) fn bring_up(&mut self) {
        self.write(RAM, &vec![0; (DATA - RAM) as usize]);
        for (offset, value) in [
            (reg::STATUS, 0),
            (reg::STATUS, 1),
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, self.features & 0xffff_ffff),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, self.features >> 32),
            (reg::STATUS, 11),
        ] {
            self.store(offset, value);
        }
        for queue in 0..self.rings.len() as u16 {
            let [desc, avail, used] = Self::areas(queue);
            for (offset, value) in [
                (reg::QUEUE_SEL, u64::from(queue)),
                (reg::QUEUE_NUM, SIZE.into()),
                (reg::QUEUE_DESC, desc),
                (reg::QUEUE_DRIVER, avail),
                (reg::QUEUE_DEVICE, used),
                (reg::QUEUE_READY, 1),
            ] {
                self.store(offset, value);
            }
        }
        self.store(reg::STATUS, 15);
        self.rings.fill(Ring::default());
        assert_eq!(self.load(reg::STATUS), 15);
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.ram.write(&self.hw, Ipa(at), bytes).unwrap();
    }

    pub(crate) fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read(&self.hw, Ipa(at), &mut bytes).unwrap();
        bytes
    }

    /// Makes a chain of buffers (address, length, for the device to write) available, without a notification. It begins
    /// at descriptor `head`.
    pub(crate) fn offer(&mut self, queue: u16, head: u16, buffers: &[(u64, u32, bool)]) {
        let [table, avail, _] = Self::areas(queue);
        for (i, &(at, len, write)) in buffers.iter().enumerate() {
            let index = (head + i as u16) % SIZE;
            let more = if i + 1 < buffers.len() { desc::NEXT } else { 0 };
            let flags = u64::from(more | if write { desc::WRITE } else { 0 });
            let high = u64::from((index + 1) % SIZE) << 48 | flags << 32 | u64::from(len);
            let raw = u128::from(high) << 64 | u128::from(at);
            self.write(table + u64::from(index) * desc::SIZE, &raw.to_le_bytes());
        }
        let ring = &mut self.rings[usize::from(queue)];
        let (slot, next) = (ring.avail % SIZE, ring.avail.wrapping_add(1));
        ring.avail = next;
        self.write(avail + 4 + 2 * u64::from(slot), &head.to_le_bytes());
        self.write(avail + 2, &next.to_le_bytes());
    }

    pub(crate) fn notify(&mut self, queue: u16) {
        self.store(reg::QUEUE_NOTIFY, queue.into());
    }

    /// The used elements (head, length) of a queue that the driver has not seen.
    pub(crate) fn used(&mut self, queue: u16) -> Vec<(u32, u32)> {
        let [_, _, used] = Self::areas(queue);
        let idx = u16::from_le_bytes(self.read(used + 2, 2).try_into().unwrap());
        let mut all = vec![];
        while self.rings[usize::from(queue)].seen != idx {
            let ring = &mut self.rings[usize::from(queue)];
            let slot = ring.seen % SIZE;
            ring.seen = ring.seen.wrapping_add(1);
            let raw = self.read(used + 4 + 8 * u64::from(slot), 8);
            let raw = u64::from_le_bytes(raw.try_into().unwrap());
            all.push((raw as u32, (raw >> 32) as u32));
        }
        all
    }

    /// Writes something somewhere into the rings, or a register with a value that may mean something.
    pub(crate) fn spoil(&mut self, random: &mut Random) {
        let queue = random.below(self.rings.len() as u64) as u16;
        let [table, avail, used] = Self::areas(queue);
        let values =
            [random.next(), random.below(20), RAM + random.below(RAM_SIZE + 64), RAM - 8, 0xffff];
        let value = values[random.below(5) as usize];
        if random.below(3) == 0 {
            let offset = match random.below(13) {
                0 => random.below(0x200),
                1 => reg::CONFIG,
                _ => reg::WRITTEN[random.below(reg::WRITTEN.len() as u64) as usize],
            };
            let size = [1, 2, 4, 4, 4, 8][random.below(6) as usize];
            self.store_sized(offset, size, value);
            self.device.load(random.below(0x200), size);
            return;
        }
        let at = match random.below(4) {
            0 => avail + random.below(40),
            1 => used + random.below(140),
            _ => table + random.below(16 * 16),
        };
        self.write(at, &value.to_le_bytes()[..1 << random.below(4)]);
    }
}
