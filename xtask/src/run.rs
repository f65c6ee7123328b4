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
    /// The configuration to boot: a file, or the name of another sample of the platform, such as `32` for qemu-virt's
    /// tessera-32.dts [default: the platform's tessera.dts]
    #[arg(long, value_name = "FILE.dts|NAME")]
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
    let chosen = match &args.config {
        Some(given) => Chosen::find(workspace, &platform, given)?,
        None => Chosen { config: platform.config(), sample: None },
    };
    setup::ensure_tools(workspace)?;
    images::build(workspace, &Image::ALL)?;
    Guests::new(workspace).ensure(workspace, false)?;
    let bundle = workspace.target("tessera.itb");
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    bundle::build(&chosen.config, &bundle, &dtc)?;
    let mut qemu = Command::new(setup::QEMU);
    let mut arguments = qemu_arguments(workspace, &platform, &chosen, &bundle, args.fresh_disk)?;
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

/// What is booted.
#[derive(Debug)]
struct Chosen {
    config: PathBuf,
    /// The name of the sample, if it is another than the platform's first.
    sample: Option<String>,
}

impl Chosen {
    /// A sample of that name, or a file. The tree's files have their names wherever the user is; others are the user's.
    fn find(workspace: &Workspace, platform: &Platform, given: &Path) -> Result<Self> {
        let samples = platform.samples();
        if let Some(name) = samples.iter().find(|name| Path::new(name) == given) {
            return Ok(Self { config: platform.sample(name), sample: Some(name.clone()) });
        }
        let files = [given.to_path_buf(), workspace.path(given)];
        let config = files.into_iter().find(|path| path.is_file()).with_context(|| {
            let (given, board) = (given.display(), &platform.name);
            match samples.as_slice() {
                [] => format!("no configuration at {given}, and {board} has no other sample"),
                _ => format!(
                    "no configuration at {given}; other samples of {board}: {}",
                    samples.join(", ")
                ),
            }
        })?;
        Ok(Self { config, sample: None })
    }

    /// Which disk the guests have: one sample's is not another's.
    fn disk(&self, platform: &Platform) -> String {
        let board = &platform.name;
        self.sample.as_ref().map_or_else(|| board.clone(), |sample| format!("{board}-{sample}"))
    }
}

/// The board's own arguments, with the names of what is made for it: device tree and disk.
fn qemu_arguments(
    workspace: &Workspace,
    platform: &Platform,
    chosen: &Chosen,
    bundle: &Path,
    fresh_disk: bool,
) -> Result<Vec<String>> {
    let image = Image::Tessera.path(workspace);
    let disk = disk::path(workspace, &chosen.disk(platform));
    let tree = match platform.device_tree()? {
        Some(name) => firmware::device_tree(workspace, &name, false)?,
        None => PathBuf::new(),
    };
    let boot = match platform.card_files()? {
        Some(_) => Some(image::boot_files(workspace, platform, bundle, None)?.files),
        None => None,
    };
    disk::keep(&disk, boot, &image::partitions_of(bundle)?, fresh_disk)?;
    let mut arguments = platform.qemu_arguments(&[
        ("{image}", &image),
        ("{dtb}", &tree),
        ("{bundle}", bundle),
        ("{disk}", &disk),
    ])?;
    if let Some(sample) = &chosen.sample {
        arguments.extend(platform.sample_arguments(sample)?);
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_a_sample_of_the_platform_or_a_file() {
        let workspace = Workspace::find().unwrap();
        let platform = Platform::find(&workspace, "qemu-virt").unwrap();
        let find = |given: &str| Chosen::find(&workspace, &platform, Path::new(given));
        let sample = find("32").unwrap();
        assert_eq!(
            (&sample.config, sample.sample.as_deref()),
            (&platform.sample("32"), Some("32"))
        );
        assert_eq!(sample.disk(&platform), "qemu-virt-32");
        let file = find("platforms/qemu-virt/tessera-32.dts").unwrap();
        assert_eq!((file.sample.as_deref(), file.disk(&platform).as_str()), (None, "qemu-virt"));
        let error = find("33").unwrap_err().to_string();
        assert_eq!(error, "no configuration at 33; other samples of qemu-virt: 32");
        let platform = Platform::find(&workspace, "rpi4").unwrap();
        let error = Chosen::find(&workspace, &platform, Path::new("32")).unwrap_err().to_string();
        assert_eq!(error, "no configuration at 32, and rpi4 has no other sample");
    }
}
