//! Kernels: the arm64 `Image` header, gzip around it, and where a guest's parts go in its memory.
//!
//! Problem: a kernel comes plain or packed, of a kind that may not run here, perhaps cut short, and must be in a guest's
//! memory without a second copy of it anywhere. Idea: [`Kernel::open`] looks at the first bytes only, unpacked where
//! need be, so that all that can be refused is refused before memory is taken; [`Kernel::content`] then streams the
//! content through the 32 KiB window that DEFLATE needs anyway, a piece whenever its core has time. How long a file should be is told by its PE header,
//! which Linux kernels carry for EFI; the `Image` header alone counts the zeroed part behind the file too.
//!
//! Sources: Linux `Documentation/arch/arm64/booting.rst`, RFC 1952 (gzip), the PE format's section table.

mod gzip;
mod place;
#[cfg(test)]
mod tests;

use core::fmt;

use gzip::Inflater;
pub use place::{Placement, place};

/// Bytes of the `Image` header (booting.rst, "Call the kernel image").
pub const HEADER_BYTES: usize = 64;
/// `magic` of the header: "ARM\x64".
const MAGIC: &[u8; 4] = b"ARM\x64";
/// Where kernels older than 3.17, whose `image_size` is 0, want to be (booting.rst).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// How much of a kernel is looked at before it is unpacked: enough for the PE section table of all Linux kernels.
const HEAD_BYTES: usize = 1024;

/// Why bytes are not a kernel that a guest can start from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Another kind of file; the text says which, as far as that can be told.
    NotArm64(&'static str),
    /// The file ends before its own header says that it does.
    Truncated {
        /// Bytes that the file should have.
        promised: u64,
        /// Bytes that it has.
        present: u64,
    },
    /// The gzip stream ends early.
    GzipTruncated,
    /// The gzip stream is damaged.
    GzipCorrupt,
    /// The unpacked kernel does not have the CRC or the length that gzip noted.
    GzipChecksum,
    /// The content is larger than what there is room for.
    TooLarge {
        /// Bytes there is room for.
        limit: u64,
    },
    /// The guest's memory cannot hold the kernel, the ramdisk and the device tree.
    NoRoom {
        /// Bytes of memory that would do.
        need: u64,
        /// Bytes of memory that the guest has.
        have: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::NotArm64(what) => {
                write!(f, "{what}, not an arm64 kernel `Image`, plain or packed with gzip")
            }
            Self::Truncated { promised, present } => {
                write!(f, "truncated: {present} of {promised} bytes are there; fetch it again")
            }
            Self::GzipTruncated => f.write_str("its gzip stream is truncated; fetch it again"),
            Self::GzipCorrupt => f.write_str("its gzip stream is damaged; fetch it again"),
            Self::GzipChecksum => {
                f.write_str("its content is not what gzip noted the checksum of; fetch it again")
            }
            Self::TooLarge { limit } => write!(f, "it is larger than the {limit} bytes it has"),
            Self::NoRoom { need, have } => write!(
                f,
                "kernel, ramdisk and device tree need {} MiB of memory, and `memory` gives {} MiB",
                need.div_ceil(MIB),
                have / MIB
            ),
        }
    }
}

impl core::error::Error for ImageError {}

/// The header of an arm64 `Image` (booting.rst).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes from a 2 MiB boundary to the first byte of the image.
    pub text_offset: u64,
    /// Bytes of memory from there on that the kernel takes before it reads its device tree; 0 where not told.
    pub image_size: u64,
    /// Endianness in bit 0, page size in bits 2:1, "anywhere in memory" in bit 3.
    pub flags: u64,
}

impl Header {
    /// Reads the header at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.get(56..60) != Some(MAGIC) {
            return Err(ImageError::NotArm64(guess(bytes)));
        }
        if bytes.len() < HEADER_BYTES {
            let (promised, present) = (HEADER_BYTES as u64, bytes.len() as u64);
            return Err(ImageError::Truncated { promised, present });
        }
        let field = |at| le64(bytes, at).unwrap_or(0);
        let (text_offset, image_size, flags) = (field(8), field(16), field(24));
        if image_size == 0 {
            return Ok(Self { text_offset: OLD_TEXT_OFFSET, image_size, flags });
        }
        Ok(Self { text_offset, image_size, flags })
    }
}

/// A kernel that looks good from outside.
#[derive(Clone, Copy)]
pub struct Kernel<'a> {
    /// Its `Image` header.
    pub header: Header,
    data: &'a [u8],
    packed: bool,
    /// Bytes that the content must have, as far as it tells.
    extent: u64,
}

impl<'a> Kernel<'a> {
    /// Looks at the head of a kernel file.
    pub fn open(data: &'a [u8]) -> Result<Self, ImageError> {
        let packed = gzip::is_gzip(data);
        let mut buffer = [0; HEAD_BYTES];
        let head = if packed {
            let filled = unpacked_head(data, &mut buffer)?;
            buffer.get(..filled).unwrap_or(&[])
        } else {
            data.get(..HEAD_BYTES).unwrap_or(data)
        };
        let header = Header::parse(head)?;
        let kernel = Self { header, data, packed, extent: extent(head) };
        kernel.check_extent(kernel.content_bytes())?;
        Ok(kernel)
    }

    /// Bytes of the content: of the file, or what gzip says that it unpacks to ([`Kernel::unpack`] checks that).
    pub fn content_bytes(&self) -> u64 {
        if self.packed { gzip::claimed_bytes(self.data) } else { self.data.len() as u64 }
    }

