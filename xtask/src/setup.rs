//! `cargo xtask setup`: what this machine needs, found or installed.
//!
//! Says what it will install before it does. Only that needs root; the guests' packages are unpacked below `target/`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::apt::{Archive, Root};
use crate::firmware;
use crate::guests::Guests;
use crate::platform::{self, Platform};
use crate::proc;
use crate::progress::step;
use crate::toolchain::{self, Toolchain};
use crate::workspace::Workspace;

/// Install what is missing on this machine and fetch the sample guests
#[derive(Args)]
pub struct SetupArgs {
    /// Look for newer packages, too
    #[arg(long)]
    refresh: bool,
    /// Fetch what this board needs, too: a directory of platforms/
    #[arg(long, value_name = "PLATFORM", default_value = platform::DEFAULT)]
    platform: String,
}

/// QEMU's first major version that Tessera is tested with.
pub const QEMU_MAJOR: u32 = 9;
/// The machine emulator.
pub const QEMU: &str = "qemu-system-aarch64";

/// A program that is needed, and the Debian package that has it.
pub struct Tool {
    /// Its name in PATH.
    pub program: &'static str,
    /// The packages to install where it is missing.
    pub packages: &'static [&'static str],
    /// What for.
    pub purpose: &'static str,
    /// The option that makes it say its version.
    pub version: &'static str,
    /// From the release's backports: the release's own is too old.
    backports: bool,
    works: fn(&Path) -> bool,
}

/// Everything but the compiler.
pub const TOOLS: &[Tool] = &[
    Tool {
        program: QEMU,
        // QEMU's default network card wants a boot ROM, which is packaged apart.
        packages: &["qemu-system-arm", "ipxe-qemu"],
        purpose: "the emulated board, version 9 or newer",
        version: "--version",
        backports: true,
        works: |path| qemu_major(path).is_some_and(|major| major >= QEMU_MAJOR),
    },
    Tool {
        program: "dtc",
        packages: &["device-tree-compiler"],
        purpose: "configuration files",
        version: "--version",
        backports: false,
        works: |_| true,
    },
    Tool {
        program: "mke2fs",
        packages: &["e2fsprogs"],
        purpose: "the guests' file systems",
        version: "-V",
        backports: false,
        works: |_| true,
    },
    Tool {
        program: "dumpimage",
        packages: &["u-boot-tools"],
        purpose: "a look into bundles",
        version: "-V",
        backports: false,
        works: |_| true,
    },
];

impl Tool {
    /// Is it here and new enough?
    pub fn is_here(&self) -> bool {
        proc::which(self.program).is_some_and(|path| (self.works)(&path))
    }
}

/// `10` of `QEMU emulator version 10.0.2 (Debian …)`.
fn qemu_major(path: &Path) -> Option<u32> {
    let text = proc::output(Command::new(path).arg("--version")).ok()?;
    text.split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// Runs `cargo xtask setup`.
pub fn run(workspace: &Workspace, args: &SetupArgs) -> Result<()> {
    let platform = Platform::find(workspace, &args.platform)?;
    ensure_tools(workspace)?;
    let guests = Guests::new(workspace);
    guests.ensure(workspace, args.refresh)?;
    fetch_for(workspace, &platform, args.refresh)?;
    print!("{}", guests.versions().unwrap_or_default());
    println!(
        "everything is here; `cargo xtask run --platform {}` starts the sample",
        platform.name
    );
    Ok(())
}

/// Fetches what a board needs of others: its device tree, and its firmware if this machine's apt has that.
fn fetch_for(workspace: &Workspace, platform: &Platform, refresh: bool) -> Result<()> {
    if let Some(name) = platform.device_tree()? {
        let tree = firmware::device_tree(workspace, &name, refresh)?;
        println!("device tree: {}", workspace.show(&tree));
    }
    if platform.card_files()?.is_some() {
        let found = firmware::from_debian(workspace, refresh)?;
        let found = found.map(|directory| workspace.show(&directory));
        println!("firmware: {}", found.as_deref().unwrap_or("not in this machine's apt sources"));
    }
    Ok(())
}

/// Installs what is missing. Costs nothing when everything is here.
pub fn ensure_tools(workspace: &Workspace) -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.iter().filter(|tool| !tool.is_here()).collect();
    let compiler = Toolchain::find().is_none();
    if missing.is_empty() && !compiler {
        return Ok(());
    }
    let archive = Archive::of_this_machine()?;
    eprintln!("will install Debian packages on this machine:");
    let (mut own, mut backports) = (Vec::new(), Vec::new());
    for tool in &missing {
        if tool.backports { &mut backports } else { &mut own }.extend(tool.packages);
        eprintln!("  {:<28} {}", tool.packages.join(" "), tool.purpose);
    }
    if compiler {
        own.extend(toolchain::DEBIAN_PACKAGES);
        let packages = toolchain::DEBIAN_PACKAGES.join(" ");
        eprintln!("  {packages} a compiler: this one cannot build for {}", toolchain::TARGET);
    }
    install(workspace, &archive, &own, &backports)?;
    for tool in missing {
        ensure!(tool.is_here(), "{} was installed and still does not work", tool.program);
    }
    Toolchain::require().map(|_| ())
}

/// Installs the release's `own` packages and those from its `backports`, which bring their dependencies from there.
fn install(
    workspace: &Workspace,
    archive: &Archive,
    own: &[&str],
    backports: &[&str],
) -> Result<()> {
    let root = Root::host(workspace.target("apt/host"), &archive.with_backports())?;
    step("reading Debian's list of packages", || root.update())?;
    let suites = [archive.codename.clone(), format!("{}-backports", archive.codename)];
    let mut calls = Vec::new();
    for (suite, packages) in suites.iter().zip([own, backports]) {
        let mut apt = root.command("apt-get");
        apt.args(["install", "--yes", "--no-install-recommends"]);
        if suite != &archive.codename {
            apt.arg(format!("--target-release={suite}"));
        }
        apt.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
        if !packages.is_empty() {
            calls.push(apt);
        }
    }
    if !is_root() {
        let calls: Vec<String> =
            calls.iter().map(|call| format!("sudo {}", proc::show(call))).collect();
        let calls = calls.join(" &&\n  ");
        bail!("only root can install packages. Run this, then try again:\n  {calls}");
    }
    for call in &mut calls {
        step("installing", || proc::output(call))?;
    }
    Ok(())
}

fn is_root() -> bool {
    proc::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
