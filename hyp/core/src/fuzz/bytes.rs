//! Bytes as choices, and bytes by chance.

use alloc::vec::Vec;

/// Numbers that look random and are the same each time (SplitMix64), from a seed.
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }
}

/// An input read as a row of choices. Behind its end every choice is 0.
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// From all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether the input has come to its end.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `N` bytes.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (taken, rest) = self.rest.split_at(N.min(self.rest.len()));
        bytes[..taken.len()].copy_from_slice(taken);
        self.rest = rest;
        bytes
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    /// Any 32-bit number.
    pub fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Any 64-bit number.
    pub fn next(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// A number below `end`, from as few bytes as that takes.
    pub fn below(&mut self, end: u64) -> u64 {
        match end {
            0..=1 => 0,
            2..=0x100 => u64::from(self.byte()) % end,
            0x101..=0x1_0000 => u64::from(u16::from_le_bytes(self.take())) % end,
            _ => self.next() % end,
        }
    }

    /// One of `all`, which are some.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Input number `number`: first the seeds; then what becomes of them by changes, and now and then nothing but noise.
pub fn input(number: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(number);
    if let Some(seed) = seeds.get(number as usize) {
        return seed.clone();
    }
    if seeds.is_empty() || number.is_multiple_of(4) {
        let len = 1 + random.below(2000) as usize;
        return random.bytes(len);
    }
    let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
    mutate(&mut random, &mut bytes);
    bytes
}

/// Changes `bytes` here and there: a byte, a bit, a big-endian word, a piece left out, doubled or moved.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(5) {
        if bytes.is_empty() {
            return bytes.extend(random.bytes(16));
        }
        let at = random.below(bytes.len() as u64) as usize;
        let len = 1 + random.below(16.min(bytes.len() - at) as u64) as usize;
        match random.below(16) {
            0..=3 => bytes[at] = random.next() as u8,
            4..=8 => bytes[at] ^= 1 << random.below(8),
            9..=13 => {
                let word = (random.next() as u32 >> random.below(32)).to_be_bytes();
                let piece = bytes[at & !3..].iter_mut();
                piece.zip(word).for_each(|(byte, new)| *byte = new);
            }
            14 => drop(bytes.drain(at..at + len)),
            _ => {
                let piece = bytes[at..at + len].to_vec();
                let to = random.below(bytes.len() as u64 + 1) as usize;
                drop(bytes.splice(to..to, piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn inputs_are_the_seeds_first_and_then_others_each_time_the_same() {
        let seeds = [vec![1, 2, 3], vec![0; 300]];
        assert!((0..2).all(|number| input(number, &seeds) == seeds[number as usize]));
        let all: Vec<_> = (2..100).map(|number| input(number, &seeds)).collect();
        assert!(all.iter().zip(2..).all(|(bytes, number)| *bytes == input(number, &seeds)));
        assert!(all.iter().filter(|bytes| seeds.contains(bytes)).count() < 5);
    }

    #[test]
    fn a_mutation_changes_a_few_bytes() {
        let mut random = Random(1);
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            let before = bytes.len();
            mutate(&mut random, &mut bytes);
            assert!(bytes.len().abs_diff(before) <= 5 * 16);
            bytes.truncate(100);
        }
    }

    #[test]
    fn an_input_is_read_to_its_end_and_then_as_zeros() {
        let mut choices = Choices::new(&[7, 1, 2, 3, 4, 5]);
        assert_eq!((choices.below(1), choices.below(4), choices.below(300)), (0, 3, 0x201 % 300));
        assert_eq!(
            (choices.rest(), choices.next(), choices.is_over()),
            (&[3, 4, 5][..], 0x5_0403, true)
        );
        assert_eq!((choices.byte(), choices.pick(&[9, 8])), (0, 9));
    }
}
