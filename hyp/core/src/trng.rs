//! Random numbers for guests (DEN 0098): a deterministic generator over SHA-256 with fast key erasure.
//!
//! The board gives one seed: the device tree's `rng-seed`, or what the core's own generator (RNDR) says. From it each
//! guest gets a stream of its own; none can be computed from another. After every answer the key is replaced by a hash
//! of itself, so that who reads memory later learns nothing about numbers handed out before. Without a seed there is
//! no generator at all, and the guest is told NOT_SUPPORTED: numbers that can be guessed are worse than none.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::addr::VmId;
use crate::smccc::GeneralRegisters;

/// Fewest bytes of a seed: 128 bits.
pub const LEAST_SEED: usize = 16;

type Key = [u8; 32];

/// What a hash is for, so that no output of one use is ever a key of another.
mod purpose {
    pub const SEED: u8 = 0;
    pub const NEXT_KEY: u8 = 1;
    pub const OUTPUT: u8 = 2;
    pub const STREAM: u8 = 3;
    pub const MIX: u8 = 4;
}

#[inline(never)]
fn hash(purpose: u8, key: &Key, data: &[u8]) -> Key {
    let mut hasher = Sha256::new();
    hasher.update([purpose]);
    hasher.update(key);
    hasher.update(data);
    hasher.finalize().into()
}

/// A generator: the board's own, or one guest's.
pub struct Stream {
    key: Key,
}

impl Stream {
    /// The board's generator, or `None` where the seed is too short or obviously none (all bytes alike).
    pub fn from_seed(seed: &[u8]) -> Option<Self> {
        let first = seed.first()?;
        if seed.len() < LEAST_SEED || seed.iter().all(|byte| byte == first) {
            return None;
        }
        Some(Self { key: hash(purpose::SEED, &[0; 32], seed) })
    }

    /// Adds more entropy; bad entropy does no harm.
    pub fn mix(&mut self, entropy: &[u8]) {
        self.key = hash(purpose::MIX, &self.key, entropy);
    }

    /// A stream for one life of a guest: another each time, even for the same guest.
    pub fn for_guest(&mut self, vm: VmId) -> Self {
        let key = hash(purpose::STREAM, &self.key, &[vm.0]);
        self.erase();
        Self { key }
    }

    /// The next 256 bits.
    pub fn block(&mut self) -> [u8; 32] {
        let output = hash(purpose::OUTPUT, &self.key, &[]);
        self.erase();
        output
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = self.block();
            chunk.copy_from_slice(block.get(..chunk.len()).unwrap_or_default());
        }
    }

    fn erase(&mut self) {
        self.key = hash(purpose::NEXT_KEY, &self.key, &[]);
    }

    /// Answers TRNG_RND (DEN 0098 2.4): status in x0, `bits` random bits in x3, x2, x1 from the lowest, the rest zero.
    pub fn answer(&mut self, regs: &mut GeneralRegisters, bits: u8, wide: bool) {
        let block = self.block();
        let size = if wide { 64 } else { 32 };
        let word = |n: usize| {
            let bytes = block.get(8 * n..8 * n + 8).and_then(|b| b.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let take = |n: usize| {
            let wanted = u32::from(bits).saturating_sub(size * n as u32).min(size);
            // A shift by all 64 bits would be undefined, and means that nothing is wanted.
            word(n) & u64::MAX.checked_shr(64 - wanted).unwrap_or(0)
        };
        regs[0] = 0;
        regs[1] = take(2);
        regs[2] = take(1);
        regs[3] = take(0);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key never reaches a log.
        f.write_str("Stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Stream {
        Stream::from_seed(b"sixteen bytes and some more").unwrap()
    }

    #[test]
    fn a_seed_must_be_long_and_not_blank() {
        assert!(Stream::from_seed(&[]).is_none());
        assert!(Stream::from_seed(b"fifteen bytes!!").is_none());
        assert!(Stream::from_seed(&[0; 64]).is_none());
        assert!(Stream::from_seed(&[0xff; 64]).is_none());
        assert!(Stream::from_seed(b"just 16 bytes ok").is_some());
    }

    #[test]
    fn streams_differ_by_guest_and_by_life() {
        let mut board = board();
        let [mut a, mut b, mut c] = [0, 1, 0].map(|vm| board.for_guest(VmId(vm)));
        let (a, b, c) = (a.block(), b.block(), c.block());
        assert!(a != b && a != c && b != c);
        assert_ne!(board.block(), board.block());
    }

    #[test]
    fn the_same_seed_gives_the_same_stream_until_something_is_mixed_in() {
        let (mut a, mut b) = (board(), board());
        assert_eq!(a.block(), b.block());
        b.mix(b"x");
        assert_ne!(a.block(), b.block());
    }

    #[test]
    fn an_answer_has_as_many_bits_as_were_asked_for() {
        let mut stream = board();
        for wide in [false, true] {
            let size: u32 = if wide { 64 } else { 32 };
            for bits in 1..=(3 * size as u8) {
                let mut seen = [0u64; 3];
                for _ in 0..40 {
                    let mut regs = [7; 31];
                    stream.answer(&mut regs, bits, wide);
                    assert_eq!((regs[0], regs[4]), (0, 7));
                    seen = [seen[0] | regs[3], seen[1] | regs[2], seen[2] | regs[1]];
                }
                let width: u32 = seen.iter().map(|w| w.count_ones()).sum();
                assert_eq!(width, u32::from(bits));
                assert!(seen.iter().all(|w| wide || w >> 32 == 0));
                assert!(seen[0] != 0);
            }
        }
    }

    #[test]
    fn bits_are_about_half_ones() {
        let mut bytes = [0; 100_001];
        board().fill(&mut bytes);
        let ones: u32 = bytes.iter().map(|b| b.count_ones()).sum();
        assert!((395_000..405_000).contains(&ones), "{ones}");
    }
}
