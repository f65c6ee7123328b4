//! `cargo xtask hil`: the system tests on a board behind a serial port.
//!
//! The tests are those of `cargo xtask test` and run by the same code: a test knows a board as something with a console
//! and a power switch. What this board's switch and card are is somebody's commands, or the person at the terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::platform::Platform;
use crate::test;
use crate::workspace::Workspace;

/// Run the system tests on a board, over its serial port
///
/// Each test has guests and a disk of its own: it switches the board off, has the card written, switches the board on,
/// talks to the guests, and switches it off. Commands are run by `sh -c` with TESSERA_SD_IMAGE (the whole card),
/// TESSERA_IMAGE, TESSERA_BUNDLE, TESSERA_DTB and TESSERA_SERIAL in their environment. What no command is given for, you
/// are asked to do.
#[derive(Args)]
pub struct HilArgs {
    /// The serial port that the board's console is at, 115200 8N1
    #[arg(long, value_name = "DEVICE")]
    serial: PathBuf,
    /// Switches the board on
    #[arg(long, value_name = "COMMAND")]
    power_on: Option<String>,
    /// Switches the board off; it may be off
    #[arg(long, value_name = "COMMAND")]
    power_off: Option<String>,
    /// Writes $TESSERA_SD_IMAGE to the board's card
    #[arg(long, value_name = "COMMAND")]
    flash: Option<String>,
    /// What the board is: a directory of platforms/
    #[arg(long, value_name = "BOARD", default_value = "rpi4")]
    board: String,
    /// The board's firmware, as `cargo xtask image --firmware` takes it
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Write the results as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs `cargo xtask hil`: the tests, then `N passed, N failed`.
pub fn run(workspace: &Workspace, args: &HilArgs) -> Result<ExitCode> {
    Platform::find(workspace, &args.board)?;
    let mut tests = test::system_tests(workspace, args.filter.as_deref())?;
    // The tests run in a directory of their own.
    tests.env("TESSERA_SERIAL", std::path::absolute(&args.serial)?);
    tests.env("TESSERA_BOARD", &args.board);
    for (name, command) in [
        ("TESSERA_POWER_ON", &args.power_on),
        ("TESSERA_POWER_OFF", &args.power_off),
        ("TESSERA_FLASH", &args.flash),
    ] {
        // An empty one is none, whatever the environment has.
        tests.env(name, command.as_deref().unwrap_or_default());
    }
    if let Some(firmware) = &args.firmware {
        tests.env("TESSERA_FIRMWARE", std::path::absolute(firmware)?);
    }
    let mut results = test::Results::default();
    test::run_system_tests(workspace, &mut tests, "hil", &mut results)?;
    results.finish(args.junit.as_deref())
}
