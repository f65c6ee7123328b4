//! `cargo xtask fuzz`: everything that takes bytes from a guest or a user, fed with bytes that try to break it.
//!
//! The targets are those of `tests/fuzz`. cargo-fuzz builds them with libFuzzer, which goes on from inputs that reached
//! something new. It is no tool that `setup` installs: who does without it gets the same targets fed with seeds and
//! noise. No sanitizer is built in, for which the pinned compiler is enough: the code under test is safe Rust, whose
//! faults are panics.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::proc;
use crate::toolchain;
use crate::workspace::Workspace;

/// Feed what takes bytes from a guest or a user with bytes that try to break it
///
/// Guided by coverage where cargo-fuzz is installed. What is found goes on from in the next run: target/fuzz has it.
#[derive(Args)]
pub struct FuzzArgs {
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Only these targets
    target: Vec<String>,
}

const PACKAGE: &str = "tessera-fuzz";
/// Longest input that libFuzzer makes up, in bytes: a whole device tree of a board fits.
const LONGEST: u32 = 4096;
/// Seconds after which an input counts as one that hangs.
const HANGS: u32 = 10;

/// Runs `cargo xtask fuzz`: all targets, whatever fails, then `N passed, N failed`.
pub fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<ExitCode> {
    let targets = chosen(workspace, &args.target)?;
    let missing = missing();
    if let Some(missing) = &missing {
        eprintln!("{missing}\nGoing on with seeds and noise, not guided by what they reach.");
    }
    let (mut passed, mut failed) = (0, 0);
    for target in &targets {
        eprintln!("{target}: {} s ...", args.seconds);
        let run = match missing {
            None => guided(workspace, target, args.seconds),
            Some(_) => noise(workspace, target, args.seconds),
        };
        match run {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                eprintln!("{target}: failed\nerror: {error:#}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The targets that were asked for, or all.
fn chosen(workspace: &Workspace, asked: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(workspace.path("tests/fuzz/targets"))? {
        let path = entry?.path();
        all.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    all.sort();
    for name in asked {
        ensure!(all.contains(name), "there is no target `{name}`; there are {}", all.join(", "));
    }
    Ok(if asked.is_empty() { all } else { asked.to_vec() })
}

/// What a guided run lacks, and what to do.
fn missing() -> Option<&'static str> {
    if proc::which("cargo-fuzz").is_none() {
        return Some("cargo-fuzz is not installed: `cargo install cargo-fuzz` installs it.");
    }
    let compilers = [std::env::var("CXX").unwrap_or_default(), "c++".into()];
    if !compilers.iter().any(|compiler| proc::which(compiler).is_some_and(|path| path.is_file())) {
        return Some(
            "libFuzzer needs a C++ compiler: on Debian `apt-get install g++` installs one.",
        );
    }
    None
}

/// Runs a target by libFuzzer.
fn guided(workspace: &Workspace, target: &str, seconds: u32) -> Result<()> {
    let (corpus, found) =
        (directory(workspace, "corpus", target)?, directory(workspace, "found", target)?);
    proc::show_output(feeder(workspace).args(["seeds", target]).arg(&corpus))?;
    let program = build(workspace, target)?;
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={HANGS}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .arg(&corpus)
        .current_dir(workspace.root());
    proc::show_output(&mut fuzzer).with_context(|| {
        let found = workspace.show(&found);
        format!(
            "what failed is in {found}; `cargo run --package {PACKAGE} -- replay {target} FILE` shows \
             it again, and as a line for tests/fuzz/corpus/{target}.hex"
        )
    })
}

/// Builds a target with libFuzzer and gives its program.
fn build(workspace: &Workspace, target: &str) -> Result<PathBuf> {
    let host = toolchain::host()?;
    let made = workspace.target("fuzz/build");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["fuzz", "build", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"])
        .args(["--features", "link", "--target", &host, "--target-dir"])
        .arg(&made)
        .arg(target)
        // Fast programs rather than small ones.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .current_dir(workspace.root());
    proc::show_output(&mut cargo)?;
    Ok(made.join(host).join("release").join(target))
}

/// Runs a target with seeds and noise.
fn noise(workspace: &Workspace, target: &str, seconds: u32) -> Result<()> {
    proc::show_output(feeder(workspace).args(["noise", target, &seconds.to_string()]))
}

/// The program that feeds targets without libFuzzer, fast and with all checks.
fn feeder(workspace: &Workspace) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--quiet", "--release", "--package", PACKAGE, "--target-dir"])
        .arg(workspace.target("fuzz/noise"))
        .arg("--")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true")
        .current_dir(workspace.root());
    cargo
}

fn directory(workspace: &Workspace, what: &str, target: &str) -> Result<PathBuf> {
    let path = workspace.target(Path::new("fuzz").join(what).join(target));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
