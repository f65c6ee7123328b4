//! `cargo xtask bench`: what Tessera costs, in instructions.
//!
//! Problem: an emulator says nothing of cycles, and a clock on the wall nothing of anything. Idea: QEMU can count. With
//! `-icount shift=0` and a counter of 1 GHz one tick of CNTVCT_EL0 is one instruction that the machine executed, at
//! whatever level, so a guest that reads it before and after something knows exactly what that cost, and the numbers
//! repeat. The same guest, `guests/bench`, runs without Tessera and under it, on two cores.
//!
//! Nothing here passes or fails: targets are shown beside what was measured.

mod board;
mod debian;
mod exchange;
mod group;
mod machine;
mod nodes;
mod restart;
mod rows;
mod shared;
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

use board::{Board, Choice};
use machine::Machine;
use rows::{Column, Measured};

/// Count the instructions of what guests do, without Tessera and under it
#[derive(Args)]
pub struct BenchArgs {
    /// The machine [default: both virt, beside each other]
    #[arg(long)]
    machine: Option<Choice>,
    /// One JSON object a row instead of the table
    #[arg(long)]
    json: bool,
    /// Count a Debian guest's boot to its shell as well, and have two send 1 GiB, on both virt
    #[arg(long)]
    debian: bool,
}

/// One instruction a tick, and no waiting for a clock on the wall.
const COUNTING: &[&str] = &["-icount", "shift=0,sleep=off"];
/// What the guest needs and the bundle gives it.
const CORES: &str = "2";
const MEMORY: &str = "1G";
/// The guest's last line.
const DONE: &str = "BENCH-DONE";

/// Runs `cargo xtask bench`.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    setup::ensure_tools(workspace)?;
    images::build(workspace, &[Image::Tessera, Image::Bench, Image::Load])?;
    let disk = disk::of_bench(workspace)?;
    let bundle = pack(workspace)?;
    let mut columns = Vec::new();
    for &board in Choice::boards(args.machine) {
        columns.push(count(workspace, board, &bundle, &disk, args.debian)?);
    }
    let image_bytes = std::fs::metadata(Image::Tessera.path(workspace))?.len();
    for line in rows::lines(&columns, image_bytes, args.json) {
        println!("{line}");
    }
    Ok(())
}

/// What one machine does, without Tessera and under it.
fn count(
    workspace: &Workspace,
    board: Board,
    bundle: &Path,
    disk: &Path,
    debian: bool,
) -> Result<Column> {
    let name = board.name();
    let mut native = Measured::new();
    if let Some(mut qemu) = board.native(CORES, MEMORY) {
        board.attach(disk, qemu.arg("-kernel").arg(Image::Bench.path(workspace)));
        native = step(&format!("counting on {name} without Tessera"), || measure(&mut qemu))?;
    }
    let mut qemu = board.tessera(workspace, CORES, MEMORY)?;
    board.attach(disk, qemu.arg("-initrd").arg(bundle).args(["-append", "tessera.bench"]));
    let mut tessera = step(&format!("counting on {name} under Tessera"), || measure(&mut qemu))?;
    tessera.extend(restart::run(workspace, board)?);
    tessera.extend(shared::run(workspace, board)?);
    tessera.extend(group::run(workspace, board)?);
    tessera.extend(nodes::run(workspace, board)?);
    if debian && board.counts_runs() {
        let (without, under) = debian::run(workspace, board)?;
        native.extend(without.map(|count| (debian::ROW.to_string(), count)));
        tessera.insert(debian::ROW.to_string(), under);
        tessera.extend(exchange::run(workspace, board)?);
    }
    Ok(Column { board, native, tessera })
}

/// Packs the guest with its configuration.
fn pack(workspace: &Workspace) -> Result<PathBuf> {
    // Two vCPUs that own their cores, as the peers that Tessera is compared with had them.
    let disk = "disk { partition = \"web\"; read-only; };";
    bundled(workspace, "bench", &configuration("0 1", "64M", "bench.img", disk))
}

/// A configuration with one guest, on the cores of these numbers; `more` is what else its node has.
fn configuration(cores: &str, memory: &str, kernel: &str, more: &str) -> String {
    let vcpus = cores.split(' ').count();
    format!(
        r#"/dts-v1/;
/ {{
	compatible = "tessera,config";
	bench {{
		compatible = "tessera,vm";
		vcpus = <{vcpus}>;
		cpus = <{cores}>;
		cpu-policy = "dedicated";
		memory = "{memory}";
		kernel = "{kernel}";
		{more}
	}};
}};
"#
    )
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

fn measure(qemu: &mut Command) -> Result<Measured> {
    Ok(rows::parse(&Machine::start(qemu.args(COUNTING))?.until(DONE)?))
}
