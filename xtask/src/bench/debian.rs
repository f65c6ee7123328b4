//! How many instructions a Debian guest's boot takes, to the moment when its shell is ready.
//!
//! A guest's clock tells nothing here: it runs on while the guest waits. But QEMU, when it records a run, knows how many
//! instructions it has executed, and its monitor tells (`info replay`). What Tessera's own start takes is its line about
//! the boot, and is taken off.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::board::Board;
use super::machine::Machine;
use super::{bundled, configuration, rows};
use crate::guests::Guests;
use crate::progress::step;
use crate::workspace::Workspace;

/// The row's name.
pub const ROW: &str = "debian_boot";
/// What the guest prints just before its shell's prompt.
const READY: &str = "GUEST-READY";
/// What the guest has without Tessera, and the machine with it.
const CORES: &str = "1";
const GUEST_MEMORY: &str = "256M";
const MEMORY: &str = "1G";
const BOOTARGS: &str = "console=ttyAMA0 quiet hostname=bench";
/// How long the monitor may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Boots the guest without Tessera, where a machine is one that it knows, and under it; on one core, without a disk.
pub fn run(workspace: &Workspace, board: Board) -> Result<(Option<u64>, u64)> {
    let guests = Guests::new(workspace);
    guests.ensure(workspace, false)?;
    let name = board.name();
    let native = board.native(CORES, GUEST_MEMORY).map(|mut qemu| {
        step(&format!("counting Debian's boot on {name} without Tessera"), || {
            qemu.args(["-append", BOOTARGS, "-kernel"])
                .arg(guests.kernel())
                .arg("-initrd")
                .arg(guests.ramdisk());
            Ok(count(workspace, &mut qemu)?.0)
        })
    });
    let native = native.transpose()?;
    let more = format!("ramdisk = \"debian/initrd.img\"; bootargs = \"{BOOTARGS}\";");
    let bundle = configuration("0", GUEST_MEMORY, "debian/vmlinuz", &more);
    let bundle = bundled(workspace, "bench-debian", &bundle)?;
    let tessera = step(&format!("counting Debian's boot on {name} under Tessera"), || {
        let mut qemu = board.tessera(workspace, CORES, MEMORY)?;
        qemu.args(["-append", "tessera.bench", "-initrd"]).arg(bundle);
        let (all, printed) = count(workspace, &mut qemu)?;
        let measured = rows::parse(&printed);
        let own = |name: &str| measured.get(&format!("boot:{name}")).copied().unwrap_or(0);
        Ok(all.saturating_sub(own("reset_to_guest") + own("zero") + own("hash")))
    })?;
    Ok((native, tessera))
}

fn monitor(workspace: &Workspace) -> std::path::PathBuf {
    workspace.target("bench.monitor")
}

/// The instructions until the guest was ready, and what was printed until then.
fn count(workspace: &Workspace, qemu: &mut Command) -> Result<(u64, Vec<String>)> {
    let record = workspace.target("bench.rr");
    qemu.args(["-icount", &format!("shift=0,rr=record,rrfile={}", record.display())]);
    qemu.args(["-monitor", &format!("unix:{},server=on,wait=off", monitor(workspace).display())]);
    let mut machine = Machine::start(qemu)?;
    let printed = machine.until(READY)?;
    let answer = ask(&monitor(workspace), "stop\ninfo replay\n", "instruction count");
    drop(machine);
    let _ = std::fs::remove_file(record);
    Ok((instructions(&answer?).context("QEMU's monitor told no instruction count")?, printed))
}

/// Sends commands to a monitor and returns what it says, as soon as that has a whole line with `wanted`.
fn ask(socket: &Path, commands: &str, wanted: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).context("cannot reach QEMU's monitor")?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(commands.as_bytes())?;
    let (mut said, mut piece) = (String::new(), [0; 4096]);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Ok(bytes) = stream.read(&mut piece) {
            said.push_str(&String::from_utf8_lossy(&piece[..bytes]));
        }
        if said.rsplit_once('\n').is_some_and(|(whole, _)| whole.contains(wanted)) {
            break;
        }
    }
    Ok(said)
}

/// The number in `… instruction count = 123`.
pub fn instructions(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("instruction count = ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
