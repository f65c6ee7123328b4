//! The devices that a guest finds behind virtio-mmio (VIRTIO 1.3), as Tessera plays them.
//!
//! [`mmio`] is the register window of one device, [`queue`] the device's side of a split virtqueue. On top of both are
//! [`blk`], a disk, [`input`], a power button, and [`console`], a control port. All of what they read was written by a guest, so each is a state
//! machine that takes any bytes: what breaks the protocol ends in `DEVICE_NEEDS_RESET`, what is a bad request in an error
//! status of that request.
//!
//! The legacy interface (version 1) is not offered to guests: every system that boots from a device tree has had the
//! modern one for ten years, and the older layout would double what can go wrong.

pub mod blk;
mod chain;
pub mod console;
#[cfg(any(test, feature = "fake"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests use more of it than fuzz targets"))]
pub(crate) mod driver;
pub mod input;
pub mod mmio;
pub mod queue;

/// Feature bits that are no particular device's (VIRTIO 1.3 6).
pub mod feature {
    /// A descriptor may refer to a table of descriptors (VIRTIO 1.3 2.7.5.3).
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications are asked for by ring index (VIRTIO 1.3 2.7.7 and 2.7.10).
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device follows version 1 of the standard.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Registers of the MMIO transport, by their offset (VIRTIO 1.3 4.2.2 and, for those of version 1, 4.2.4).
pub mod reg {
    /// "virt".
    pub const MAGIC: u64 = 0x000;
    /// 2, or 1 where the device is a legacy one.
    pub const VERSION: u64 = 0x004;
    /// What kind of device; 0 for none.
    pub const DEVICE_ID: u64 = 0x008;
    /// Who made it.
    pub const VENDOR_ID: u64 = 0x00c;
    /// 32 of the features offered.
    pub const DEVICE_FEATURES: u64 = 0x010;
    /// Which 32.
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    /// 32 of the features accepted.
    pub const DRIVER_FEATURES: u64 = 0x020;
    /// Which 32.
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    /// Legacy: bytes of a page, the unit of [`QUEUE_PFN`].
    pub const GUEST_PAGE_SIZE: u64 = 0x028;
    /// Which queue the queue registers mean.
    pub const QUEUE_SEL: u64 = 0x030;
    /// Most descriptors that the queue can have; 0 for no such queue.
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    /// Descriptors that it has.
    pub const QUEUE_NUM: u64 = 0x038;
    /// Legacy: alignment of the used ring.
    pub const QUEUE_ALIGN: u64 = 0x03c;
    /// Legacy: page number of the queue.
    pub const QUEUE_PFN: u64 = 0x040;
    /// Whether the queue is in use.
    pub const QUEUE_READY: u64 = 0x044;
    /// Something new is in the queue with this number.
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// Why there was an interrupt.
    pub const INTERRUPT_STATUS: u64 = 0x060;
    /// Which reasons were handled.
    pub const INTERRUPT_ACK: u64 = 0x064;
    /// How far the driver has come; 0 resets.
    pub const STATUS: u64 = 0x070;
    /// Address of the descriptor table, low half; the high half follows.
    pub const QUEUE_DESC: u64 = 0x080;
    /// Address of the available ring, low half; the high half follows.
    pub const QUEUE_DRIVER: u64 = 0x090;
    /// Address of the used ring, low half; the high half follows.
    pub const QUEUE_DEVICE: u64 = 0x0a0;
    /// Length of the selected shared memory region, low half; the high half, and the address, follow.
    pub const SHM_LEN: u64 = 0x0b0;
    /// Address of the selected shared memory region, high half.
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    /// Changes when the configuration does.
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    /// The device's own configuration from here on.
    pub const CONFIG: u64 = 0x100;

    /// For tests and fuzz targets: what drivers write.
    #[cfg(any(test, feature = "fake"))]
    pub(crate) const WRITTEN: [u64; 11] = [
        STATUS,
        QUEUE_SEL,
        QUEUE_NUM,
        QUEUE_READY,
        QUEUE_NOTIFY,
        QUEUE_DESC,
        QUEUE_DRIVER,
        QUEUE_DEVICE,
        DRIVER_FEATURES_SEL,
        DRIVER_FEATURES,
        INTERRUPT_ACK,
    ];
}

/// Value of [`reg::MAGIC`]: "virt" in little-endian order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"virt");

/// Bits of [`reg::STATUS`] (VIRTIO 1.3 2.1).
pub mod status {
    /// The guest has noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// It knows how to drive it.
    pub const DRIVER: u32 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u32 = 8;
    /// The device met something it cannot recover from.
    pub const NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;
}

/// Bits of [`reg::INTERRUPT_STATUS`] (VIRTIO 1.3 4.2.2).
pub mod interrupt {
    /// The device has used a buffer.
    pub const USED: u32 = 1;
    /// The configuration, or the status, has changed.
    pub const CONFIG: u32 = 2;
}

/// Flags of a descriptor (VIRTIO 1.3 2.7.5).
pub mod desc {
    /// Bytes of a descriptor.
    pub const SIZE: u64 = 16;
    /// The chain goes on at `next`.
    pub const NEXT: u16 = 1;
    /// The device writes the buffer; it reads it where the flag is clear.
    pub const WRITE: u16 = 2;
    /// The buffer is a table of descriptors.
    pub const INDIRECT: u16 = 4;
}

/// Flag of the available ring: the driver wants no interrupts (VIRTIO 1.3 2.7.6). Void with [`feature::EVENT_IDX`].
pub const AVAIL_NO_INTERRUPT: u16 = 1;
