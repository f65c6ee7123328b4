//! `cargo xtask test`: the host tests, then the system tests, which boot QEMU.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::guests::Guests;
use crate::images::{self, Image};
use crate::proc;
use crate::setup;
use crate::workspace::Workspace;

/// Run the host tests, then the system tests, which boot QEMU
#[derive(Args)]
pub struct TestArgs {
    /// Only the tests that need no QEMU
    #[arg(long)]
    host: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// How many tests said what.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs `cargo xtask test`: everything, whatever fails, then `N passed, N failed`.
pub fn run(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let mut host = Command::new("cargo");
    host.args(["test", "--no-fail-fast"]).args(args.filter.as_deref());
    run_tests(host.current_dir(workspace.root()), &mut tally)?;
    if !args.host {
        run_tests(&mut system_tests(workspace, args.filter.as_deref())?, &mut tally)?;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The system tests with all that they boot. They take one QEMU at a time.
fn system_tests(workspace: &Workspace, filter: Option<&str>) -> Result<Command> {
    setup::ensure_tools(workspace)?;
    images::build(workspace, &Image::ALL)?;
    let guests = Guests::new(workspace);
    guests.ensure(workspace, false)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--release", "--package", "tessera-system-tests", "--"])
        .arg("--test-threads=1")
        .args(filter)
        .current_dir(workspace.root())
        .env("TESSERA_ROOT", workspace.root())
        .env("TESSERA_XTASK", std::env::current_exe().context("xtask does not know its own name")?)
        .env("TESSERA_QEMU", proc::which(setup::QEMU).context("QEMU is missing")?)
        .env("TESSERA_KERNEL", guests.kernel())
        .env("TESSERA_RAMDISK", guests.ramdisk());
    for (name, image) in [
        ("TESSERA_IMAGE", Image::Tessera),
        ("TESSERA_PROBE", Image::Probe),
        ("TESSERA_ROGUE", Image::Rogue),
        ("TESSERA_BENCH", Image::Bench),
    ] {
        cargo.env(name, image.path(workspace));
    }
    Ok(cargo)
}

/// Runs one cargo test with its output shown, and counts. A run that fails without a failed test (it did not compile, it
/// crashed) counts as one.
fn run_tests(cargo: &mut Command, tally: &mut Tally) -> Result<()> {
    let shown = proc::show(cargo);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let before = tally.failed;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("cannot read from `{shown}`"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some((passed, failed)) = result(&line) {
                tally.passed += passed;
                tally.failed += failed;
            }
        }
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == before {
        eprintln!("error: `{shown}` failed ({status})");
        tally.failed += 1;
    }
    Ok(())
}

/// `(3, 1)` of `test result: FAILED. 3 passed; 1 failed; 0 ignored; …`.
fn result(line: &str) -> Option<(usize, usize)> {
    let line = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        let part = line.split([';', '.']).find(|part| part.trim().ends_with(what))?;
        part.split_whitespace().next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out";
        assert_eq!(result(line), Some((3, 1)));
        assert_eq!(result("test result: ok. 12 passed; 0 failed; 0 ignored"), Some((12, 0)));
        assert_eq!(result("test a ... ok"), None);
        assert_eq!(result("test result: "), None);
    }

    #[test]
    fn a_run_that_fails_without_a_failed_test_counts_as_one() {
        let mut tally = Tally::default();
        let mut shell = Command::new("sh");
        run_tests(
            shell.args(["-c", "echo 'test result: ok. 2 passed; 0 failed'; exit 1"]),
            &mut tally,
        )
        .unwrap();
        assert_eq!((tally.passed, tally.failed), (2, 1));
    }
}
