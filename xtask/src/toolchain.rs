//! Which compiler builds the bare-metal crates.
//!
//! On a normal machine rustup has fetched the target that `rust-toolchain.toml` names, and plain cargo is enough.
//! Where it could not (no network to rustup's server), Debian's own compiler stands in: `rustc-web` and
//! `rust-web-src`, new enough in the distribution's security suite, build `core` and `alloc` from source. That needs
//! the unstable `-Zbuild-std`, hence RUSTC_BOOTSTRAP. The rest of xtask only sees `Toolchain::cargo`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::proc;

/// EL2 and the guests never touch floating-point registers: they may hold another world's state.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Debian packages of the stand-in; `lld` links, clippy and rustfmt are for `cargo xtask ci`.
pub const DEBIAN_PACKAGES: &[&str] =
    &["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "rustfmt-web", "lld"];

/// The oldest stand-in that builds this tree: `rust-version` of the workspace.
const MINIMUM: (u32, u32) = (1, 95);

/// What the compiler here builds for by itself.
pub fn host() -> Result<String> {
    let text = proc::output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` does not name its host")?.to_string())
}

/// A compiler for the bare-metal target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The active toolchain has the target.
    Rustup,
    /// Debian's compiler, building `core` from source.
    Debian,
}

impl Toolchain {
    /// The compiler that is here, or `None` when neither can build for the target yet.
    pub fn find() -> Option<Self> {
        if rustup_has_target() {
            Some(Toolchain::Rustup)
        } else if debian_is_complete() {
            Some(Toolchain::Debian)
        } else {
            None
        }
    }

    /// `find`, or an error that says what to do.
    pub fn require() -> Result<Self> {
        Self::find().with_context(|| {
            format!(
                "no compiler for {TARGET}: run `rustup target add {TARGET}`, or `cargo xtask setup` \
                 to install Debian's ({})",
                DEBIAN_PACKAGES.join(" ")
            )
        })
    }

    /// `cargo SUBCOMMAND --target … ARGS` with this compiler, in the current directory.
    pub fn cargo(self, subcommand: &str) -> Command {
        let mut command = match self {
            Toolchain::Rustup => Command::new("cargo"),
            Toolchain::Debian => Command::new("/usr/bin/cargo"),
        };
        command.args([subcommand, "--target", TARGET]);
        if self == Toolchain::Debian {
            command.arg("-Zbuild-std=core,alloc").env("RUSTC_BOOTSTRAP", "1");
            // xtask itself was started by rustup's cargo, which left its own choice in the environment.
            for variable in ["RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO"] {
                command.env_remove(variable);
            }
            command.env("PATH", path_with_usr_bin_first());
            // Debian does not ship the linker that rustup's toolchain brings along.
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", "ld.lld");
        }
        command
    }

    /// What `doctor` says about it.
    pub fn describe(self) -> String {
        let rustc = match self {
            Toolchain::Rustup => Path::new("rustc"),
            Toolchain::Debian => Path::new("/usr/bin/rustc"),
        };
        let version = proc::output(Command::new(rustc).arg("--version")).unwrap_or_default();
        match self {
            Toolchain::Rustup => version.trim().to_string(),
            Toolchain::Debian => format!("{} from Debian, builds core from source", version.trim()),
        }
    }
}

fn rustup_has_target() -> bool {
    proc::output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|dir| {
            std::fs::read_dir(dir.trim()).is_ok_and(|files| {
                files
                    .flatten()
                    .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
            })
        })
}

fn debian_is_complete() -> bool {
    let parts = ["/usr/bin/cargo", "/usr/bin/cargo-clippy", "/usr/bin/rustfmt", "/usr/bin/ld.lld"];
    let source = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";
    parts.iter().all(|part| Path::new(part).exists())
        && Path::new(source).exists()
        && proc::output(Command::new("/usr/bin/rustc").arg("--version"))
            .is_ok_and(|text| version(&text).is_some_and(|found| found >= MINIMUM))
}

/// `(1, 96)` of `rustc 1.96.0 (…)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn path_with_usr_bin_first() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_its_version() {
        assert_eq!(version("rustc 1.96.0 (f2d3ce0bd 2026-03-21)"), Some((1, 96)));
        assert_eq!(version("rustc"), None);
        assert_eq!(version("rustc one.two"), None);
    }
}
