//! From the linker's ELF file to the flat image that a boot loader copies to memory.
//!
//! Every loader that starts Linux takes a raw `Image`: the loadable segments laid out by their physical addresses, with
//! zeroes between and no BSS at the end (the header's `image_size` tells the loader about that). Doing it here
//! spares the user an `objcopy`.

use anyhow::{Context, Result, ensure};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// More than this is a linker script gone wrong, not an image.
const LARGEST: u64 = 64 << 20;

/// The loadable segments of an ELF file as one piece of memory.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(file).context("not a 64-bit ELF file")?;
    let endian = header.endian().context("unknown byte order")?;
    ensure!(header.e_machine(endian) == elf::EM_AARCH64, "not an arm64 ELF file");
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, file).context("bad program headers")? {
        let data = segment.data(endian, file).map_err(|()| {
            anyhow::anyhow!("a segment's bytes lie outside the file: the file is cut short")
        })?;
        if segment.p_type(endian) == PT_LOAD && !data.is_empty() {
            segments.push((segment.p_paddr(endian), data));
        }
    }
    let start = segments.iter().map(|(at, _)| *at).min().context("no loadable segment")?;
    let mut image = Vec::new();
    for (at, data) in segments {
        let offset = at - start;
        let end = offset.saturating_add(data.len() as u64);
        ensure!(end <= LARGEST, "segments from {start:#x} to {at:#x}: too far apart for an image");
        let (offset, end) = (offset as usize, end as usize);
        if image.len() < end {
            image.resize(end, 0);
        }
        image[offset..end].copy_from_slice(data);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arm64 ELF file with the given (physical address, bytes, size in memory).
    fn elf_file(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = vec![0u8; 64 + 56 * segments.len()];
        file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        file[16..18].copy_from_slice(&2u16.to_le_bytes());
        file[18..20].copy_from_slice(&183u16.to_le_bytes());
        file[20..24].copy_from_slice(&1u32.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[52..54].copy_from_slice(&64u16.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (index, (paddr, data, memsz)) in segments.iter().enumerate() {
            let offset = file.len() as u64;
            let words = [offset, 0xffff_0000_0000, *paddr, data.len() as u64, *memsz, 0x1000];
            let header = 64 + 56 * index;
            file[header..header + 4].copy_from_slice(&1u32.to_le_bytes());
            for (word, value) in words.iter().enumerate() {
                let at = header + 8 + 8 * word;
                file[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            file.extend_from_slice(data);
        }
        file
    }

    #[test]
    fn segments_lie_at_their_physical_addresses_and_bss_is_left_out() {
        let file = elf_file(&[(0x1008, b"data", 0x100), (0x1000, b"code", 4), (0x2000, b"", 64)]);
        assert_eq!(flatten(&file).unwrap(), b"code\0\0\0\0data");
    }

    #[test]
    fn a_file_cut_short_at_any_byte_is_an_error() {
        let file = elf_file(&[(0x1000, b"code", 4)]);
        for length in 0..file.len() {
            assert!(flatten(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn segments_far_apart_are_an_error() {
        let file = elf_file(&[(0x1000, b"a", 1), (u64::MAX, b"b", 1)]);
        assert!(flatten(&file).unwrap_err().to_string().contains("too far apart"));
    }
}
