//! `cargo xtask ci`: format, lints and the house rules, on all crates.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Args;

use crate::proc;
use crate::rules;
use crate::setup;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Check format, lints (warnings are errors) and the house rules on all crates
#[derive(Args)]
pub struct CiArgs {}

/// Crates that only build for the board.
const BARE: &[&str] = &[
    "tessera-el2",
    "tessera-rt",
    "guest-probe",
    "guest-rogue",
    "guest-bench",
    "guest-load",
    "guest-linux-group",
];

type Check = fn(&Workspace) -> Result<()>;

/// Runs `cargo xtask ci`: all checks, whatever fails, then `N passed, N failed`.
pub fn run(workspace: &Workspace, _: &CiArgs) -> Result<ExitCode> {
    setup::ensure_tools(workspace)?;
    let checks: [(&str, Check); 4] = [
        ("house rules", house_rules),
        ("format", format),
        ("lints, host crates", lint_host),
        ("lints, bare-metal crates", lint_bare),
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in checks {
        eprintln!("{name} ...");
        match check(workspace) {
            Ok(()) => {
                passed += 1;
                eprintln!("{name}: ok");
            }
            Err(error) => {
                failed += 1;
                eprintln!("{name}: failed\nerror: {error:#}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn house_rules(workspace: &Workspace) -> Result<()> {
    let found = rules::check(workspace.root())?;
    for problem in &found {
        eprintln!("{problem}");
    }
    ensure!(found.is_empty(), "{} house rules are broken", found.len());
    Ok(())
}

fn format(workspace: &Workspace) -> Result<()> {
    let mut cargo = Command::new("cargo");
    proc::show_output(cargo.args(["fmt", "--all", "--check"]).current_dir(workspace.root()))
}

fn lint_host(workspace: &Workspace) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    // The fuzz targets too; nothing is linked here, so no C++ compiler is asked for.
    cargo.args(["--features", "tessera-fuzz/libfuzzer"]);
    for package in BARE {
        cargo.args(["--exclude", package]);
    }
    proc::show_output(cargo.args(["--", "-D", "warnings"]).current_dir(workspace.root()))
}

fn lint_bare(workspace: &Workspace) -> Result<()> {
    let mut cargo = Toolchain::require()?.cargo("clippy");
    cargo.args(["--quiet", "--release", "--target-dir"]).arg(workspace.target("bare"));
    for package in BARE {
        cargo.args(["--package", package]);
    }
    proc::show_output(cargo.args(["--", "-D", "warnings"]).current_dir(workspace.root()))
}
