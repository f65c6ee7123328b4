//! `cargo xtask soak`: random programs in one guest for hours, beside another whose work is checked.
//!
//! The work is done by a program of the system tests' crate, which knows boards and consoles.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::test;
use crate::workspace::Workspace;

/// Run random programs in one guest, beside another whose work is checked
///
/// A program follows from its seed and its number: what fails says the command that repeats it, and the exit status is not
/// zero. A program may kill its own guest, which starts again and goes on behind it: that is told, and no failure.
#[derive(Args)]
pub struct SoakArgs {
    /// For how long, with all machines together
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The two guests share cores, where each owns its own otherwise
    #[arg(long)]
    shared: bool,
    /// What the programs follow from [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// The machine [default: all]
    #[arg(long)]
    machine: Option<Choice>,
    /// The number of the first program
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    /// Ends after so many programs on each machine
    #[arg(long, value_name = "COUNT", default_value_t = u64::MAX)]
    programs: u64,
}

/// A machine of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    VirtGicv3,
    VirtGicv2,
    Raspi4b,
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Self::VirtGicv3 => "virt-gicv3",
            Self::VirtGicv2 => "virt-gicv2",
            Self::Raspi4b => "raspi4b",
        }
    }
}

/// Runs `cargo xtask soak`.
pub fn run(workspace: &Workspace, args: &SoakArgs) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("it is before 1970")?;
    let seed = args.seed.unwrap_or(now.as_secs());
    let machines = args.machine.map_or(Choice::value_variants().to_vec(), |one| vec![one]);
    let seconds = args.minutes * 60 / machines.len() as u64;
    let mut soak = test::system_program(workspace, "soak")?;
    soak.args([seed, args.from, args.programs, seconds].map(|number| number.to_string()));
    soak.arg(if args.shared { "shared" } else { "dedicated" });
    soak.args(machines.iter().map(|machine| machine.name()));
    // What failed was told.
    Ok(if soak.status().context("could not start the soak test")?.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
