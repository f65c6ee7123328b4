//! Virtio over MMIO, version 1 (VIRTIO 1.3 4.2), driver side, with nothing hidden: a test must be able to misuse it.

pub mod blk;
pub mod queue;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::machine::VirtioNode;
use crate::mmio::{read32, write32};
use crate::{gic, trap};

/// Register offsets (VIRTIO 1.3 4.2.2).
#[allow(missing_docs, reason = "the names are those of the specification's table")]
pub mod reg {
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    pub const QUEUE_NUM: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC: u64 = 0x080;
    pub const QUEUE_DRIVER: u64 = 0x090;
    pub const QUEUE_DEVICE: u64 = 0x0a0;
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    pub const CONFIG: u64 = 0x100;
}

/// Status bits (VIRTIO 1.3 2.1).
#[allow(missing_docs, reason = "the names are those of the specification")]
pub mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
    pub const NEEDS_RESET: u32 = 64;
    pub const FAILED: u32 = 128;
}

/// "virt".
pub const MAGIC: u32 = 0x7472_6976;
/// Feature: indirect descriptors (VIRTIO 1.3 6).
pub const F_INDIRECT: u64 = 1 << 28;
/// Feature: event index.
pub const F_EVENT_IDX: u64 = 1 << 29;
/// Feature: version 1.
pub const F_VERSION_1: u64 = 1 << 32;

/// A device's registers.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    /// First of them.
    pub base: u64,
}

impl Transport {
    /// The device in a window, where there is one of version 1.
    pub fn probe(node: &VirtioNode) -> Option<Self> {
        let device = Self { base: node.base };
        let there = device.read(reg::MAGIC) == MAGIC
            && device.read(reg::VERSION) == 2
            && device.read(reg::DEVICE_ID) != 0;
        there.then_some(device)
    }

    /// Reads a register.
    pub fn read(&self, register: u64) -> u32 {
        read32(self.base + register)
    }

    /// Writes a register.
    pub fn write(&self, register: u64, value: u32) {
        write32(self.base + register, value);
    }

    /// Writes a 64-bit address to a pair of registers.
    pub fn write_address(&self, register: u64, address: u64) {
        self.write(register, address as u32);
        self.write(register + 4, (address >> 32) as u32);
    }

    /// The device's features.
    pub fn features(&self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        let low = self.read(reg::DEVICE_FEATURES);
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        u64::from(self.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    /// Resets the device.
    pub fn reset(&self) {
        self.write(reg::STATUS, 0);
    }

    /// Resets the device and agrees on what both have of `wanted`; `None` where the device does not agree.
    pub fn negotiate(&self, wanted: u64) -> Option<u64> {
        self.reset();
        self.write(reg::STATUS, status::ACKNOWLEDGE);
        self.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        let agreed = self.features() & wanted;
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, agreed as u32);
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (agreed >> 32) as u32);
        self.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
        (self.read(reg::STATUS) & status::FEATURES_OK != 0).then_some(agreed)
    }

    /// The last step of bringing a device up.
    pub fn go(&self) {
        self.write(reg::STATUS, self.read(reg::STATUS) | status::DRIVER_OK);
    }
}

/// For each interrupt the registers of the device that raises it.
static BASES: [AtomicU64; gic::INTIDS] = [const { AtomicU64::new(0) }; gic::INTIDS];
/// Interrupts taken from virtio devices, all together.
pub static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Lets the device's interrupt through; its handler acknowledges and counts.
pub fn enable_interrupt(node: &VirtioNode) {
    if let Some(place) = BASES.get(node.intid as usize) {
        place.store(node.base, Relaxed);
    }
    trap::set_handler(node.intid, on_interrupt);
    gic::set_edge(node.intid, node.edge);
    gic::enable(node.intid);
}

fn on_interrupt(intid: u32) {
    let device =
        Transport { base: BASES.get(intid as usize).map_or(0, |place| place.load(Relaxed)) };
    device.write(reg::INTERRUPT_ACK, device.read(reg::INTERRUPT_STATUS));
    INTERRUPTS.fetch_add(1, Relaxed);
}
