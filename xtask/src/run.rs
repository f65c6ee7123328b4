//! `cargo xtask run`: builds, sets up, bundles and starts the sample on QEMU.
//!
//! Nothing here is needed at run time: it makes files and starts one program with the arguments of
//! `platforms/qemu-virt/qemu.args`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::guests::Guests;
use crate::images::{self, Image};
use crate::proc;
use crate::setup;
use crate::workspace::Workspace;
use crate::{bundle, disk};

/// Boot the sample, or another configuration, on QEMU
///
/// Builds Tessera, installs what is missing, fetches the sample guests and makes their disk: a second run starts QEMU
/// at once. The terminal is the board's serial console: Ctrl-] switches to the next guest, Ctrl-A X ends QEMU. The exit
/// status is QEMU's.
#[derive(Args)]
pub struct RunArgs {
    /// The configuration to boot
    #[arg(long, value_name = "FILE.dts", default_value = "platforms/qemu-virt/tessera.dts")]
    config: PathBuf,
    /// Make the guests' disk anew: what they wrote is lost
    #[arg(long)]
    fresh_disk: bool,
    /// Further arguments for QEMU; a later one overrides an earlier one
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    qemu: Vec<OsString>,
}

/// Runs `cargo xtask run`; QEMU's exit status.
pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<ExitCode> {
    let config = config(workspace, &args.config)?;
    setup::ensure_tools(workspace)?;
    images::build(workspace, &Image::ALL)?;
    Guests::new(workspace).ensure(workspace, false)?;
    disk::ensure(workspace, args.fresh_disk)?;
    let bundle = workspace.target("tessera.itb");
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    bundle::build(&config, &bundle, &dtc)?;
    let mut qemu = Command::new(setup::QEMU);
    qemu.args(qemu_arguments(workspace, &bundle)?).args(&args.qemu);
    eprintln!("{}", proc::show(&qemu));
    eprintln!("Ctrl-] switches to the next guest, Ctrl-A X ends QEMU");
    let status = qemu.status().context("could not start QEMU")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The default is the tree's, wherever the user is; another is the user's.
fn config(workspace: &Workspace, given: &Path) -> Result<PathBuf> {
    [given.to_path_buf(), workspace.path(given)]
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("no configuration at {}", given.display()))
}

/// The board's own arguments, with the names of what was made.
pub fn qemu_arguments(workspace: &Workspace, bundle: &Path) -> Result<Vec<String>> {
    let file = workspace.path("platforms/qemu-virt/qemu.args");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let image = Image::Tessera.path(workspace);
    let disk = disk::path(workspace);
    Ok(parse_arguments(&text, &[("{image}", &image), ("{bundle}", bundle), ("{disk}", &disk)]))
}

/// One option and its value a line; `#` starts a comment.
fn parse_arguments(text: &str, names: &[(&str, &Path)]) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| line.splitn(2, char::is_whitespace))
        .map(|word| {
            names.iter().fold(word.trim().to_string(), |word, (name, path)| {
                word.replace(name, &path.display().to_string())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_option_with_its_value() {
        let text = "# QEMU\n-M virt,a=b\n\n  -nographic\n-append  one two\n-kernel {image}\n";
        let words = parse_arguments(text, &[("{image}", Path::new("/t/x.img"))]);
        let wanted = ["-M", "virt,a=b", "-nographic", "-append", "one two", "-kernel", "/t/x.img"];
        assert_eq!(words, wanted);
    }
}