    /// Bytes of guest memory to leave to the kernel from where it is put.
    pub fn memory_bytes(&self) -> u64 {
        self.content_bytes().max(self.header.image_size)
    }

    /// Whether the file is a gzip stream.
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// The bytes to copy where nothing needs unpacking: no [`Kernel::unpack`], and several cores can copy.
    pub fn plain(&self) -> Option<&'a [u8]> {
        (!self.packed).then_some(self.data)
    }

    /// Gives the content to `sink` piece by piece, never more than `limit` bytes, and says how long it was. After an
    /// error what `sink` got is of no use.
    pub fn unpack(&self, limit: u64, mut sink: impl FnMut(&[u8])) -> Result<u64, ImageError> {
        let mut content = self.content(limit)?;
        while let Some(piece) = content.piece(usize::MAX)? {
            sink(piece);
        }
        Ok(content.given)
    }

    /// As [`Kernel::unpack`], for who takes one piece at a time.
    pub fn content(&self, limit: u64) -> Result<Content<'a>, ImageError> {
        if !self.packed && self.data.len() as u64 > limit {
            return Err(ImageError::TooLarge { limit });
        }
        let stream = self.packed.then(|| Inflater::new(self.data, limit)).transpose()?;
        Ok(Content { kernel: *self, given: 0, stream })
    }

    fn check_extent(&self, present: u64) -> Result<(), ImageError> {
        if present >= self.extent {
            return Ok(());
        }
        Err(ImageError::Truncated { promised: self.extent, present })
    }
}

/// What is in a kernel file, on its way out of it.
pub struct Content<'a> {
    kernel: Kernel<'a>,
    /// Bytes that were given.
    given: u64,
    /// The packed ones come through this.
    stream: Option<Inflater<'a>>,
}

impl Content<'_> {
    /// The next piece: no more than `most` bytes of a plain kernel, and of a packed one no more than a window of 32 KiB.
    /// `None` behind the last, if all is there. After an error what was given is of no use.
    pub fn piece(&mut self, most: usize) -> Result<Option<&[u8]>, ImageError> {
        let piece = match &mut self.stream {
            Some(stream) => stream.piece()?,
            None => {
                let rest = self.kernel.data.get(self.given as usize..).unwrap_or(&[]);
                rest.get(..rest.len().min(most)).filter(|piece| !piece.is_empty())
            }
        };
        match piece {
            Some(piece) => self.given += piece.len() as u64,
            None => self.kernel.check_extent(self.given)?,
        }
        Ok(piece)
    }
}

/// The first bytes of the content; how many there are.
fn unpacked_head(data: &[u8], head: &mut [u8; HEAD_BYTES]) -> Result<usize, ImageError> {
    let mut stream = Inflater::new(data, u64::MAX)?;
    let mut filled = 0;
    while filled < HEAD_BYTES
        && let Some(piece) = stream.piece()?
    {
        let room = head.get_mut(filled..).unwrap_or_default();
        let len = room.len().min(piece.len());
        if let (Some(to), Some(from)) = (room.get_mut(..len), piece.get(..len)) {
            to.copy_from_slice(from);
        }
        filled += len;
    }
    Ok(filled)
}

/// Where the last section ends in the file, by the PE header; 0 where there is none.
fn extent(head: &[u8]) -> u64 {
    /// `e_lfanew` of the DOS header: where the PE header is.
    const PE_OFFSET: usize = 0x3c;
    /// Bytes of signature and COFF header before the optional header.
    const COFF_BYTES: usize = 24;
    /// Bytes of an entry of the section table.
    const SECTION_BYTES: usize = 40;
    let table = || {
        let pe = le32(head, PE_OFFSET).filter(|_| head.starts_with(b"MZ"))? as usize;
        let coff = head.get(pe..).filter(|coff| coff.starts_with(b"PE\0\0"))?;
        let (sections, optional) = (le16(coff, 6)?, le16(coff, 20)?);
        let table = coff.get(COFF_BYTES + usize::from(optional)..)?;
        Some(table.chunks_exact(SECTION_BYTES).take(sections.into()))
    };
    // SizeOfRawData and PointerToRawData of each section.
    let end = |section| Some(u64::from(le32(section, 16)?) + u64::from(le32(section, 20)?));
    table().into_iter().flatten().filter_map(end).max().unwrap_or(0)
}

/// What a file is that is no arm64 kernel.
fn guess(bytes: &[u8]) -> &'static str {
    let has = |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|tail| tail.starts_with(magic));
    match bytes {
        [] => "an empty file",
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file (`objcopy -O binary` makes an image of it)",
        _ if has(0x202, b"HdrS") => "an x86 kernel (bzImage)",
        _ if has(0x24, &0x016f_2818_u32.to_le_bytes()) => "a 32-bit Arm kernel (zImage)",
        _ if has(4, b"zimg") => "an EFI zboot kernel (unpack the kernel in it first)",
        _ if has(0, &[0xd0, 0x0d, 0xfe, 0xed]) => "a device tree or FIT",
        _ if has(0, b"0707") => "a ramdisk (cpio)",
        _ if has(0, &[0x28, 0xb5, 0x2f, 0xfd]) => "a file packed with zstd",
        _ if has(0, &[0xfd, b'7', b'z', b'X', b'Z']) => "a file packed with xz",
        _ => "an unknown kind of file",
    }
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
