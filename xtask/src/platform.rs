//! The boards: what `platforms/NAME/` says about each. A board is added by adding a directory.
//!
//! - `tessera.dts`: the sample configuration; `tessera-NAME.dts`: others.
//! - `qemu.args`: how QEMU is started, one option and its value a line; names in braces are files that are made. What another
//!   sample needs besides is in `qemu-NAME.args`.
//! - `card.files`, where the board starts from a card: what is on the card's boot partition.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// The board that is meant where none is named.
pub const DEFAULT: &str = "qemu-virt";

/// One board.
pub struct Platform {
    /// Name of its directory.
    pub name: String,
    directory: PathBuf,
}

/// A file of the boot partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFile {
    /// Its name there.
    pub name: String,
    /// Where it is from.
    pub source: CardSource,
}

/// Where a file of the boot partition is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardSource {
    /// The platform's directory.
    Here,
    /// Tessera.
    Image,
    /// The bundle.
    Bundle,
    /// The board's device tree: the firmware's, or else the one of Debian's kernel package.
    DeviceTree,
    /// The firmware; the board does not start without it.
    Firmware,
    /// The firmware, if that has it.
    Optional,
    /// The firmware, if that has it and a device tree for it to change.
    Overlay,
}

impl CardSource {
    const WORDS: [(&str, CardSource); 7] = [
        ("here", CardSource::Here),
        ("image", CardSource::Image),
        ("bundle", CardSource::Bundle),
        ("device-tree", CardSource::DeviceTree),
        ("firmware", CardSource::Firmware),
        ("optional", CardSource::Optional),
        ("overlay", CardSource::Overlay),
    ];
}

impl Platform {
    /// The board called `name`.
    pub fn find(workspace: &Workspace, name: &str) -> Result<Self> {
        let all = Self::all(workspace);
        let names: Vec<&str> = all.iter().map(|platform| platform.name.as_str()).collect();
        let names = names.join(", ");
        all.into_iter()
            .find(|platform| platform.name == name)
            .with_context(|| format!("there is no platform `{name}`; there are {names}"))
    }

    /// Every board: each directory with a sample configuration, sorted.
    pub fn all(workspace: &Workspace) -> Vec<Self> {
        let entries = workspace.path("platforms").read_dir().into_iter().flatten().flatten();
        let platform = |entry: DirEntry| Platform {
            name: entry.file_name().to_string_lossy().into_owned(),
            directory: entry.path(),
        };
        let mut all: Vec<Platform> =
            entries.map(platform).filter(|platform| platform.config().is_file()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Its sample configuration.
    pub fn config(&self) -> PathBuf {
        self.path("tessera.dts")
    }

    /// Names of its other samples, sorted.
    pub fn samples(&self) -> Vec<String> {
        let entries = self.directory.read_dir().into_iter().flatten().flatten();
        let name = |entry: DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            Some(file.strip_prefix("tessera-")?.strip_suffix(".dts")?.to_string())
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        names
    }

    /// The configuration of another sample.
    pub fn sample(&self, name: &str) -> PathBuf {
        self.path(&format!("tessera-{name}.dts"))
    }

    /// What QEMU is given for another sample, besides [`Platform::qemu_arguments`].
    pub fn sample_arguments(&self, name: &str) -> Result<Vec<String>> {
        let path = self.path(&format!("qemu-{name}.args"));
        if path.is_file() { Ok(parse_arguments(&read(&path)?, &[])) } else { Ok(Vec::new()) }
    }

    /// How QEMU is started, with the files `names` in the places of their names in braces.
    pub fn qemu_arguments(&self, names: &[(&str, &Path)]) -> Result<Vec<String>> {
        Ok(parse_arguments(&read(&self.path("qemu.args"))?, names))
    }

    /// What is on the card's boot partition; `None` if the board starts from no card.
    pub fn card_files(&self) -> Result<Option<Vec<CardFile>>> {
        let path = self.path("card.files");
        if !path.is_file() {
            return Ok(None);
        }
        parse_card_files(&read(&path)?).map(Some).with_context(|| path.display().to_string())
    }

    /// The file name of the board's device tree, if it has to be brought.
    pub fn device_tree(&self) -> Result<Option<String>> {
        let files = self.card_files()?.unwrap_or_default();
        let found = files.into_iter().find(|file| file.source == CardSource::DeviceTree);
        Ok(found.map(|file| file.name))
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The lines that say something; `#` starts a comment.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// One option and its value a line.
fn parse_arguments(text: &str, names: &[(&str, &Path)]) -> Vec<String> {
    lines(text)
        .flat_map(|line| line.splitn(2, char::is_whitespace))
        .map(|word| {
            names.iter().fold(word.trim().to_string(), |word, (name, path)| {
                word.replace(name, &path.display().to_string())
            })
        })
        .collect()
}

/// One name and its source a line.
fn parse_card_files(text: &str) -> Result<Vec<CardFile>> {
    let parse = |line: &str| {
        let (name, word) = line.split_once(char::is_whitespace)?;
        let (_, source) = CardSource::WORDS.into_iter().find(|(known, _)| *known == word.trim())?;
        Some(CardFile { name: name.into(), source })
    };
    lines(text)
        .map(|line| {
            let words = CardSource::WORDS.map(|(word, _)| word).join(", ");
            parse(line).with_context(|| format!("`{line}` is not a name and one of {words}"))
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

    #[test]
    fn a_platform_that_is_not_there_is_answered_with_those_that_are() {
        let workspace = Workspace::find().unwrap();
        let error = Platform::find(&workspace, "toaster").err().unwrap().to_string();
        assert_eq!(error, "there is no platform `toaster`; there are qemu-virt, rpi4");
        assert_eq!(Platform::find(&workspace, "rpi4").unwrap().name, "rpi4");
    }

    #[test]
    fn another_sample_is_a_configuration_of_its_own_and_says_what_qemu_needs_for_it() {
        let workspace = Workspace::find().unwrap();
        let platform = Platform::find(&workspace, "qemu-virt").unwrap();
        assert_eq!(platform.samples(), ["32"]);
        assert!(platform.sample("32").is_file());
        assert_eq!(platform.sample_arguments("32").unwrap(), ["-m", "4G"]);
        assert_eq!(platform.sample_arguments("none").unwrap(), [""; 0]);
    }

    #[test]
    fn every_platform_can_be_read() {
        let workspace = Workspace::find().unwrap();
        for platform in Platform::all(&workspace) {
            let name = &platform.name;
            assert!(!platform.qemu_arguments(&[]).unwrap().is_empty(), "{name}");
            let files = platform.card_files().unwrap().unwrap_or_default();
            for file in files.iter().filter(|file| file.source == CardSource::Here) {
                assert!(platform.path(&file.name).is_file(), "{name} has no {}", file.name);
            }
        }
    }

    #[test]
    fn a_card_file_is_a_name_and_a_source() {
        let files = parse_card_files("# c\nconfig.txt  here\noverlays/a.dtbo overlay\n").unwrap();
        let file = |name: &str, source| CardFile { name: name.into(), source };
        let wanted =
            [file("config.txt", CardSource::Here), file("overlays/a.dtbo", CardSource::Overlay)];
        assert_eq!(files, wanted);
        let error = parse_card_files("start4.elf magic").unwrap_err().to_string();
        assert!(
            error.contains("`start4.elf magic` is not a name and one of here, image"),
            "{error}"
        );
        assert!(parse_card_files("alone").is_err());
    }
}
