//! `cargo xtask check-memory`: core's tests under AddressSanitizer.
//!
//! `core` itself is safe Rust, so what this looks at is the `unsafe` of the crates that it uses, as it uses them. Miri would
//! see more, but is a part of nightly compilers only. The option is unstable in the pinned compiler, hence
//! RUSTC_BOOTSTRAP.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::proc;
use crate::toolchain;
use crate::workspace::Workspace;

/// Run core's tests under AddressSanitizer, for the unsafe code of the crates that it uses
#[derive(Args)]
pub struct CheckMemoryArgs {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs `cargo xtask check-memory`.
pub fn run(workspace: &Workspace, args: &CheckMemoryArgs) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--package", "tessera-core", "--lib", "--target", &toolchain::host()?])
        .arg("--target-dir")
        .arg(workspace.target("asan"))
        .args(&args.filter)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // Boards of tests last as long as their program.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .current_dir(workspace.root());
    proc::show_output(&mut cargo)?;
    Ok(ExitCode::SUCCESS)
}
