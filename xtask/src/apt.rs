//! Debian packages by apt, without touching the machine's own configuration.
//!
//! Two things are wanted that the machine's apt does not offer: newer packages from the backports suite and packages of
//! another architecture. Both come from private apt roots below `target/`: their list of sources is derived from the
//! machine's own (so the tree names no host, and a company's mirror keeps working), their signatures are checked with
//! the machine's own keys, and nothing is written to `/etc/apt` or to dpkg's list of architectures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::proc;

mod sources;

pub use sources::Source;

/// An apt with its own sources, lists and cache.
pub struct Root {
    directory: PathBuf,
    options: Vec<String>,
}

impl Root {
    /// An apt root in `directory` that knows `sources`, for packages of `architecture` that are only unpacked.
    pub fn foreign(directory: PathBuf, sources: &[Source], architecture: &str) -> Result<Self> {
        let status = directory.join("status");
        let mut root = Self::new(directory, sources)?;
        std::fs::write(&status, "")
            .with_context(|| format!("cannot write {}", status.display()))?;
        root.options.extend([
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures::={architecture}"),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={}", root.directory.join("cache").display()),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
        ]);
        Ok(root)
    }

    /// An apt root in `directory` that knows `sources`, for packages that are installed on this machine.
    pub fn host(directory: PathBuf, sources: &[Source]) -> Result<Self> {
        Self::new(directory, sources)
    }

    fn new(directory: PathBuf, sources: &[Source]) -> Result<Self> {
        let parts = directory.join("sources.list.d");
        for name in ["sources.list.d", "lists/partial", "cache/archives/partial"] {
            let path = directory.join(name);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        let text: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let file = parts.join("tessera.sources");
        std::fs::write(&file, text.join("\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let options = vec![
            "Dir::Etc::sourcelist=/dev/null".into(),
            format!("Dir::Etc::sourceparts={}", parts.display()),
            format!("Dir::State::lists={}", directory.join("lists").display()),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            // Root's apt would change to a user who may not be able to reach this directory.
            "APT::Sandbox::User=root".into(),
        ];
        Ok(Root { directory, options })
    }

    /// `PROGRAM` (apt-get or apt-cache) with this root's options.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// Fetches the lists of packages. A list that cannot be fetched is an error, not a warning.
    pub fn update(&self) -> Result<()> {
        let mut command = self.command("apt-get");
        proc::output(command.args(["-o", "APT::Update::Error-Mode=any", "update", "--quiet"]))?;
        Ok(())
    }

    /// A field of the package's candidate version.
    pub fn field(&self, package: &str, field: &str) -> Result<String> {
        let text =
            proc::output(self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        sources::stanzas(&text)
            .first()
            .and_then(|stanza| sources::field(stanza, field))
            .with_context(|| format!("package {package} has no {field}"))
    }

    /// Downloads `packages` and unpacks them to `to`. apt checks each against the signed lists.
    pub fn unpack(&self, packages: &[&str], to: &Path) -> Result<()> {
        make_anew(to)?;
        let downloads = self.download(packages)?;
        for file in &downloads.files {
            proc::output(Command::new("dpkg").arg("-x").arg(file).arg(to))?;
        }
        downloads.remove()
    }

    /// The file `name` of `package`, in whichever directory, without unpacking the others.
    pub fn extract(&self, package: &str, name: &str) -> Result<Vec<u8>> {
        let downloads = self.download(&[package])?;
        let file = downloads.files.first().context("apt downloaded nothing")?;
        let mut archive = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start dpkg-deb")?;
        let stdin = archive.stdout.take().context("dpkg-deb has no output")?;
        let tar = Command::new("tar")
            .args(["--extract", "--to-stdout", "--wildcards"])
            .arg(format!("*/{name}"))
            .stdin(stdin)
            .output()
            .context("could not start tar")?;
        let status = archive.wait()?;
        ensure!(tar.status.success(), "{package} has no {name}");
        ensure!(status.success() && !tar.stdout.is_empty(), "{package} cannot be unpacked");
        downloads.remove()?;
        Ok(tar.stdout)
    }

    fn download(&self, packages: &[&str]) -> Result<Downloads> {
        let directory = self.directory.join("downloads");
        make_anew(&directory)?;
        let mut download = self.command("apt-get");
        proc::output(
            download.args(["download", "--quiet"]).args(packages).current_dir(&directory),
        )?;
        let files: Vec<PathBuf> =
            directory.read_dir()?.flatten().map(|entry| entry.path()).collect();
        let (found, wanted) = (files.len(), packages.len());
        ensure!(found == wanted, "apt downloaded {found} of {wanted} packages");
        Ok(Downloads { directory, files })
    }
}

/// Packages that were downloaded.
struct Downloads {
    directory: PathBuf,
    files: Vec<PathBuf>,
}

impl Downloads {
    fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.directory).context("cannot remove the downloads")
    }
}

/// Makes an empty directory, whatever was there.
fn make_anew(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

/// The machine's own Debian archive: its release's code name and where it is fetched from.
pub struct Archive {
    /// `bookworm`.
    pub codename: String,
    /// The release, its updates and its security updates.
    pub sources: Vec<Source>,
    /// All that the machine has, whosever it is.
    all: Vec<Source>,
}

impl Archive {
    /// Reads the machine's `/etc/os-release` and `/etc/apt`.
    pub fn of_this_machine() -> Result<Self> {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            release.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix('=')?;
                Some(value.trim_matches('"').to_string())
            })
        };
        ensure!(
            field("ID").is_some_and(|id| id == "debian"),
            "set-up installs packages on Debian only; `cargo xtask doctor` lists what to install here by hand"
        );
        let codename = field("VERSION_CODENAME")
            .context("/etc/os-release has no VERSION_CODENAME: is this a Debian release?")?;
        let all = read_sources(Path::new("/etc/apt"));
        let sources = sources::debian(&all, &codename, "main");
        ensure!(
            !sources.is_empty(),
            "no source for Debian {codename} main in /etc/apt/sources.list or /etc/apt/sources.list.d: add one"
        );
        Ok(Archive { codename, sources, all })
    }

    /// The release's sources of another component than main; none if the machine does not have it.
    pub fn component(&self, name: &str) -> Vec<Source> {
        sources::debian(&self.all, &self.codename, name)
    }

    /// The sources and, from the same place and with the same keys, the release's backports.
    pub fn with_backports(&self) -> Vec<Source> {
        sources::with_backports(&self.sources, &self.codename)
    }
}

/// Every enabled binary source below `etc`, in both formats.
fn read_sources(etc: &Path) -> Vec<Source> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(directory) = etc.join("sources.list.d").read_dir() {
        let mut names: Vec<PathBuf> = directory.flatten().map(|entry| entry.path()).collect();
        names.sort();
        files.extend(names);
    }
    let mut sources = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(Source::from_line)),
            Some("sources") => {
                sources
                    .extend(sources::stanzas(&text).iter().filter_map(|s| Source::from_stanza(s)));
            }
            _ => {}
        }
    }
    sources
}
