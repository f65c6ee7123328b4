//! What a guest's restart takes, from its stop to the first instruction of its next life, without the zeroing of its memory.
//!
//! The guest asks for a reset as soon as it runs, and Tessera accounts for it as it does for a boot (`tessera.bench`).

use anyhow::Result;

use super::board::Board;
use super::machine::Machine;
use super::rows::Measured;
use super::{CORES, COUNTING, MEMORY, bundled, configuration, rows};
use crate::progress::step;
use crate::workspace::Workspace;

/// What Tessera's line about it begins with.
pub const LINE: &str = "| restart: ";

/// Lets a guest of 256 MiB restart once.
pub fn run(workspace: &Workspace, board: Board) -> Result<Measured> {
    let bundle = configuration("0", "256M", "bench.img", "bootargs = \"restart\";");
    let bundle = bundled(workspace, "bench-restart", &bundle)?;
    step(&format!("counting a restart on {}", board.name()), || {
        let mut qemu = board.tessera(workspace, CORES, MEMORY)?;
        qemu.args(["-append", "tessera.bench", "-initrd"]).arg(&bundle);
        let printed = Machine::start(qemu.args(COUNTING))?.until(LINE)?;
        // Of its boot another run tells.
        Ok(rows::parse(&printed[printed.len() - 1..]))
    })
}
