//! `cargo xtask bench`: what Tessera costs, in instructions.
//!
//! Problem: an emulator says nothing of cycles, and a clock on the wall nothing of anything. Idea: QEMU can count. With
//! `-icount shift=0` and a counter of 1 GHz one tick of CNTVCT_EL0 is one instruction that the machine executed, at
//! whatever level, so a guest that reads it before and after something knows exactly what that cost, and the numbers
//! repeat. The same guest, `guests/bench`, runs without Tessera and under it, on two cores.
//!
//! Nothing here passes or fails: targets are shown beside what was measured.

mod debian;
mod machine;
mod rows;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::images::{self, Image};
use crate::progress::step;
use crate::workspace::Workspace;
use crate::{bundle, disk, proc, setup};

use machine::Machine;
use rows::Measured;

/// Count the instructions of what guests do, without Tessera and under it
#[derive(Args)]
pub struct BenchArgs {
    /// One JSON object a row instead of the table
    #[arg(long)]
    json: bool,
    /// Count a Debian guest's boot to its shell as well
    #[arg(long)]
    debian: bool,
}

/// The name of the machine in the rows.
const MACHINE: &str = "virt-gicv3";
/// The same on both sides: two cores whose counter counts instructions, and a disk of which nothing is kept.
const QEMU_ARGUMENTS: &[&str] = &[
    "-cpu",
    "cortex-a72,cntfrq=1000000000",
    "-smp",
    "2",
    "-m",
    "1G",
    "-icount",
    "shift=0,sleep=off",
    "-global",
    "virtio-mmio.force-legacy=false",
    "-device",
    "virtio-blk-device,drive=disk",
    "-display",
    "none",
    "-nodefaults",
    "-serial",
    "stdio",
];
/// Two vCPUs that own their cores, as the peers that Tessera is compared with had them.
const CONFIGURATION: &str = r#"/dts-v1/;
/ {
	compatible = "tessera,config";
	bench {
		compatible = "tessera,vm";
		vcpus = <2>;
		cpus = <0 1>;
		cpu-policy = "dedicated";
		memory = "64M";
		kernel = "bench.img";
		disk { partition = "web"; read-only; };
	};
};
"#;
/// The guest's last line.
const DONE: &str = "BENCH-DONE";

/// Runs `cargo xtask bench`.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    setup::ensure_tools(workspace)?;
    images::build(workspace, &[Image::Tessera, Image::Bench])?;
    let disk = disk::of_bench(workspace)?;
    let mut native = step("counting without Tessera", || {
        let kernel = Image::Bench.path(workspace);
        measure(qemu(&disk, "virt,gic-version=3").arg("-kernel").arg(kernel))
    })?;
    let bundle = pack(workspace)?;
    let mut tessera = step("counting under Tessera", || {
        let mut qemu = qemu(&disk, "virt,virtualization=on,gic-version=3");
        qemu.arg("-kernel").arg(Image::Tessera.path(workspace));
        measure(qemu.arg("-initrd").arg(bundle).args(["-append", "tessera.bench"]))
    })?;
    if args.debian {
        let (without, under) = debian::run(workspace)?;
        native.insert(debian::ROW.to_string(), without);
        tessera.insert(debian::ROW.to_string(), under);
    }
    let image_bytes = std::fs::metadata(Image::Tessera.path(workspace))?.len();
    for line in rows::lines(MACHINE, &native, &tessera, image_bytes, args.json) {
        println!("{line}");
    }
    Ok(())
}

/// Packs the guest with its configuration.
fn pack(workspace: &Workspace) -> Result<PathBuf> {
    bundled(workspace, "bench", CONFIGURATION)
}

/// Packs a configuration whose file names are relative to `target/guests`.
fn bundled(workspace: &Workspace, name: &str, configuration: &str) -> Result<PathBuf> {
    let dts = workspace.target(format!("guests/{name}.dts"));
    let bundle = workspace.target(format!("{name}.itb"));
    images::write_if_changed(&dts, configuration.as_bytes())?;
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    bundle::build(&dts, &bundle, &dtc)?;
    Ok(bundle)
}

fn qemu(disk: &Path, machine: &str) -> Command {
    let mut qemu = Command::new(setup::QEMU);
    let disk = disk.display();
    qemu.args(["-M", machine]).args(QEMU_ARGUMENTS);
    qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,snapshot=on,file={disk}"));
    qemu
}

fn measure(qemu: &mut Command) -> Result<Measured> {
    Ok(rows::parse(&Machine::start(qemu)?.until(DONE)?))
}
