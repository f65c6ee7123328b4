//! What came of an attack's steps, and its random numbers.

use tessera_rt::println;
use tessera_rt::trap::{Fault, attempt};

/// Lines about broken promises that are printed for one attack.
const MOST_LINES: u64 = 10;

/// The count of one attack.
pub struct Tally {
    number: u32,
    random: u64,
    strict: bool,
    faults: u64,
    answers: u64,
    /// Promises that were not kept.
    pub broken: u64,
}

impl Tally {
    /// An empty one. `strict` says that Tessera's promises are to be kept here.
    pub fn new(number: u32, seed: u64, strict: bool) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { number, random, strict, faults: 0, answers: 0, broken: 0 }
    }

    /// A random number (xorshift64).
    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A random number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.random() % limit
    }

    /// Counts the outcome of a step.
    pub fn count<R>(&mut self, outcome: Result<R, Fault>) {
        match outcome {
            Ok(_) => self.answers += 1,
            Err(_) => self.faults += 1,
        }
    }

    /// Does a step.
    pub fn step<R>(&mut self, step: impl FnOnce() -> R) {
        self.count(attempt(step));
    }

    /// Counts a step that has to end in an abort of this class and status, and says so where it did not.
    pub fn must_fault<R>(
        &mut self,
        what: &str,
        at: u64,
        class: u64,
        status: u64,
        outcome: Result<R, Fault>,
    ) {
        let kept = match &outcome {
            Ok(_) => false,
            Err(fault) => fault.class() == class && fault.status() == status && !fault.serror,
        };
        if self.strict && !kept {
            self.complain(what, at, outcome.as_ref().map_or_else(|fault| fault.esr, |_| 0));
        }
        self.count(outcome);
    }

    /// Says that a promise was not kept.
    pub fn complain(&mut self, what: &str, at: u64, got: u64) {
        self.broken += 1;
        if self.broken <= MOST_LINES {
            println!("broken {} {what} at {at:#x}: got {got:#x}", self.number);
        }
    }

    /// The line at the end.
    pub fn end(&self) {
        println!("survived {} faults={} answers={}", self.number, self.faults, self.answers);
    }
}
