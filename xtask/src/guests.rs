//! The sample guests: a stock Debian kernel and a ramdisk around Debian's busybox, both for arm64.
//!
//! apt fetches the packages into a private root below `target/` and checks their signatures; nothing of them is
//! changed. `guests/linux/README.md` is the recipe.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::{Archive, Root};
use crate::images::{self, Image, write_if_changed};
use crate::modules::Modules;
use crate::progress::step;
use crate::ramdisk::Ramdisk;
use crate::workspace::Workspace;

/// Package that depends on the current kernel.
const KERNEL: &str = "linux-image-cloud-arm64";
/// Package of the ramdisk's only program.
const BUSYBOX: &str = "busybox-static";
/// What the ramdisk loads: for the guest's disk, what it mounts it with, for its power button, its watchdog, and its control
/// port.
const DRIVERS: &[&str] =
    &["virtio_mmio", "virtio_blk", "ext4", "virtio_input", "evdev", "sbsa_gwdt", "virtio_console"];
/// What it has for whoever wants a group's region as a block device, and does not load.
const PMEM_DRIVERS: &[&str] = &["of_pmem", "nd_pmem"];

/// Where the guests' parts are.
pub struct Guests {
    directory: PathBuf,
}

impl Guests {
    /// Below `target/`, where the sample configuration expects them.
    pub fn new(workspace: &Workspace) -> Self {
        Guests { directory: workspace.target("guests/debian") }
    }

    /// The kernel, as the package has it.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The ramdisk.
    pub fn ramdisk(&self) -> PathBuf {
        self.directory.join("initrd.img")
    }

    /// Which packages they are from, if they are there.
    pub fn versions(&self) -> Option<String> {
        let there = self.kernel().is_file() && self.unpacked().is_dir();
        std::fs::read_to_string(self.directory.join("versions")).ok().filter(|_| there)
    }

    fn unpacked(&self) -> PathBuf {
        self.directory.join("unpacked")
    }

    /// Fetches what is missing, or with `refresh` whatever the archive has now, and makes the ramdisk.
    pub fn ensure(&self, workspace: &Workspace, refresh: bool) -> Result<()> {
        if refresh || self.versions().is_none() {
            self.fetch(workspace)?;
        }
        let init = workspace.path("guests/linux/init");
        let init =
            std::fs::read(&init).with_context(|| format!("cannot read {}", init.display()))?;
        images::build(workspace, &[Image::Group])?;
        let group = Image::Group.path(workspace);
        let group =
            std::fs::read(&group).with_context(|| format!("cannot read {}", group.display()))?;
        let ramdisk = make_ramdisk(&self.unpacked(), &init, &group)?;
        write_if_changed(&self.ramdisk(), &ramdisk)
    }

    fn fetch(&self, workspace: &Workspace) -> Result<()> {
        let archive = Archive::of_this_machine()?;
        let root = Root::foreign(workspace.target("apt/arm64"), &archive.sources, "arm64")?;
        step("reading Debian's list of arm64 packages", || root.update())?;
        let depends = root.field(KERNEL, "Depends")?;
        let kernel = kernel_package(&depends)
            .with_context(|| format!("{KERNEL} depends on no kernel: {depends}"))?;
        let versions = format!(
            "{kernel} {}\n{BUSYBOX} {}\n",
            root.field(kernel, "Version")?,
            root.field(BUSYBOX, "Version")?
        );
        if self.versions().is_some_and(|old| old == versions) {
            return Ok(());
        }
        let file = self.directory.join("versions");
        // Gone until all is there, so that an interrupted run is not taken for a whole one.
        if file.exists() {
            std::fs::remove_file(&file)
                .with_context(|| format!("cannot remove {}", file.display()))?;
        }
        let what = format!("fetching {kernel} and {BUSYBOX} for arm64 into target/guests/debian");
        step(&what, || root.unpack(&[kernel, BUSYBOX], &self.unpacked()))?;
        let image = only_file(&self.unpacked().join("boot"), "vmlinuz-")?;
        std::fs::copy(&image, self.kernel())
            .with_context(|| format!("cannot copy {}", image.display()))?;
        std::fs::write(&file, versions).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The kernel among the metapackage's dependencies: `linux-image-6.1.0-56-cloud-arm64 (= 6.1.192-2)`.
fn kernel_package(depends: &str) -> Option<&str> {
    depends
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-") && name.ends_with("-cloud-arm64"))
}

/// The only entry of `directory` whose name starts with `prefix`.
fn only_file(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries =
        directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    let mut found =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => anyhow::bail!("expected one {prefix}* in {}", directory.display()),
    }
}

fn make_ramdisk(unpacked: &Path, init: &[u8], group: &[u8]) -> Result<Vec<u8>> {
    let read = |path: PathBuf| {
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut ramdisk = Ramdisk::default();
    for name in ["bin", "dev", "etc", "mnt", "modules", "proc", "root", "sys", "tmp"] {
        ramdisk.directory(name)?;
    }
    ramdisk.file("init", 0o755, init)?;
    ramdisk.file("bin/busybox", 0o755, &read(unpacked.join("bin/busybox"))?)?;
    ramdisk.file("bin/group", 0o755, group)?;
    for applet in ["sh", "mount"] {
        ramdisk.link(&format!("bin/{applet}"), "busybox")?;
    }
    let modules = Modules::open(&only_file(&unpacked.join("lib/modules"), "")?)?;
    for (list, drivers) in [("order", DRIVERS), ("pmem", PMEM_DRIVERS)] {
        let mut order = String::new();
        for (name, module) in modules.load_order(drivers)? {
            ramdisk.file(&format!("modules/{name}.ko"), 0o644, &module)?;
            order.push_str(&name);
            order.push('\n');
        }
        ramdisk.file(&format!("modules/{list}"), 0o644, order.as_bytes())?;
    }
    ramdisk.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metapackage_names_the_kernel() {
        let depends = "linux-image-6.1.0-56-cloud-arm64 (= 6.1.192-2), something";
        assert_eq!(kernel_package(depends), Some("linux-image-6.1.0-56-cloud-arm64"));
        assert_eq!(kernel_package("linux-image-cloud-amd64"), None);
    }
}
