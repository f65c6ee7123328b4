//! CRC-32 as GPT uses it (UEFI 2.10 5.3.2: CCITT32, reflected polynomial 0xedb88320).
//!
//! A partition table is 16 KiB, nearly all of it zeroes, and is checked on the way to the first guest. So: a byte a step by
//! a table, and a whole sector of zeroes in one step, since what zeroes do to a CRC is a linear map of it. Four tables
//! for four bytes a step would be 3 KiB more of the image, for a few sectors.

use super::{SECTOR_SIZE, Sector};

/// The CRC of the first `len` bytes of sectors.
pub(crate) fn crc32(sectors: &[Sector], len: usize) -> u32 {
    let mut crc = !0;
    let mut left = len;
    for sector in sectors {
        crc = match sector.0.get(..left) {
            Some(part) => return !update(crc, part),
            None if is_zero(sector) => skip_sector(crc),
            None => update(crc, &sector.0),
        };
        left -= sector.0.len();
    }
    !crc
}

#[inline]
pub(super) fn is_zero(sector: &Sector) -> bool {
    // 64 bytes a step, spelled out: where code is to be small, the compiler unrolls nothing.
    let word = |bytes: &[u8; 16]| u128::from_le_bytes(*bytes);
    let (blocks, _) = sector.0.as_chunks::<64>();
    blocks.iter().all(|block| match block.as_chunks::<16>().0 {
        [a, b, c, d] => word(a) | word(b) | word(c) | word(d) == 0,
        _ => false,
    })
}

/// Goes on from a raw state.
pub(crate) fn update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &byte| step(crc, byte))
}

#[inline]
const fn step(crc: u32, byte: u8) -> u32 {
    crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize]
}

/// A sector of zeroes: the map of each nibble of the state, together.
#[inline]
fn skip_sector(crc: u32) -> u32 {
    SKIP.iter().enumerate().fold(0, |sum, (i, map)| sum ^ map[(crc >> (4 * i) & 15) as usize])
}

/// The CRC of each byte, from a state of 0.
static TABLE: [u32; 256] = table();
/// `SKIP[i][v]`: what a sector of zeroes makes of a state with only nibble `i` set, to `v`.
static SKIP: [[u32; 16]; 8] = skips();

const fn table() -> [u32; 256] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[b] = crc;
        b += 1;
    }
    table
}

const fn skips() -> [[u32; 16]; 8] {
    let table = table();
    let mut maps = [[0; 16]; 8];
    let mut i = 0;
    while i < 8 {
        let mut v = 0;
        while v < 16 {
            let mut crc = (v as u32) << (4 * i);
            let mut n = 0;
            while n < SECTOR_SIZE {
                crc = crc >> 8 ^ table[(crc & 0xff) as usize];
                n += 1;
            }
            maps[i][v] = crc;
            v += 1;
        }
        i += 1;
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(!update(!0, b"123456789"), 0xcbf4_3926);
        let mut sector = Sector::default();
        sector.0[..9].copy_from_slice(b"123456789");
        assert_eq!(crc32(&[sector], 9), 0xcbf4_3926);
        assert_eq!(crc32(&[], 0), 0);
    }

    #[test]
    fn sectors_of_zeroes_give_the_same_as_byte_after_byte() {
        let mut sectors = [Sector::default(); 4];
        for at in [None, Some(3), Some(512), Some(3 * 512 + 511)] {
            if let Some(at) = at {
                sectors[at / 512].0[at % 512] = 0x5a;
            }
            for len in [0, 1, 511, 512, 513, 1500, 2047, 2048] {
                let bytes = sectors.iter().flat_map(|s| s.0).take(len);
                let slow = !bytes.fold(!0, step);
                assert_eq!(crc32(&sectors, len), slow, "{at:?} {len}");
            }
        }
    }
}
