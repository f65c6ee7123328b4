//! Files for boards that others made: device trees of Debian's kernel, and a Raspberry Pi's firmware.
//!
//! None of them is in the tree, and the firmware could not be: its licence lets it be passed on only for use with the
//! board. apt fetches both like the sample guests, or the user has them. They are kept below `target/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::apt::{Archive, Root};
use crate::images::write_if_changed;
use crate::progress::step;
use crate::workspace::Workspace;

/// Package that depends on the current kernel with drivers and device trees for real boards.
const KERNEL: &str = "linux-image-arm64";
/// Package of the Raspberry Pi's firmware, and the part of Debian's archive that it is in.
const FIRMWARE: &str = "raspi-firmware";
const FIRMWARE_COMPONENT: &str = "non-free-firmware";
/// Where that package has it.
const FIRMWARE_FILES: &str = "usr/lib/raspi-firmware";

/// Where the board's device tree `name` is kept.
pub fn device_tree_path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target("boards").join(name)
}

/// The device tree `name`, from Debian's kernel package unless it is here already.
pub fn device_tree(workspace: &Workspace, name: &str, refresh: bool) -> Result<PathBuf> {
    let path = device_tree_path(workspace, name);
    if refresh || !path.is_file() {
        let archive = Archive::of_this_machine()?;
        let root = Root::foreign(workspace.target("apt/arm64"), &archive.sources, "arm64")?;
        step("reading Debian's list of arm64 packages", || root.update())?;
        let depends = root.field(KERNEL, "Depends")?;
        let kernel = kernel_package(&depends)
            .with_context(|| format!("{KERNEL} depends on no kernel: {depends}"))?;
        let mib = root.field(kernel, "Size")?.parse::<u64>().unwrap_or_default() >> 20;
        let what = format!("fetching {kernel} ({mib} MiB) for {name}, which alone is kept");
        let tree = step(&what, || root.extract(kernel, name))?;
        write_if_changed(&path, &tree)?;
    }
    Ok(path)
}

/// A directory with the firmware: from Debian unless it is here already, if this machine's apt has the part that it is in.
pub fn from_debian(workspace: &Workspace, refresh: bool) -> Result<Option<PathBuf>> {
    let directory = workspace.target("boards").join(FIRMWARE);
    let files = directory.join(FIRMWARE_FILES);
    if files.is_dir() && !refresh {
        return Ok(Some(files));
    }
    // On a machine that is not Debian, or that lacks that part, the user brings it.
    let Ok(sources) =
        Archive::of_this_machine().map(|archive| archive.component(FIRMWARE_COMPONENT))
    else {
        return Ok(files.is_dir().then_some(files));
    };
    if sources.is_empty() {
        return Ok(files.is_dir().then_some(files));
    }
    let root = Root::foreign(workspace.target("apt/firmware"), &sources, "arm64")?;
    step("reading Debian's list of firmware packages", || root.update())?;
    let unfinished = directory.with_extension("new");
    let what = format!("fetching {FIRMWARE} into {}", workspace.show(&directory));
    step(&what, || root.unpack(&[FIRMWARE], &unfinished))?;
    ensure!(unfinished.join(FIRMWARE_FILES).is_dir(), "{FIRMWARE} has no {FIRMWARE_FILES}");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    std::fs::rename(&unfinished, &directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(Some(files))
}

/// What to do for a card without `missing`.
pub fn advice(missing: &[String], card: &Path) -> String {
    let names = missing.join(", ");
    format!(
        "{} has no firmware: no Raspberry Pi starts from it. Missing are {names}. They are in Debian's package \
         {FIRMWARE} (part {FIRMWARE_COMPONENT} of the archive; if this machine's apt has it, it is fetched), in the \
         first partition of every Raspberry Pi OS card, and in the directory `boot` of Raspberry Pi's `firmware` \
         repository. Give their directory with `--firmware DIR`, or copy them to the card's first partition",
        card.display()
    )
}

/// The kernel among the metapackage's dependencies: `linux-image-6.1.0-56-arm64 (= 6.1.192-2)`.
fn kernel_package(depends: &str) -> Option<&str> {
    depends
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-") && name.ends_with("-arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_names_the_kernel() {
        let depends = "something, linux-image-6.1.0-56-arm64 (= 6.1.192-2)";
        assert_eq!(kernel_package(depends), Some("linux-image-6.1.0-56-arm64"));
        assert_eq!(kernel_package("linux-image-amd64"), None);
    }
}
