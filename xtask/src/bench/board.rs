//! The machines that are measured: what differs between them in how QEMU is started.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::images::Image;
use crate::platform::Platform;
use crate::workspace::Workspace;
use crate::{firmware, setup};

/// What `--machine` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// QEMU's virt with a GICv3
    VirtGicv3,
    /// QEMU's virt with a GICv2
    VirtGicv2,
    /// QEMU's Raspberry Pi 4
    Raspi4b,
    /// All of them
    All,
}

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// QEMU's `virt` with a GICv3.
    VirtGicv3,
    /// QEMU's `virt` with a GICv2.
    VirtGicv2,
    /// QEMU's Raspberry Pi 4.
    Raspi4b,
}

/// A counter of 1 GHz, so that a tick is an instruction.
const VIRT_CPU: &str = "cortex-a72,cntfrq=1000000000";
/// The same for a machine that makes its CPUs itself.
const RASPI_CPU: &str = "cortex-a72-arm-cpu.cntfrq=1000000000";

impl Choice {
    /// What is meant where nothing is said, or several are.
    pub fn boards(choice: Option<Self>) -> &'static [Board] {
        match choice {
            None => &[Board::VirtGicv3, Board::VirtGicv2],
            Some(Self::VirtGicv3) => &[Board::VirtGicv3],
            Some(Self::VirtGicv2) => &[Board::VirtGicv2],
            Some(Self::Raspi4b) => &[Board::Raspi4b],
            Some(Self::All) => &[Board::VirtGicv3, Board::VirtGicv2, Board::Raspi4b],
        }
    }
}

impl Board {
    /// Its name in the rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtGicv3 => "virt-gicv3",
            Self::VirtGicv2 => "virt-gicv2",
            Self::Raspi4b => "raspi4b",
        }
    }

    /// Whether its interrupt controller is a GICv2.
    pub const fn has_gicv2(self) -> bool {
        !matches!(self, Self::VirtGicv3)
    }

    /// Whether QEMU can count a whole run, which it does by recording it: of one core only, and a Raspberry Pi has four.
    pub const fn counts_runs(self) -> bool {
        !matches!(self, Self::Raspi4b)
    }

    /// The machine on which a guest runs without Tessera. Our guests know `virt` alone.
    pub fn native(self, cores: &str, memory: &str) -> Option<Command> {
        let options = match self {
            Self::VirtGicv3 => "virt,gic-version=3",
            Self::VirtGicv2 => "virt,gic-version=2",
            Self::Raspi4b => return None,
        };
        Some(virt(options, cores, memory))
    }

    /// The machine with Tessera as its kernel. A Raspberry Pi has the cores and the memory that it has.
    pub fn tessera(self, workspace: &Workspace, cores: &str, memory: &str) -> Result<Command> {
        let mut command = match self {
            Self::VirtGicv3 => virt("virt,virtualization=on,gic-version=3", cores, memory),
            Self::VirtGicv2 => virt("virt,virtualization=on,gic-version=2", cores, memory),
            Self::Raspi4b => raspi4b(workspace)?,
        };
        command.arg("-kernel").arg(Image::Tessera.path(workspace));
        Ok(command)
    }

    /// Puts a disk into it, of which nothing is kept.
    pub fn attach(self, disk: &Path, command: &mut Command) {
        let drive = format!("if=none,id=disk,format=raw,snapshot=on,file={}", disk.display());
        command.args(["-drive", &drive]);
        if self == Self::Raspi4b {
            command.args(["-device", "sd-card,drive=disk,bus=/generic-sdhci/sd-bus"]);
        } else {
            command.args(["-global", "virtio-mmio.force-legacy=false"]);
            command.args(["-device", "virtio-blk-device,drive=disk"]);
        }
    }
}

fn virt(options: &str, cores: &str, memory: &str) -> Command {
    let mut command = Command::new(setup::QEMU);
    command.args(["-M", options, "-cpu", VIRT_CPU, "-smp", cores, "-m", memory]);
    command.args(["-display", "none", "-nodefaults", "-serial", "stdio"]);
    command
}

fn raspi4b(workspace: &Workspace) -> Result<Command> {
    let tree = Platform::find(workspace, "rpi4")?.device_tree()?;
    let tree = tree.context("a Raspberry Pi has a device tree of its own")?;
    let mut command = Command::new(setup::QEMU);
    command.args(["-M", "raspi4b", "-global", RASPI_CPU, "-dtb"]);
    command.arg(firmware::device_tree(workspace, &tree, false)?);
    // The mini-UART, the second port, is what the device tree names as the console.
    command.args(["-display", "none", "-nic", "none", "-serial", "null", "-serial", "stdio"]);
    Ok(command)
}
