//! `cargo xtask run`: builds, sets up, bundles and starts the sample on QEMU.
//!
//! Nothing here is needed at run time: it makes files and starts one program with the arguments of
//! `platforms/NAME/qemu.args`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::guests::Guests;
use crate::images::{self, Image};
use crate::platform::{self, Platform};
use crate::workspace::Workspace;
use crate::{bundle, disk, firmware, image, proc, setup};

/// Boot the sample, or another configuration, on QEMU
///
/// Builds Tessera, installs what is missing, fetches the sample guests and makes their disk: a second run starts QEMU
/// at once. The terminal is the board's serial console: Ctrl-] switches to the next guest, Ctrl-A X ends QEMU. The exit
/// status is QEMU's.
#[derive(Args)]
pub struct RunArgs {
    /// The board: a directory of platforms/
    #[arg(long, value_name = "PLATFORM", default_value = platform::DEFAULT)]
    platform: String,
    /// The configuration to boot [default: the platform's tessera.dts]
    #[arg(long, value_name = "FILE.dts")]
    config: Option<PathBuf>,
    /// Make the guests' disk anew: what they wrote is lost
    #[arg(long)]
    fresh_disk: bool,
    /// Pass the board's console on at this socket as well, for `cargo xtask ctl` (needs QEMU 10)
    #[arg(long, value_name = "SOCKET")]
    control: Option<PathBuf>,
    /// Further arguments for QEMU; a later one overrides an earlier one
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    qemu: Vec<OsString>,
}

/// Runs `cargo xtask run`; QEMU's exit status.
pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<ExitCode> {
    let platform = Platform::find(workspace, &args.platform)?;
    let config = match &args.config {
        Some(given) => config(workspace, given)?,
        None => platform.config(),
    };
    setup::ensure_tools(workspace)?;
    images::build(workspace, &Image::ALL)?;
    Guests::new(workspace).ensure(workspace, false)?;
    let bundle = workspace.target("tessera.itb");
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    bundle::build(&config, &bundle, &dtc)?;
    let mut qemu = Command::new(setup::QEMU);
    let mut arguments = qemu_arguments(workspace, &platform, &bundle, args.fresh_disk)?;
    if let Some(socket) = &args.control {
        share_console(&mut arguments, socket)?;
    }
    qemu.args(arguments).args(&args.qemu);
    eprintln!("{}", proc::show(&qemu));
    eprintln!("Ctrl-] switches to the next guest, Ctrl-A X ends QEMU");
    let status = qemu.status().context("could not start QEMU")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Puts a socket beside the terminal: both are the board's console.
fn share_console(arguments: &mut Vec<String>, socket: &Path) -> Result<()> {
    const TERMINAL: &str = "stdio,id=console,mux=on,signal=off";
    let terminal = arguments.iter_mut().find(|argument| *argument == TERMINAL);
    *terminal.context("the platform's qemu.args have no terminal to share")? =
        "stdio,id=terminal,signal=off".into();
    let path = std::path::absolute(socket)?;
    let server = format!("socket,id=control,server=on,wait=off,path={}", path.display());
    let both = "hub,id=console,mux=on,chardevs.0=terminal,chardevs.1=control".into();
    arguments.extend(["-chardev".into(), server, "-chardev".into(), both]);
    Ok(())
}

/// The tree's files have their names wherever the user is; others are the user's.
fn config(workspace: &Workspace, given: &Path) -> Result<PathBuf> {
    [given.to_path_buf(), workspace.path(given)]
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("no configuration at {}", given.display()))
}

/// The board's own arguments, with the names of what is made for it: device tree and disk.
fn qemu_arguments(
    workspace: &Workspace,
    platform: &Platform,
    bundle: &Path,
    fresh_disk: bool,
) -> Result<Vec<String>> {
    let image = Image::Tessera.path(workspace);
    let disk = disk::path(workspace, &platform.name);
    let tree = match platform.device_tree()? {
        Some(name) => firmware::device_tree(workspace, &name, false)?,
        None => PathBuf::new(),
    };
    let boot = match platform.card_files()? {
        Some(_) => Some(image::boot_files(workspace, platform, bundle, None)?.files),
        None => None,
    };
    disk::keep(&disk, boot, &image::partitions_of(bundle)?, fresh_disk)?;
    platform.qemu_arguments(&[
        ("{image}", &image),
        ("{dtb}", &tree),
        ("{bundle}", bundle),
        ("{disk}", &disk),
    ])
}
