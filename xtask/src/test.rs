//! `cargo xtask test`: the host tests, then the system tests, which boot QEMU.

mod junit;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::guests::Guests;
use crate::images::{self, Image};
use crate::platform::Platform;
use crate::workspace::Workspace;
use crate::{firmware, proc, setup};

pub use junit::Results;

/// Run the host tests, then the system tests, which boot QEMU
///
/// The system tests run on three machines of QEMU: virt-gicv3, virt-gicv2 and raspi4b. A test's name begins with its
/// machine.
#[derive(Args)]
pub struct TestArgs {
    /// Only the tests that need no QEMU
    #[arg(long)]
    host: bool,
    /// Write the results as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs `cargo xtask test`: everything, whatever fails, then `N passed, N failed`.
pub fn run(workspace: &Workspace, args: &TestArgs) -> Result<ExitCode> {
    let mut results = Results::default();
    let filter = args.filter.as_deref();
    let mut host = cargo_test(workspace);
    run_tests(host.args(filter), "host", &mut results)?;
    // What the system tests are made of has tests of its own.
    let mut parts = cargo_test(workspace);
    parts.args(["--package", SYSTEM_TESTS, "--lib", "--bins"]).args(filter);
    run_tests(&mut parts, "host", &mut results)?;
    if !args.host {
        let mut system = system_tests(workspace, filter)?;
        run_system_tests(workspace, &mut system, "system", &mut results)?;
    }
    results.finish(args.junit.as_deref())
}

/// The platform of QEMU's raspi4b.
const RASPBERRY_PI: &str = "rpi4";
const SYSTEM_TESTS: &str = "tessera-system-tests";

fn cargo_test(workspace: &Workspace) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--no-fail-fast"]).current_dir(workspace.root());
    cargo
}

/// The system tests with all that they boot. They take one board at a time.
pub fn system_tests(workspace: &Workspace, filter: Option<&str>) -> Result<Command> {
    let mut cargo = cargo_test(workspace);
    cargo.args(["--package", SYSTEM_TESTS, "--test", "all"]).args(filter);
    equip(workspace, &mut cargo)?;
    Ok(cargo)
}

/// A program of the system tests' crate that takes arguments, with all that it boots.
pub fn system_program(workspace: &Workspace, name: &str) -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", SYSTEM_TESTS, "--test", name, "--"]);
    cargo.current_dir(workspace.root());
    equip(workspace, &mut cargo)?;
    Ok(cargo)
}

/// Makes what is booted, and says to `cargo` where it is.
fn equip(workspace: &Workspace, cargo: &mut Command) -> Result<()> {
    setup::ensure_tools(workspace)?;
    images::build(workspace, &Image::ALL)?;
    let guests = Guests::new(workspace);
    guests.ensure(workspace, false)?;
    let tree = Platform::find(workspace, RASPBERRY_PI)?.device_tree()?;
    let tree = tree.context("a Raspberry Pi has a device tree of its own")?;
    cargo
        .env("TESSERA_ROOT", workspace.root())
        .env("TESSERA_XTASK", std::env::current_exe().context("xtask does not know its own name")?)
        .env("TESSERA_QEMU", proc::which(setup::QEMU).context("QEMU is missing")?)
        .env("TESSERA_DTB", firmware::device_tree(workspace, &tree, false)?)
        .env("TESSERA_KERNEL", guests.kernel())
        .env("TESSERA_RAMDISK", guests.ramdisk());
    for (name, image) in [
        ("TESSERA_IMAGE", Image::Tessera),
        ("TESSERA_PROBE", Image::Probe),
        ("TESSERA_ROGUE", Image::Rogue),
        ("TESSERA_BENCH", Image::Bench),
        ("TESSERA_LOAD", Image::Load),
    ] {
        cargo.env(name, image.path(workspace));
    }
    Ok(())
}

/// Runs the system tests, which write a report of their own, with times.
pub fn run_system_tests(
    workspace: &Workspace,
    cargo: &mut Command,
    name: &str,
    results: &mut Results,
) -> Result<()> {
    let report = workspace.target(format!("system/{name}.xml"));
    std::fs::create_dir_all(workspace.target("system"))?;
    match std::fs::remove_file(&report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
        _ => {}
    }
    let mut lines = Results::default();
    run_tests(cargo.env("TESSERA_JUNIT", &report), name, &mut lines)?;
    results.take_counts(&lines);
    results.take_report(&report, lines)
}

/// Runs one cargo test with its output shown, and counts. A run that fails without a failed test (it did not compile, it
/// crashed) counts as one.
fn run_tests(cargo: &mut Command, suite: &str, results: &mut Results) -> Result<()> {
    let shown = proc::show(cargo);
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let before = results.failed;
    if let Some(stdout) = child.stdout.take() {
        results.read(suite, copied(BufReader::new(stdout)))?;
    }
    let status = child.wait()?;
    if !status.success() && results.failed == before {
        eprintln!("error: `{shown}` failed ({status})");
        results.fail(suite, &format!("`{shown}` failed ({status})"));
    }
    Ok(())
}

/// The lines of `output`, each piece of which is shown as soon as it is there.
fn copied(mut output: impl BufRead) -> impl Iterator<Item = Result<String>> {
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            let piece = match output.fill_buf() {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error.into())),
            };
            let end = piece.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let piece = &piece[..end.unwrap_or(piece.len())];
            let length = piece.len();
            line.extend_from_slice(piece);
            let _ = std::io::stdout().write_all(piece).and_then(|()| std::io::stdout().flush());
            output.consume(length);
            if end.is_some() || (length == 0 && !line.is_empty()) {
                let whole = std::mem::take(&mut line);
                return Some(Ok(String::from_utf8_lossy(&whole).trim_end().to_string()));
            }
            if length == 0 {
                return None;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_fails_without_a_failed_test_counts_as_one() {
        let mut results = Results::default();
        let mut shell = Command::new("sh");
        let script = "echo 'test result: ok. 2 passed; 0 failed'; printf unfinished; exit 1";
        run_tests(shell.args(["-c", script]), "host", &mut results).unwrap();
        assert_eq!((results.passed, results.failed), (2, 1));
    }
}
