//! The machines that tests run on, by the names that are in tests' names, in reports and in the rows of the bench.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::artefacts::root;
use crate::qemu::Qemu;
use crate::serial::Serial;
use crate::target::Board;

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// QEMU's `virt` with a GICv3.
    VirtGicv3,
    /// QEMU's `virt` with a GICv2.
    VirtGicv2,
    /// QEMU's Raspberry Pi 4.
    Raspi4b,
    /// A board behind a serial port, which `cargo xtask hil` describes.
    Shelf,
}

/// QEMU's `virt` as the sample has it, for tests of what does not depend on the board, or of boards that only it can be.
pub const GICV3: &[Machine] = &[Machine::VirtGicv3];
/// Both `virt`.
pub const VIRT: &[Machine] = &[Machine::VirtGicv3, Machine::VirtGicv2];
/// QEMU's Raspberry Pi 4.
pub const RASPI4B: &[Machine] = &[Machine::Raspi4b];
/// Those of QEMU: for tests that look at the disk from outside, or at QEMU's end.
pub const EMULATED: &[Machine] = &[Machine::VirtGicv3, Machine::VirtGicv2, Machine::Raspi4b];
/// All, for tests that need a console and a power switch only.
pub const EVERY: &[Machine] =
    &[Machine::VirtGicv3, Machine::VirtGicv2, Machine::Raspi4b, Machine::Shelf];

/// What a board boots.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The bundle.
    pub bundle: Option<PathBuf>,
    /// The disk, or the whole memory card.
    pub disk: Option<PathBuf>,
}

impl Machine {
    /// Those that this run is about: the board, if there is one, or else all of QEMU's.
    pub fn of_this_run() -> &'static [Machine] {
        if Serial::is_configured() { &[Machine::Shelf] } else { EMULATED }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtGicv3 => "virt-gicv3",
            Self::VirtGicv2 => "virt-gicv2",
            Self::Raspi4b => "raspi4b",
            Self::Shelf => {
                static NAME: OnceLock<String> = OnceLock::new();
                NAME.get_or_init(|| std::env::var("TESSERA_BOARD").unwrap_or("board".into()))
            }
        }
    }

    /// The folder of `platforms` that is about it.
    pub fn platform(self) -> &'static str {
        match self {
            Self::VirtGicv3 | Self::VirtGicv2 => "qemu-virt",
            Self::Raspi4b => "rpi4",
            Self::Shelf => self.name(),
        }
    }

    /// The sample's configuration for it.
    pub fn sample(self) -> PathBuf {
        root().join("platforms").join(self.platform()).join("tessera.dts")
    }

    /// Whether its disk is a memory card that `cargo xtask image` writes.
    pub fn has_a_card(self) -> bool {
        matches!(self, Self::Raspi4b | Self::Shelf)
    }

    /// The board, off, with this in it.
    pub fn board(self, boot: &Boot) -> Box<dyn Board> {
        if self == Self::Shelf { Box::new(Serial::new(boot)) } else { Qemu::new(self).board(boot) }
    }
}
