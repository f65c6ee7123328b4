//! The files under test: where `cargo xtask test` says they are, or where `cargo xtask build` and `setup` leave them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artefact {
    /// The hypervisor.
    Image,
    /// Debian's kernel.
    Kernel,
    /// The ramdisk around busybox.
    Ramdisk,
    /// The guest that checks promises.
    Probe,
    /// The guest that attacks.
    Rogue,
    /// The guests that load shared cores.
    Load,
    /// The device tree of a Raspberry Pi 4.
    Dtb,
}

impl Artefact {
    /// The variable that names it, and where it is otherwise, relative to the tree.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Image => ("TESSERA_IMAGE", "target/tessera.img"),
            Self::Kernel => ("TESSERA_KERNEL", "target/guests/debian/vmlinuz"),
            Self::Ramdisk => ("TESSERA_RAMDISK", "target/guests/debian/initrd.img"),
            Self::Probe => ("TESSERA_PROBE", "target/guests/probe.img"),
            Self::Rogue => ("TESSERA_ROGUE", "target/guests/rogue.img"),
            Self::Load => ("TESSERA_LOAD", "target/guests/load.img"),
            Self::Dtb => ("TESSERA_DTB", "target/boards/bcm2711-rpi-4-b.dtb"),
        }
    }

    /// The variable that names it.
    pub const fn variable(self) -> &'static str {
        self.names().0
    }

    /// Where it is.
    pub fn path(self) -> PathBuf {
        let (variable, usual) = self.names();
        let path = std::env::var_os(variable).map_or_else(|| root().join(usual), PathBuf::from);
        assert!(
            path.is_file(),
            "{} is not there: `cargo xtask test` makes it, or name it in {variable}",
            path.display()
        );
        path
    }

    /// Its bytes.
    pub fn bytes(self) -> Vec<u8> {
        read(&self.path())
    }
}

/// The root of the tree under test.
pub fn root() -> PathBuf {
    let built_from = || {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        manifest.ancestors().nth(2).expect("this crate is in tests/system").to_path_buf()
    };
    std::env::var_os("TESSERA_ROOT").map_or_else(built_from, PathBuf::from)
}

/// The machine emulator.
pub fn qemu() -> Command {
    Command::new(std::env::var_os("TESSERA_QEMU").unwrap_or_else(|| "qemu-system-aarch64".into()))
}

/// A call of `cargo xtask`, in the root of the tree.
pub fn xtask() -> Command {
    let mut command = match std::env::var_os("TESSERA_XTASK") {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.arg("xtask");
            cargo
        }
    };
    command.current_dir(root());
    command
}

/// Reads a file that has to be there.
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Writes a file that can be written.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Runs a program that has to succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
