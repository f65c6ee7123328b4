//! Chance, the same in each run as far as a busy host lets it be, and how much of it.
//!
//! `TESSERA_SEED` is another seed for all tests that leave something to chance. `TESSERA_TIMES` makes tests that repeat
//! something do so that many times as often: 10 is for a night, 1 for every day.

use std::time::Duration;

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Those of this run.
    pub fn new() -> Self {
        Self(variable("TESSERA_SEED").unwrap_or(0x7e55_e4a0_c07d_0ff5))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A time below so many milliseconds.
    pub fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

/// How often to do what is done `usually` so often.
pub fn times(usually: u64) -> u64 {
    usually * variable("TESSERA_TIMES").unwrap_or(1)
}

/// # Panics
///
/// The variable is no number.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_the_same_numbers_and_all_of_them_come() {
        let numbers = || {
            let mut random = Random(7);
            (0..100).map(move |_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(), numbers());
        assert!((0..10).all(|number| numbers().contains(&number)));
    }
}
