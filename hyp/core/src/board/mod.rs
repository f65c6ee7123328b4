//! The board, as its device tree tells: memory, cores, interrupt controller, console, disks, what the loader passed.
//!
//! One walk over the tree collects everything; what must be there and is not is an error that names the node. Addresses
//! are translated through the buses' `ranges`, interrupts are read as the GIC's three cells
//! (Linux Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml).

mod discover;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use crate::addr::{IntId, PAGE_SIZE, Pa};

/// A range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: Pa,
    /// Bytes.
    pub len: u64,
}

impl Range {
    /// The first byte behind the range.
    pub fn end(self) -> Pa {
        Pa(self.start.0.saturating_add(self.len))
    }

    /// What is in none of `holes`. What is behind a hole comes first, which mostly is the most.
    pub fn without(self, holes: &[Self]) -> Vec<Self> {
        let from_to = |start: Pa, end: Pa| Self { start, len: end.0.saturating_sub(start.0) };
        let mut pieces = alloc::vec![self];
        for hole in holes {
            let split = |piece: Self| {
                let behind = from_to(piece.start.max(hole.end()), piece.end());
                [behind, from_to(piece.start, piece.end().min(hole.start))]
            };
            pieces = pieces.into_iter().flat_map(split).filter(|piece| piece.len > 0).collect();
        }
        pieces
    }
}

/// How the firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// By SMC, to EL3.
    Smc,
    /// By HVC: the firmware is a hypervisor, so we do not run at EL2.
    Hvc,
}

/// The interrupt controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gic {
    /// GICv3 or later.
    V3 {
        /// Distributor.
        gicd: Range,
        /// First region of redistributors.
        gicr: Range,
    },
    /// GICv2 with the virtualization extensions.
    V2 {
        /// Distributor.
        gicd: Range,
        /// The cores' own interface.
        gicc: Range,
        /// Control of the virtual interface: list registers.
        gich: Range,
        /// The virtual interface, which guests use as theirs.
        gicv: Range,
    },
}

/// A core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// MPIDR_EL1's affinity fields.
    pub mpidr: u64,
    /// How it is started.
    pub start: CpuStart,
}

/// How a core is started that is not the boot core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuStart {
    /// By PSCI's CPU_ON.
    Psci,
    /// It waits until there is an address in this word (Linux Documentation/arch/arm64/booting.rst, 4).
    SpinTable(Pa),
    /// In a way that Tessera does not know.
    Unknown,
}

/// Which serial port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UartKind {
    /// Arm's PL011.
    Pl011,
    /// The Raspberry Pi's mini-UART.
    MiniUart,
}

/// A serial port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uart {
    /// What it is.
    pub kind: UartKind,
    /// Registers.
    pub registers: Range,
    /// Its interrupt, where the tree tells one.
    pub interrupt: Option<IntId>,
}

/// A virtio-mmio transport, which may have a device or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtioMmio {
    /// Registers.
    pub registers: Range,
    /// Its interrupt.
    pub interrupt: IntId,
}

/// Memory that a device reaches by DMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DmaWindow {
    /// First byte, as the cores see it.
    pub cpu: Pa,
    /// The same byte, as the device sees it.
    pub bus: u64,
    /// Bytes.
    pub len: u64,
}

/// A host controller of SD cards (SD Host Controller Simplified Specification 3.00).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SdHost {
    /// Registers.
    pub registers: Range,
    /// Its interrupt, which other controllers may share.
    pub interrupt: IntId,
    /// What its DMA reaches.
    pub dma: Vec<DmaWindow>,
    /// Its DMA sees what is in the cores' caches.
    pub coherent: bool,
}

/// What is on the board.
#[derive(Clone, Debug, Default)]
pub struct Board<'a> {
    /// RAM.
    pub memory: Vec<Range>,
    /// RAM that firmware keeps.
    pub reserved: Vec<Range>,
    /// What of it must not be mapped at all, so that no core reads it ahead of time (DTSpec 3.5.4).
    pub no_map: Vec<Range>,
    /// The cores, the boot core among them.
    pub cpus: Vec<Cpu>,
    /// Firmware with PSCI.
    pub psci: Option<Conduit>,
    /// Interrupt controller.
    pub gic: Option<Gic>,
    /// The console of `tessera.console=` or `stdout-path`, or the first UART.
    pub uart: Option<Uart>,
    /// The first host controller of SD cards.
    pub sd_host: Option<SdHost>,
    /// The (first) interrupt of the cores' performance monitors.
    pub pmu: Option<IntId>,
    /// The mailbox of the Raspberry Pi's firmware.
    pub mailbox: Option<Range>,
    /// The Raspberry Pi's power management with its watchdog.
    pub watchdog: Option<Range>,
    /// virtio-mmio transports, in the order of the tree.
    pub virtio: Vec<VirtioMmio>,
    /// What the loader put into memory as the initial ramdisk: the bundle.
    pub initrd: Option<Range>,
    /// Command line.
    pub bootargs: &'a str,
    /// Random bytes of the loader.
    pub rng_seed: &'a [u8],
}

/// Bytes of a GICv2's CPU interface, GICC or GICV (IHI 0048 4.1.2, 5.5).
const GICC_SIZE: u64 = 0x2000;
/// Bytes of GICH up to the last list register (IHI 0048 5.3).
const GICH_SIZE: u64 = 0x200;

/// What a board cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BoardError {
    /// No `memory` node with a `reg`.
    NoMemory,
    /// No core in `/cpus`.
    NoCpus,
    /// No interrupt controller that Tessera drives.
    NoGic,
    /// A GICv2 whose parts are smaller than the architecture's, or whose GICV guests cannot be given as a page.
    BadGic,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "the board's device tree has no usable memory node: check the DTB",
            Self::BadGic => {
                "the board's device tree has a GICv2 with a GICC or GICV of less than 8 KiB, a GICH of \
                 less than 512 bytes, or a GICV that does not begin a page: check the DTB"
            }
            Self::NoCpus => "the board's device tree has no usable core in /cpus: check the DTB",
            Self::NoGic => {
                "the board's device tree has no interrupt controller that Tessera drives: a GICv3, \
                 or a GICv2 with all four of GICD, GICC, GICH, GICV; on QEMU's virt use \
                 virtualization=on and gic-version=2 or 3"
            }
        })
    }
}

impl Board<'_> {
    /// Whether everything is there that Tessera cannot run without.
    pub fn check(&self) -> Result<Gic, BoardError> {
        if self.memory.is_empty() {
            return Err(BoardError::NoMemory);
        }
        if self.cpus.is_empty() {
            return Err(BoardError::NoCpus);
        }
        match self.gic {
            // Behind a smaller GICV would be somebody else's registers, and GICC_DIR is in the second page of GICC.
            Some(Gic::V2 { gicc, gich, gicv, .. })
                if gicc.len < GICC_SIZE
                    || gich.len < GICH_SIZE
                    || gicv.len < GICC_SIZE
                    || !gicv.start.is_aligned(PAGE_SIZE) =>
            {
                Err(BoardError::BadGic)
            }
            gic => gic.ok_or(BoardError::NoGic),
        }
    }
}
