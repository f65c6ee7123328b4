//! A group whose members are threads.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;
use std::cell::Cell;
use std::thread;
use std::vec::Vec;

use tessera_abi::group::membership::{LIVES_SHIFT, State};

use crate::Peers;

/// Looks of a member that waits for what comes: more than a slow host needs.
const PATIENCE: u32 = 50_000_000;

/// Memory as it is when the board starts.
pub fn words(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// The membership page.
pub struct Group {
    words: Vec<AtomicU64>,
    generation: AtomicU64,
}

impl Group {
    /// So many members in their first life.
    pub fn up(members: usize) -> Self {
        let group = Self { words: words(members), generation: AtomicU64::new(0) };
        (0..members).for_each(|index| group.set(index, State::Up, 1));
        group
    }

    /// Tells of a member.
    pub fn set(&self, index: usize, state: State, lives: u64) {
        self.words[index].store(lives << LIVES_SHIFT | state as u64, SeqCst);
        self.generation.fetch_add(1, SeqCst);
    }

    /// A member that waits for what has to come.
    pub fn member(&self, me: usize) -> Member<'_> {
        Member { group: self, me, looks: Cell::new(PATIENCE) }
    }

    /// A member that gives up soon.
    pub fn hasty(&self, me: usize) -> Member<'_> {
        Member { looks: Cell::new(3), ..self.member(me) }
    }
}

/// What a member has.
pub struct Member<'a> {
    group: &'a Group,
    me: usize,
    looks: Cell<u32>,
}

impl Peers for Member<'_> {
    fn me(&self) -> usize {
        self.me
    }

    fn members(&self) -> usize {
        self.group.words.len()
    }

    fn generation(&self) -> u64 {
        self.group.generation.load(SeqCst)
    }

    fn word(&self, index: usize) -> u64 {
        self.group.words[index].load(SeqCst)
    }

    fn ring(&self, _: usize) {}

    fn pause(&self) -> bool {
        thread::yield_now();
        self.looks.set(self.looks.get() - 1);
        self.looks.get() > 0
    }
}

/// Numbers that repeat (xorshift64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
