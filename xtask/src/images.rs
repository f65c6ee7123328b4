//! `cargo xtask build`: the hypervisor's image and the bare-metal test guests.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::elf;
use crate::proc;
use crate::progress::step;
use crate::stack;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;

/// Build target/tessera.img and the bare-metal test guests (target/guests/*.img)
#[derive(Args)]
pub struct BuildArgs {
    /// What to build [default: everything]
    #[arg(value_enum)]
    what: Vec<Image>,
}

/// An image or program that this tree builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Image {
    /// The hypervisor
    Tessera,
    /// The guest that checks each architectural promise
    Probe,
    /// The guest that attacks
    Rogue,
    /// The guest that measures
    Bench,
    /// The guests that load shared cores
    Load,
    /// The program by which Linux guests use groups
    Group,
}

impl Image {
    /// All of them.
    pub const ALL: [Image; 6] =
        [Image::Tessera, Image::Probe, Image::Rogue, Image::Bench, Image::Load, Image::Group];

    /// Its package and the name of its binary.
    fn package(self) -> (&'static str, &'static str) {
        match self {
            Image::Tessera => ("tessera-el2", "tessera"),
            Image::Probe => ("guest-probe", "guest-probe"),
            Image::Rogue => ("guest-rogue", "guest-rogue"),
            Image::Bench => ("guest-bench", "guest-bench"),
            Image::Load => ("guest-load", "guest-load"),
            Image::Group => ("guest-linux-group", "group"),
        }
    }

    /// Where the flat image goes. Scripts rely on `target/tessera.img`.
    pub fn path(self, workspace: &Workspace) -> PathBuf {
        workspace.target(match self {
            Image::Tessera => "tessera.img",
            Image::Probe => "guests/probe.img",
            Image::Rogue => "guests/rogue.img",
            Image::Bench => "guests/bench.img",
            Image::Load => "guests/load.img",
            Image::Group => "guests/group",
        })
    }
}

/// Runs `cargo xtask build`.
pub fn run(workspace: &Workspace, args: &BuildArgs) -> Result<()> {
    let what = if args.what.is_empty() { &Image::ALL[..] } else { &args.what };
    build(workspace, what)?;
    for image in what {
        let path = image.path(workspace);
        let bytes = path.metadata().map(|meta| meta.len()).unwrap_or(0);
        println!("{}: {bytes} bytes", workspace.show(&path));
    }
    Ok(())
}

/// Builds `what` in release mode.
pub fn build(workspace: &Workspace, what: &[Image]) -> Result<()> {
    let toolchain = Toolchain::require()?;
    for image in what {
        build_one(workspace, toolchain, *image)?;
    }
    Ok(())
}

/// Where cargo looks for the flags of bare-metal crates alone.
const RUSTFLAGS_VARIABLE: &str = "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_RUSTFLAGS";

/// A panic is traced back by frame pointers. And EL2's Rust runs only with its MMU on, on normal memory but for volatile,
/// aligned accesses to devices, so unaligned loads are sound: with them code is shorter. Guests run some before that.
///
/// And no instruction is moved out of a loop late: the loop is the one around the guest, over which no register keeps its
/// value, so what was moved out of it is fetched again at each exit.
///
/// And all that Rust addresses in the image lies within 1 MiB of the code that does, so an address takes one instruction, not two.
/// If it ever does not, the linker says so.
const EL2_RUSTFLAGS: &str = "-Cforce-frame-pointers=yes -Ctarget-feature=-strict-align \
    -Cllvm-args=-disable-machine-licm -Ccode-model=tiny";

/// What the compiler says of a feature that it passes on and does not vouch for, as above.
const KNOWN_WARNING: &str = "unknown and unstable feature specified for `-Ctarget-feature`";

/// One cargo call a package, so that an image does not depend on what was built with it.
fn build_one(workspace: &Workspace, toolchain: Toolchain, image: Image) -> Result<()> {
    let (package, binary) = image.package();
    // A directory for each set of flags, or each build would throw the other's away.
    let directory = workspace.target(if image == Image::Tessera { "bare-el2" } else { "bare" });
    let mut cargo = toolchain.cargo("build");
    if image == Image::Tessera {
        cargo.env(RUSTFLAGS_VARIABLE, EL2_RUSTFLAGS);
    }
    cargo.args(["--quiet", "--release", "--package", package, "--target-dir"]).arg(&directory);
    if std::io::stderr().is_terminal() {
        cargo.arg("--color=always");
    }
    step(&format!("building {package}"), || {
        proc::show_after(cargo.current_dir(workspace.root()), Some(KNOWN_WARNING))
    })?;
    let built = directory.join(TARGET).join("release").join(binary);
    let file = std::fs::read(&built)
        .with_context(|| format!("{package} has no binary at {}", workspace.show(&built)))?;
    if image == Image::Group {
        // Linux takes it as it is.
        return write_if_changed(&image.path(workspace), &file);
    }
    let flat = elf::flatten(&file).with_context(|| workspace.show(&built))?;
    if image == Image::Tessera {
        stack::check(&file).with_context(|| workspace.show(&built))?;
    }
    // With its symbols, for a back-trace of the panic screen.
    write_if_changed(&image.path(workspace).with_extension("elf"), &file)?;
    write_if_changed(&image.path(workspace), &flat)
}

/// Writes `data` unless it is there already, so that times tell what changed.
pub fn write_if_changed(path: &Path, data: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == data) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(path, data).with_context(|| format!("cannot write {}", path.display()))
}
