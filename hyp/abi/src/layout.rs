//! Where a guest finds its RAM and its devices: intermediate physical addresses (IPA) and interrupt numbers (INTID).
//!
//! The places are those of QEMU's `virt` board where it has the same device, so that a kernel with a hard-wired early
//! console finds it. A guest should read its device tree instead; only the start of RAM is a promise.

/// First byte of guest RAM. Devices lie below it.
pub const RAM_BASE: u64 = 0x4000_0000;
/// GIC distributor, `GICD_SIZE` bytes.
pub const GICD_BASE: u64 = 0x0800_0000;
/// Size of the GICv3 distributor frame in bytes (IHI 0069 12.8: 64 KiB).
pub const GICD_SIZE: u64 = 0x1_0000;
/// Size of the GICv2 distributor's frame in bytes (IHI 0048 4.1.2), at the same place.
pub const GICD_V2_SIZE: u64 = 0x1000;
/// CPU interface of a GICv2: the board's own GICV, but for `GICC_DIR`.
pub const GICC_BASE: u64 = 0x0801_0000;
/// Size of the GICv2 CPU interface in bytes (IHI 0048 4.1.2).
pub const GICC_SIZE: u64 = 0x2000;
/// The page of the CPU interface that has `GICC_DIR` only, and is Tessera's.
pub const GICC_DIR_BASE: u64 = GICC_BASE + 0x1000;
/// First GICv3 redistributor; vCPU `n` has its own at `GICR_BASE + n * GICR_STRIDE`.
pub const GICR_BASE: u64 = 0x080a_0000;
/// Bytes of one redistributor: the RD_base and the SGI_base frame, 64 KiB each (IHI 0069 12.10).
pub const GICR_STRIDE: u64 = 0x2_0000;
/// PL011 UART, one page.
pub const UART_BASE: u64 = 0x0900_0000;
/// Size of the UART's window in bytes.
pub const UART_SIZE: u64 = 0x1000;
/// PL061 GPIO, one page, of a guest that is in groups: line `n` is its group `n`.
pub const GPIO_BASE: u64 = 0x0903_0000;
/// Size of the GPIO's window in bytes.
pub const GPIO_SIZE: u64 = 0x1000;
/// The page with a record of stolen time for each vCPU, which the guest can only read.
pub const STEAL_TIME_BASE: u64 = 0x090a_0000;
/// Watchdog: the page by which it is refreshed, and behind it the page by which it is set up.
pub const WATCHDOG_BASE: u64 = 0x090c_0000;
/// Size of each of the watchdog's two pages in bytes.
pub const WATCHDOG_FRAME_SIZE: u64 = 0x1000;
/// First virtio-mmio device; device `n` has its own page at `VIRTIO_BASE + n * VIRTIO_STRIDE`.
pub const VIRTIO_BASE: u64 = 0x0a00_0000;
/// Bytes from one virtio-mmio device to the next: a page each, so that a device can be given away alone.
pub const VIRTIO_STRIDE: u64 = 0x1000;
/// Most virtio-mmio devices of one guest.
pub const VIRTIO_SLOTS: u64 = 10;
/// Of these the first are its disks.
pub const DISK_SLOTS: u64 = 8;
/// The slot of the power button.
pub const POWER_BUTTON_SLOT: u64 = 8;
/// The slot of the control port.
pub const CONTROL_SLOT: u64 = 9;
/// Doorbells of groups: a page for each group that the guest is in.
pub const DOORBELL_BASE: u64 = 0x0b00_0000;
/// Bytes of a group's doorbell.
pub const DOORBELL_SIZE: u64 = 0x1000;
/// Membership pages: a read-only page for each group that the guest is in.
pub const MEMBERSHIP_BASE: u64 = 0x0b01_0000;
/// Bytes of a membership page.
pub const MEMBERSHIP_SIZE: u64 = 0x1000;
/// Most groups that one guest is in.
pub const MAX_GROUPS: usize = 8;

/// Most vCPUs of one guest.
pub const MAX_VCPUS: usize = 8;

/// Interrupt of the PL011: SPI 1, level.
pub const UART_INTID: u32 = 32 + 1;
/// Interrupt of the watchdog: SPI 2, level.
pub const WATCHDOG_INTID: u32 = 32 + 2;
/// Interrupt of the GPIO: SPI 7, level.
pub const GPIO_INTID: u32 = 32 + 7;
/// Interrupt of the first group that the guest is in: SPI 8, edge; group `n` of the guest has `GROUP_INTID + n`.
pub const GROUP_INTID: u32 = 32 + 8;
/// Interrupt of virtio-mmio device 0: SPI 16, edge; device `n` has `VIRTIO_INTID + n`.
pub const VIRTIO_INTID: u32 = 32 + 16;
/// Performance monitors' overflow: PPI 7, level.
pub const PMU_INTID: u32 = 23;
/// EL1 virtual timer: PPI 11, level.
pub const VTIMER_INTID: u32 = 27;
/// EL1 physical timer: PPI 14, level.
pub const PTIMER_INTID: u32 = 30;
/// First interrupt number that no guest has: the distributor implements 64 interrupts (32 SPIs).
pub const INTIDS: u32 = 64;
