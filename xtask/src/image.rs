//! `cargo xtask image`: a board's whole SD card as a file.
//!
//! Made of files alone: no root, no loop device, nothing mounted. The boot partition holds what `card.files` of the
//! platform lists; each guest's partition is found in the bundle, as the board will find it.

pub mod boot;
pub mod card;
pub mod fat;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tessera_core::bundle::Bundle;
use tessera_core::config;

use crate::guests::Guests;
use crate::images::{self, Image};
use crate::platform::Platform;
use crate::progress::step;
use crate::workspace::Workspace;
use crate::{bundle, firmware, proc, setup};
use card::{Content, Partition};

/// Make the image of a board's SD card: firmware, Tessera, the bundle, and a partition for each disk of a guest
///
/// The image is a file that is as large as the card will be used, most of it holes. Copy it to a card with
/// `dd if=sd.img of=/dev/sdX bs=4M conv=fsync` or with Raspberry Pi Imager ("Use custom"). A partition that the
/// configuration names gets an empty ext4 file system of 64 MiB, unless --size or --partition says otherwise.
#[derive(Args)]
pub struct ImageArgs {
    /// The board: `rpi4`
    #[arg(value_name = "PLATFORM")]
    platform: String,
    /// Where to write the image; one that is there is replaced, with all that guests wrote to it
    #[arg(short, long, value_name = "FILE.img")]
    output: PathBuf,
    /// The configuration to pack [default: the platform's tessera.dts]
    #[arg(long, value_name = "FILE.dts", conflicts_with = "bundle")]
    config: Option<PathBuf>,
    /// A bundle that is packed already
    #[arg(long, value_name = "FILE.itb")]
    bundle: Option<PathBuf>,
    /// The directory with the board's firmware; its device tree and overlays are taken too, if it has them [default:
    /// Debian's package, if this machine's apt has it]
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// The size of a partition, `boot` or a guest's, with K, M or G (1024 each)
    #[arg(long, value_name = "NAME=SIZE", value_parser = parse_size)]
    size: Vec<(String, u64)>,
    /// Fill a partition with what is in a file, a file system for instance; also one that no guest names
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_content)]
    partition: Vec<(String, PathBuf)>,
    /// Bring the boot partition of an image that is there up to date: other files on it and the guests' partitions stay
    #[arg(long, conflicts_with_all = ["size", "partition"])]
    update: bool,
}

/// The boot partition's label.
pub const BOOT: &str = "boot";
/// The size of a partition for which nothing else is said.
const PARTITION_BYTES: u64 = 64 << 20;

/// Runs `cargo xtask image`.
pub fn run(workspace: &Workspace, args: &ImageArgs) -> Result<()> {
    let platform = Platform::find(workspace, &args.platform)?;
    ensure!(
        platform.card_files()?.is_some(),
        "{} does not start from a card; `cargo xtask run --platform {0}` starts it",
        platform.name
    );
    check_output(&args.output, args.update)?;
    let firmware = match &args.firmware {
        Some(directory) => Some(given_firmware(directory)?),
        None => firmware::from_debian(workspace, false)?,
    };
    setup::ensure_tools(workspace)?;
    images::build(workspace, &[Image::Tessera])?;
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => pack(workspace, &platform, args.config.as_deref())?,
    };
    let boot = boot_files(workspace, &platform, &bundle, firmware.as_deref())?;
    if let Some(directory) = &args.firmware {
        let missing = boot.missing.join(", ");
        ensure!(missing.is_empty(), "--firmware {}: has no {missing}", directory.display());
    }
    let missing = write(args, boot, &partitions_of(&bundle)?)?;
    if !missing.is_empty() {
        eprintln!("{}", firmware::advice(&missing, &args.output));
    }
    if std::io::stderr().is_terminal() {
        eprint!("{}", summary(&args.output)?);
    }
    Ok(())
}

