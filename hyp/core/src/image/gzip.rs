//! gzip (RFC 1952): the header by hand, DEFLATE by miniz_oxide through its window, the checksum of the content.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::{ImageError, le32};
use crate::disk::crc32;

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

/// The content of a gzip stream, unpacked a piece at a time.
pub(super) struct Inflater<'a> {
    input: &'a [u8],
    window: Vec<u8>,
    state: Box<DecompressorOxide>,
    /// Where in the window the next piece begins.
    position: usize,
    total: u64,
    limit: u64,
    crc: Crc32,
    /// How the stream ended, once it has.
    end: Option<Result<(), ImageError>>,
}

impl<'a> Inflater<'a> {
    /// Of at most `limit` bytes of content.
    pub fn new(data: &'a [u8], limit: u64) -> Result<Self, ImageError> {
        Ok(Self {
            input: data.get(stream_start(data)?..).unwrap_or(&[]),
            window: vec![0; WINDOW_BYTES],
            state: Box::default(),
            position: 0,
            total: 0,
            limit,
            crc: Crc32::new(),
            end: None,
        })
    }

    /// The next of the content, at most a window of it; `None` behind its end, if its length and CRC are right. Bytes behind
    /// the stream are ignored.
    pub fn piece(&mut self) -> Result<Option<&[u8]>, ImageError> {
        if let Some(end) = self.end {
            return end.and_then(|()| self.check()).map(|()| None);
        }
        let at = self.position;
        let (status, used, made) = decompress(&mut self.state, self.input, &mut self.window, at, 0);
        self.input = self.input.get(used..).unwrap_or(&[]);
        self.end = match status {
            TINFLStatus::Done => Some(Ok(())),
            TINFLStatus::HasMoreOutput if used + made > 0 => None,
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                Some(Err(ImageError::GzipTruncated))
            }
            _ => Some(Err(ImageError::GzipCorrupt)),
        };
        let piece = self.window.get(at..at + made).unwrap_or(&[]);
        self.position = (at + made) % WINDOW_BYTES;
        self.total += piece.len() as u64;
        if self.total > self.limit {
            return Err(ImageError::TooLarge { limit: self.limit });
        }
        self.crc.update(piece);
        Ok(Some(piece))
    }

    /// Whether what gzip noted behind the stream is true of what was unpacked.
    fn check(&self) -> Result<(), ImageError> {
        let trailer = self.input.get(..TRAILER_BYTES).ok_or(ImageError::GzipTruncated)?;
        let noted = (le32(trailer, 0), le32(trailer, 4));
        if noted == (Some(self.crc.finish()), Some(self.total as u32)) {
            return Ok(());
        }
        Err(ImageError::GzipChecksum)
    }
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
struct Crc32 {
    state: u32,
    tables: Box<Tables>,
}

/// `[n][b]`: the effect of byte `b` with `n` bytes behind it in the step. Made when they are needed, of the one in the image.
type Tables = [[u32; 256]; 4];

impl Crc32 {
    fn new() -> Self {
        let mut tables = Box::new([[0; 256]; 4]);
        let mut behind: [u32; 256] = core::array::from_fn(|byte| byte as u32);
        for table in tables.iter_mut() {
            behind = behind.map(|crc| crc32::update(crc, &[0]));
            *table = behind;
        }
        Self { state: !0, tables }
    }

    fn update(&mut self, bytes: &[u8]) {
        let (steps, rest) = bytes.as_chunks::<4>();
        for step in steps {
            let [a, b, c, d] =
                (self.state ^ u32::from_le_bytes(*step)).to_le_bytes().map(usize::from);
            self.state =
                self.tables[3][a] ^ self.tables[2][b] ^ self.tables[1][c] ^ self.tables[0][d];
        }
        self.state = crc32::update(self.state, rest);
    }

    fn finish(&self) -> u32 {
        !self.state
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
