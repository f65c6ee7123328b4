//! Which kernel modules a driver needs, in the order to load them.
//!
//! A Debian kernel package has no `modules.dep`: `depmod` writes it when the package is installed, and this one never
//! is. But each module says what it needs in its own `.modinfo` section (`depends=a,b`), and what is built into the
//! kernel is listed in `modules.builtin`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

/// The modules of one kernel.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Those below `directory` (`lib/modules/VERSION`).
    pub fn open(directory: &Path) -> Result<Self> {
        let list = directory.join("modules.builtin");
        let builtin = std::fs::read_to_string(&list)
            .with_context(|| format!("cannot read {}", list.display()))?
            .lines()
            .map(|line| module_name(Path::new(line)))
            .collect();
        let mut files = BTreeMap::new();
        find(directory, &mut files)?;
        Ok(Modules { files, builtin })
    }

    /// `wanted` and what it needs, each after all that it needs; none that is built in.
    pub fn load_order(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let file = self
            .files
            .get(&name)
            .with_context(|| format!("the kernel package has no module {name}.ko"))?;
        let data =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        for needed in depends(&data).with_context(|| file.display().to_string())? {
            self.visit(&needed, seen, order)?;
        }
        order.push((name, data));
        Ok(())
    }
}

/// Every `.ko` below `directory`, by module name.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            files.insert(module_name(&path), path);
        }
    }
    Ok(())
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn module_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().replace('-', "_")
}

/// What a module says that it needs.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(module).context("not a 64-bit ELF file")?;
    let endian = header.endian().context("unknown byte order")?;
    let sections = header.sections(endian, module).context("bad section headers")?;
    let (_, section) =
        sections.section_by_name(endian, b".modinfo").context("no .modinfo section")?;
    let data = section.data(endian, module).context("bad .modinfo section")?;
    Ok(modinfo_depends(data))
}

fn modinfo_depends(modinfo: &[u8]) -> Vec<String> {
    let values = modinfo.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(b"depends="));
    let text = values.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
    text.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        let modinfo = b"license=GPL\0depends=virtio,virtio_ring\0intree=Y\0";
        assert_eq!(modinfo_depends(modinfo), ["virtio", "virtio_ring"]);
        assert!(modinfo_depends(b"depends=\0").is_empty());
        assert!(modinfo_depends(b"").is_empty());
    }

    #[test]
    fn what_is_no_module_is_an_error() {
        assert!(depends(b"").is_err());
        assert!(depends(b"\x7fELF").is_err());
    }
}