/// Writes the image, or its boot partition; the files that it lacks to start a board.
fn write(args: &ImageArgs, boot: boot::Boot, named: &[String]) -> Result<Vec<String>> {
    let mut missing = boot.missing;
    if args.update {
        let what = "writing the boot partition";
        let there = step(what, || card::update(&args.output, BOOT, &boot.files))?;
        missing.retain(|name| !there.contains(name));
        missing_partitions(&args.output, named)?;
    } else {
        let partitions = plan(boot.files, named, &args.size, &args.partition)?;
        step("making the card's image", || card::make(&args.output, &partitions))?;
    }
    Ok(missing)
}

/// Packs the configuration, or the platform's own, with the sample guests at hand.
fn pack(workspace: &Workspace, platform: &Platform, config: Option<&Path>) -> Result<PathBuf> {
    Guests::new(workspace).ensure(workspace, false)?;
    let config = config.map_or_else(|| platform.config(), Path::to_path_buf);
    let path = workspace.target(format!("cards/{}.itb", platform.name));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let dtc = proc::which("dtc").context("dtc is missing: run `cargo xtask setup`")?;
    bundle::build(&config, &path, &dtc)?;
    Ok(path)
}

/// What goes on the boot partition.
pub fn boot_files(
    workspace: &Workspace,
    platform: &Platform,
    bundle: &Path,
    firmware: Option<&Path>,
) -> Result<boot::Boot> {
    let tree = match platform.device_tree()? {
        Some(name) if !boot::has_own_tree(platform, firmware)? => {
            Some(firmware::device_tree(workspace, &name, false)?)
        }
        _ => None,
    };
    let parts = boot::Parts {
        image: &Image::Tessera.path(workspace),
        bundle,
        firmware,
        device_tree: tree.as_deref(),
    };
    boot::collect(platform, &platform.card_files()?.unwrap_or_default(), &parts)
}

/// An image is made beside its name and then renamed, which replaces a device by a file instead of writing to it.
fn check_output(output: &Path, update: bool) -> Result<()> {
    match std::fs::metadata(output) {
        Ok(found) if !found.is_file() => bail!(
            "{0} is not a file. Write the image to a file, and copy that: `dd if=sd.img of={0} bs=4M conv=fsync`",
            output.display()
        ),
        Err(_) if update => bail!("there is no {} to update: leave out --update", output.display()),
        _ => Ok(()),
    }
}

fn given_firmware(directory: &Path) -> Result<PathBuf> {
    ensure!(directory.is_dir(), "--firmware {}: there is no such directory", directory.display());
    Ok(directory.to_path_buf())
}

/// The partitions that the bundle's configuration names, each once. One that cannot be read is the board's to refuse.
pub fn partitions_of(bundle: &Path) -> Result<Vec<String>> {
    let blob =
        std::fs::read(bundle).with_context(|| format!("cannot read {}", bundle.display()))?;
    let mut names: Vec<String> = Vec::new();
    match Bundle::parse(&blob).map(|bundle| bundle.config().map(|tree| config::parse(&tree))) {
        Ok(Ok(config)) => {
            for disk in config.vms.into_iter().flat_map(|vm| vm.disks) {
                if !names.contains(&disk.partition) {
                    names.push(disk.partition);
                }
            }
        }
        Ok(Err(error)) => eprintln!("{}: {error}; Tessera will refuse it", bundle.display()),
        Err(error) => eprintln!("{}: {error}; Tessera will refuse it", bundle.display()),
    }
    Ok(names)
}

