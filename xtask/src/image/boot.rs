//! What is on a card's boot partition, brought together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::fat::File;
use crate::platform::{CardFile, CardSource, Platform};

/// Where the parts are.
pub struct Parts<'a> {
    /// Tessera.
    pub image: &'a Path,
    /// The bundle.
    pub bundle: &'a Path,
    /// The firmware, if there is any.
    pub firmware: Option<&'a Path>,
    /// The device tree to take where the firmware has none.
    pub device_tree: Option<&'a Path>,
}

/// The files, and the names of the firmware's that are missing.
#[derive(Debug)]
pub struct Boot {
    /// What there is.
    pub files: Vec<File>,
    /// What there should be.
    pub missing: Vec<String>,
}

/// Whether the firmware brings the device tree itself. Then its overlays fit that: they refer to it by names which other
/// trees need not have.
pub fn has_own_tree(platform: &Platform, firmware: Option<&Path>) -> Result<bool> {
    let name = platform.device_tree()?;
    Ok(firmware.zip(name).is_some_and(|(directory, name)| directory.join(name).is_file()))
}

/// Brings the files of `platform` together.
pub fn collect(platform: &Platform, listed: &[CardFile], parts: &Parts) -> Result<Boot> {
    let own_tree = has_own_tree(platform, parts.firmware)?;
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for CardFile { name, source } in listed {
        let of_firmware = || parts.firmware.map(|directory| directory.join(name));
        let path = match source {
            CardSource::Here => Some(platform.path(name)),
            CardSource::Image => Some(parts.image.to_path_buf()),
            CardSource::Bundle => Some(parts.bundle.to_path_buf()),
            CardSource::DeviceTree if own_tree => of_firmware(),
            CardSource::DeviceTree => parts.device_tree.map(Path::to_path_buf),
            CardSource::Firmware | CardSource::Optional => {
                of_firmware().filter(|path| path.is_file())
            }
            CardSource::Overlay => of_firmware().filter(|path| own_tree && path.is_file()),
        };
        match path {
            Some(path) => files.push((name.clone(), read(&path)?)),
            None if matches!(source, CardSource::Overlay | CardSource::Optional) => {}
            None => missing.push(name.clone()),
        }
    }
    without_missing(&mut files)?;
    Ok(Boot { files, missing })
}

/// Takes lines out of `config.txt` that ask for an optional file which is not on the card: what firmware does about such a
/// line depends on its age.
fn without_missing(files: &mut [File]) -> Result<()> {
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let Some((_, config)) = files.iter_mut().find(|(name, _)| name == "config.txt") else {
        return Ok(());
    };
    let text = std::str::from_utf8(config).context("config.txt is not text")?;
    let mut kept = String::new();
    for line in text.lines() {
        if let Some(file) = optional_file(line).filter(|file| !names.contains(file)) {
            kept.push_str(&format!("# {file} is not on this card: "));
        }
        kept.push_str(line);
        kept.push('\n');
    }
    *config = kept.into_bytes();
    Ok(())
}

/// The file that a line asks for and the board can do without.
fn optional_file(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    match key {
        "dtoverlay" => Some(format!("overlays/{}.dtbo", value.split(',').next()?.trim())),
        "armstub" => Some(value.trim().into()),
        _ => None,
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!content.is_empty(), "{} is empty", path.display());
    Ok(content)
}
