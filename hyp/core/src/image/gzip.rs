//! gzip (RFC 1952): the header by hand, DEFLATE by miniz_oxide through its window, the checksum of the content.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::ControlFlow;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::{ImageError, le32};

/// Largest distance that DEFLATE refers back over (RFC 1951, 2): what must be kept of the content.
const WINDOW_BYTES: usize = 32 * 1024;
/// ID1, ID2 and the only compression method (RFC 1952, 2.3.1).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Bytes of the fixed header and of CRC32 and ISIZE behind the stream.
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

/// FLG (RFC 1952, 2.3.1).
mod flag {
    pub const HCRC: u8 = 1 << 1;
    pub const EXTRA: u8 = 1 << 2;
    pub const NAME: u8 = 1 << 3;
    pub const COMMENT: u8 = 1 << 4;
    pub const RESERVED: u8 = 0xe0;
}

pub(super) fn is_gzip(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// ISIZE: the length of the content modulo 2^32, as the last bytes claim.
pub(super) fn claimed_bytes(data: &[u8]) -> u64 {
    data.len().checked_sub(4).and_then(|at| le32(data, at)).unwrap_or(0).into()
}

/// Gives the content to `sink` until it breaks off or the stream ends; then checks length and CRC. Returns how many bytes
/// were given. Bytes behind the stream are ignored.
pub(super) fn inflate(
    data: &[u8],
    limit: u64,
    mut sink: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<u64, ImageError> {
    let mut input = data.get(stream_start(data)?..).unwrap_or(&[]);
    let mut window = vec![0; WINDOW_BYTES];
    let mut state = Box::<DecompressorOxide>::default();
    let (mut position, mut total, mut crc) = (0, 0, Crc32::new());
    loop {
        let (status, used, made) = decompress(&mut state, input, &mut window, position, 0);
        input = input.get(used..).unwrap_or(&[]);
        let piece = window.get(position..position + made).unwrap_or(&[]);
        position = (position + made) % WINDOW_BYTES;
        total += piece.len() as u64;
        if total > limit {
            return Err(ImageError::TooLarge { limit });
        }
        crc.update(piece);
        if sink(piece).is_break() {
            return Ok(total);
        }
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput if used + made > 0 => {}
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(ImageError::GzipTruncated);
            }
            _ => return Err(ImageError::GzipCorrupt),
        }
    }
    let trailer = input.get(..TRAILER_BYTES).ok_or(ImageError::GzipTruncated)?;
    let noted = (le32(trailer, 0), le32(trailer, 4));
    if noted != (Some(crc.finish()), Some(total as u32)) {
        return Err(ImageError::GzipChecksum);
    }
    Ok(total)
}

/// Where the DEFLATE stream begins, behind the header and its optional fields.
fn stream_start(data: &[u8]) -> Result<usize, ImageError> {
    let flags = *data.get(3).ok_or(ImageError::GzipTruncated)?;
    if flags & flag::RESERVED != 0 {
        return Err(ImageError::GzipCorrupt);
    }
    let mut at = HEADER_BYTES;
    if flags & flag::EXTRA != 0 {
        at += 2 + usize::from(super::le16(data, at).ok_or(ImageError::GzipTruncated)?);
    }
    for text in [flag::NAME, flag::COMMENT] {
        if flags & text != 0 {
            let tail = data.get(at..).ok_or(ImageError::GzipTruncated)?;
            at += 1 + tail.iter().position(|&byte| byte == 0).ok_or(ImageError::GzipTruncated)?;
        }
    }
    if flags & flag::HCRC != 0 {
        at += 2;
    }
    if at > data.len() { Err(ImageError::GzipTruncated) } else { Ok(at) }
}

/// CRC-32 of gzip (RFC 1952, 8), four bytes a step.
struct Crc32(u32);

/// `TABLES[n][b]`: the effect of byte `b` with `n` bytes behind it in the step.
static TABLES: [[u32; 256]; 4] = tables();

const fn tables() -> [[u32; 256]; 4] {
    /// The polynomial, lowest power in bit 31.
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bits = 0;
        while bits < 32 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bits += 1;
            if bits % 8 == 0 {
                tables[bits / 8 - 1][byte] = crc;
            }
        }
        byte += 1;
    }
    tables
}

impl Crc32 {
    fn new() -> Self {
        Self(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        let (steps, rest) = bytes.as_chunks::<4>();
        for step in steps {
            let [a, b, c, d] = (self.0 ^ u32::from_le_bytes(*step)).to_le_bytes().map(usize::from);
            self.0 = TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d];
        }
        for byte in rest {
            let index = (self.0 ^ u32::from(*byte)) & 0xff;
            self.0 = self.0 >> 8 ^ TABLES[0][index as usize];
        }
    }

    fn finish(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_the_catalogue() {
        let mut crc = Crc32::new();
        crc.update(b"12345");
        crc.update(b"6789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }
}