/// The partitions to make: the boot partition, those that guests name, and those that are given.
fn plan(
    boot: Vec<fat::File>,
    named: &[String],
    sizes: &[(String, u64)],
    contents: &[(String, PathBuf)],
) -> Result<Vec<Partition>> {
    if let Some(name) = named.iter().find(|name| name.starts_with("PARTUUID=")) {
        bail!("a guest's disk is {name}, which a new card cannot have: name a label instead");
    }
    for name in named.iter().chain(contents.iter().map(|(name, _)| name)) {
        ensure!(name != BOOT, "the partition `{BOOT}` is the board's own: name another one");
    }
    let further = contents.iter().map(|(name, _)| name).filter(|name| !named.contains(name));
    let names: Vec<&String> = named.iter().chain(further).collect();
    for (name, _) in sizes {
        let known: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        ensure!(
            name == BOOT || known.contains(&name.as_str()),
            "--size {name}=…: there is no such partition; there are {}",
            [&[BOOT], &known[..]].concat().join(", ")
        );
    }
    let size =
        |name: &str| sizes.iter().rev().find(|(sized, _)| sized == name).map(|(_, bytes)| *bytes);
    let bytes = size(BOOT).unwrap_or_else(|| fat::comfortable_size(&boot));
    let boot = Partition { name: BOOT.into(), bytes, content: Content::Boot(boot) };
    let mut partitions = vec![boot];
    for name in names {
        let file = contents.iter().rev().find(|(filled, _)| filled == name).map(|(_, file)| file);
        partitions.push(match file {
            Some(file) => filled(name, file, size(name))?,
            None => empty(name, size(name)),
        });
    }
    Ok(partitions)
}

/// A partition with an empty file system.
pub fn empty(name: &str, size: Option<u64>) -> Partition {
    let bytes = size.unwrap_or(PARTITION_BYTES);
    Partition { name: name.into(), bytes, content: Content::Ext4 }
}

fn filled(name: &str, file: &Path, size: Option<u64>) -> Result<Partition> {
    let found = std::fs::metadata(file)
        .with_context(|| format!("--partition {name}={}", file.display()))?;
    // A device or a pipe does not say how long it is.
    ensure!(
        found.is_file(),
        "--partition {name}={}: that is no regular file; copy it to one first",
        file.display()
    );
    let bytes = size.unwrap_or_else(|| found.len().next_multiple_of(card::SECTOR));
    ensure!(
        bytes >= found.len(),
        "{} has {} bytes, and the partition `{name}` only {bytes}",
        file.display(),
        found.len()
    );
    Ok(Partition { name: name.into(), bytes, content: Content::Copy(file.to_path_buf()) })
}

/// The guests' partitions that the disk does not have are said, with what to do.
pub fn missing_partitions(disk: &Path, named: &[String]) -> Result<()> {
    let table = card::Table::read(disk)?;
    let missing: Vec<&str> = named
        .iter()
        .filter(|name| !name.starts_with("PARTUUID=") && table.find(name).is_none())
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        eprintln!("{} has no partition {missing}: only one that is made anew will", disk.display());
    }
    Ok(())
}

/// The card's size and those of its partitions.
fn summary(path: &Path) -> Result<String> {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let places = card::Table::read(path)?.places;
    let partitions: Vec<String> =
        places.iter().map(|place| format!("{} {}", place.name, mib(place.bytes))).collect();
    let all = mib(path.metadata()?.len());
    Ok(format!("{}: {all} MiB: {}\n", path.display(), partitions.join(", ")))
}

/// `web=512M`.
fn parse_size(text: &str) -> Result<(String, u64)> {
    let (name, size) = text.split_once('=').context("is not NAME=SIZE")?;
    let digits = size.trim_end_matches(['K', 'M', 'G']);
    let shift = match &size[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => bail!("{size} is no size"),
    };
    let number: u64 = digits.parse().ok().with_context(|| format!("{size} is no size"))?;
    let bytes = number.checked_mul(1 << shift).with_context(|| format!("{size} is too large"))?;
    ensure!(
        bytes > 0 && bytes.is_multiple_of(card::SECTOR),
        "{size} is no multiple of {} bytes",
        card::SECTOR
    );
    Ok((name.into(), bytes))
}

/// `web=rootfs.img`.
fn parse_content(text: &str) -> Result<(String, PathBuf)> {
    let (name, file) = text.split_once('=').context("is not NAME=FILE")?;
    Ok((name.into(), file.into()))
}
