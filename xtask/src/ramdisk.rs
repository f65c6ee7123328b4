//! The guests' ramdisk: busybox, the devices' drivers and `guests/linux/init`, as the cpio archive that Linux unpacks.

use std::io::Write;

use anyhow::Result;
use cpio::newc::{Builder, ModeFileType, trailer};

/// A ramdisk being made. The same entries make the same bytes.
#[derive(Default)]
pub struct Ramdisk {
    bytes: Vec<u8>,
    inode: u32,
}

impl Ramdisk {
    /// Adds a directory.
    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, ModeFileType::Directory, 0o755, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, permissions: u32, data: &[u8]) -> Result<()> {
        self.entry(name, ModeFileType::Regular, permissions, data)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(name, ModeFileType::Symlink, 0o777, target.as_bytes())
    }

    /// The whole archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.bytes)?)
    }

    fn entry(
        &mut self,
        name: &str,
        kind: ModeFileType,
        permissions: u32,
        data: &[u8],
    ) -> Result<()> {
        self.inode += 1;
        let mut writer = Builder::new(name)
            .ino(self.inode)
            .nlink(1)
            .mode(permissions)
            .set_mode_file_type(kind)
            .write(&mut self.bytes, u32::try_from(data.len())?);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_kind_permissions_and_data() {
        let mut ramdisk = Ramdisk::default();
        ramdisk.directory("bin").unwrap();
        ramdisk.file("init", 0o755, b"hello").unwrap();
        ramdisk.link("bin/sh", "busybox").unwrap();
        let bytes = ramdisk.finish().unwrap();
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_string(), reader.entry().mode());
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut data).unwrap();
            seen.push((name, mode, data));
            rest = reader.finish().unwrap();
        }
        let entry = |name: &str, mode, data: &[u8]| (name.to_string(), mode, data.to_vec());
        assert_eq!(
            seen,
            [
                entry("bin", 0o040_755, b""),
                entry("init", 0o100_755, b"hello"),
                entry("bin/sh", 0o120_777, b"busybox"),
            ]
        );
    }
}
