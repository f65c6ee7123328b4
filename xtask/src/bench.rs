//! `cargo xtask bench`: what Tessera costs, in instructions.
//!
//! Problem: an emulator says nothing of cycles, and a clock on the wall nothing of anything. Idea: QEMU can count. With
//! `-icount shift=0` and a counter of 1 GHz one tick of CNTVCT_EL0 is one instruction that the machine executed, at
//! whatever level, so a guest that reads it before and after something knows exactly what that cost, and the numbers
//! repeat. The same guest, `guests/bench`, runs without Tessera and under it, on two cores.
//!
//! Nothing here passes or fails: targets are shown beside what was measured.

mod rows;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::images::{self, Image};
use crate::progress::step;
use crate::workspace::Workspace;
use crate::{bundle, disk, proc, setup};

use rows::Measured;

/// Count the instructions of what guests do, without Tessera and under it
#[derive(Args)]
pub struct BenchArgs {
    /// One JSON object a row instead of the table
    #[arg(long)]
    json: bool,
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
/// A run takes two seconds; this is for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `cargo xtask bench`.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    setup::ensure_tools(workspace)?;
    images::build(workspace, &[Image::Tessera, Image::Bench])?;
    let disk = disk::ensure(workspace, false)?;
    let native = step("counting without Tessera", || {
        let kernel = Image::Bench.path(workspace);
        measure(qemu(&disk, "virt,gic-version=3").arg("-kernel").arg(kernel))
    })?;
    let bundle = pack(workspace)?;
    let tessera = step("counting under Tessera", || {
        let mut qemu = qemu(&disk, "virt,virtualization=on,gic-version=3");
        qemu.arg("-kernel").arg(Image::Tessera.path(workspace));
        measure(qemu.arg("-initrd").arg(bundle).args(["-append", "tessera.bench"]))
    })?;
    let image_bytes = std::fs::metadata(Image::Tessera.path(workspace))?.len();
    for line in rows::lines(MACHINE, &native, &tessera, image_bytes, args.json) {
        println!("{line}");
    }
    Ok(())
}

/// Packs the guest with its configuration.
fn pack(workspace: &Workspace) -> Result<std::path::PathBuf> {
    let dts = workspace.target("guests/bench.dts");
    let bundle = workspace.target("bench.itb");
    images::write_if_changed(&dts, CONFIGURATION.as_bytes())?;
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

/// Starts the machine, reads what the guest prints until it is done, and takes the numbers from it.
fn measure(qemu: &mut Command) -> Result<Measured> {
    let shown = proc::show(qemu);
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let printed = read_until_done(&mut child);
    child.kill().context("cannot end QEMU")?;
    child.wait()?;
    let printed = printed?;
    if !printed.iter().any(|line| line.contains(DONE)) {
        bail!("`{shown}` did not get to its end; it printed:\n{}", printed.join("\n"));
    }
    Ok(rows::parse(&printed))
}

/// The lines up to [`DONE`], or as far as they came in [`PATIENCE`].
fn read_until_done(child: &mut Child) -> Result<Vec<String>> {
    let stdout = child.stdout.take().context("QEMU has no output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    while let Ok(line) = receiver.recv_timeout(PATIENCE) {
        let done = line.contains(DONE);
        lines.push(line);
        if done {
            break;
        }
    }
    Ok(lines)
}
