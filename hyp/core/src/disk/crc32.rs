//! CRC-32 as GPT uses it (UEFI 2.10 5.3.2: CCITT32, reflected polynomial 0xedb88320).
//!
//! A partition table is 16 KiB, nearly all of it zeroes, and is checked on the way to the first guest. So: four bytes a
//! step by tables, and a whole block of zeroes in one step, since what zeroes do to a CRC is a linear map of it.

/// Bytes of a block that is skipped in one step where it is zero.
const BLOCK: usize = 512;

/// The CRC of all of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

/// Goes on from a raw state.
pub(super) fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    for block in bytes.chunks(BLOCK) {
        crc = if block.len() == BLOCK && is_zero(block) {
            skip_block(crc)
        } else {
            update_block(crc, block)
        };
    }
    crc
}

#[inline]
fn is_zero(block: &[u8]) -> bool {
    let (words, rest) = block.as_chunks::<8>();
    words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word)) == 0
        && rest.iter().all(|&byte| byte == 0)
}

#[inline]
fn update_block(mut crc: u32, block: &[u8]) -> u32 {
    let (words, rest) = block.as_chunks::<4>();
    for word in words {
        let [a, b, c, d] = (crc ^ u32::from_le_bytes(*word)).to_le_bytes().map(usize::from);
        crc = TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d];
    }
    rest.iter().fold(crc, |crc, &byte| step(crc, byte))
}

#[inline]
const fn step(crc: u32, byte: u8) -> u32 {
    crc >> 8 ^ TABLES[0][(crc as u8 ^ byte) as usize]
}

/// A block of zeroes: the map of each nibble of the state, together.
#[inline]
fn skip_block(crc: u32) -> u32 {
    SKIP.iter().enumerate().fold(0, |sum, (i, map)| sum ^ map[(crc >> (4 * i) & 15) as usize])
}

/// `TABLES[n][b]`: the CRC of byte `b` and `n` zeroes after it, from a state of 0.
static TABLES: [[u32; 256]; 4] = tables();
/// `SKIP[i][v]`: what a block of zeroes makes of a state with only nibble `i` set, to `v`.
static SKIP: [[u32; 16]; 8] = skips();

const fn tables() -> [[u32; 256]; 4] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; 4];
    let mut b = 0;
    while b < 256 {
        let mut crc = b as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][b] = crc;
        b += 1;
    }
    let mut n = 1;
    while n < 4 {
        let mut b = 0;
        while b < 256 {
            let before: u32 = tables[n - 1][b];
            tables[n][b] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            b += 1;
        }
        n += 1;
    }
    tables
}

const fn skips() -> [[u32; 16]; 8] {
    let tables = tables();
    let mut maps = [[0; 16]; 8];
    let mut i = 0;
    while i < 8 {
        let mut v = 0;
        while v < 16 {
            let mut crc = (v as u32) << (4 * i);
            let mut n = 0;
            while n < BLOCK {
                crc = crc >> 8 ^ tables[0][(crc & 0xff) as usize];
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
    use alloc::vec;

    use super::*;

    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn zero_blocks_give_the_same_as_byte_after_byte() {
        let mut bytes = vec![0u8; 4 * BLOCK + 17];
        for at in [None, Some(3), Some(BLOCK), Some(3 * BLOCK + 511), Some(4 * BLOCK + 16)] {
            if let Some(at) = at {
                bytes[at] = 0x5a;
            }
            let slow = !bytes.iter().fold(!0, |crc, &byte| step(crc, byte));
            assert_eq!(crc32(&bytes), slow);
        }
    }
}
