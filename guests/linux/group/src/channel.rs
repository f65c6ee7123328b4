//! A stream of words from one member to another through the region, with a checksum at its end.
//!
//! One ring: two words count what was put in and what was taken out since the board started, so nothing is ever reset. Each side
//! moves a piece, stores its count, rings, and sleeps when there is nothing to do. A message is its length, its words, and their
//! checksum.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use tessera_abi::group::membership::{LIVES_SHIFT, State};

use crate::bell::Bell;
use crate::device::Group;
use crate::{Trouble, say, sys};

/// Where in the region, in words: how many were put in, how many taken out, and the ring.
const PUT: usize = 0;
const TAKEN: usize = 64;
const RING: usize = 512;
/// Most words that are moved between two rings of the bell.
const PIECE: u64 = (256 << 10) / 8;

/// One end of the channel, with the other at member `peer`.
struct End<'a> {
    group: &'a Group,
    bell: Bell<'a>,
    peer: u32,
    /// What each end has counted, and this one's once more.
    own: &'a AtomicU64,
    other: &'a AtomicU64,
    ring: &'a [AtomicU64],
    count: u64,
    sum: u64,
    began: u64,
}

/// Sends so many MiB of numbers.
pub fn send(group: &Group, peer: u32, mib: u32) -> Result<(), Trouble> {
    let mut end = End::open(group, peer, PUT, TAKEN)?;
    let words = u64::from(mib) << 17;
    end.put(1, || words)?;
    let mut value = end.began;
    end.put(words, || {
        // The generator of Knuth's MMIX.
        value =
            value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value
    })?;
    let sum = end.sum;
    end.put(1, || sum)?;
    end.tell("SENT", words, sum);
    Ok(())
}

/// Takes what is sent, and compares its checksum with that of the sender.
pub fn receive(group: &Group, peer: u32) -> Result<(), Trouble> {
    let mut end = End::open(group, peer, TAKEN, PUT)?;
    let mut words = 0;
    end.take(1, |word| words = word)?;
    end.take(words, |_| ())?;
    let sum = end.sum;
    let mut theirs = 0;
    end.take(1, |word| theirs = word)?;
    end.tell("RECEIVED", words, sum);
    if theirs == sum { Ok(()) } else { Err(Trouble("what came is not what was sent", 0)) }
}

impl<'a> End<'a> {
    /// The end that counts in word `own` of the region, while the other does in word `other`.
    fn open(group: &'a Group, peer: u32, own: usize, other: usize) -> Result<Self, Trouble> {
        if !group.is_writable() {
            return Err(Trouble("this guest may only read the region", 0));
        }
        let words = group.words();
        let (Some(own), Some(other), Some(ring @ [_, ..])) =
            (words.get(own), words.get(other), words.get(RING..))
        else {
            return Err(Trouble("the region is too small", 0));
        };
        let (bell, count) = (Bell::open(group)?, own.load(Relaxed));
        let began = sys::nanoseconds();
        Ok(Self { group, bell, peer, own, other, ring, count, sum: 0, began })
    }

    /// Puts `words` words in, which `next` makes.
    fn put(&mut self, words: u64, mut next: impl FnMut() -> u64) -> Result<(), Trouble> {
        let mut left = words;
        self.sum = 0;
        while left > 0 {
            let used = self.count.wrapping_sub(self.other.load(Acquire));
            let free = (self.ring.len() as u64).saturating_sub(used);
            let piece = self.piece(left.min(free));
            if piece.is_empty() {
                self.wait()?;
                continue;
            }
            for place in piece {
                let word = next();
                self.add(word);
                place.store(word, Relaxed);
            }
            left -= piece.len() as u64;
            self.done(piece);
        }
        Ok(())
    }

    /// Takes `words` words out.
    fn take(&mut self, words: u64, mut with: impl FnMut(u64)) -> Result<(), Trouble> {
        let mut left = words;
        self.sum = 0;
        while left > 0 {
            let there = self.other.load(Acquire).wrapping_sub(self.count);
            let piece = self.piece(left.min(there));
            if piece.is_empty() {
                self.wait()?;
                continue;
            }
            for place in piece {
                let word = place.load(Relaxed);
                self.add(word);
                with(word);
            }
            left -= piece.len() as u64;
            self.done(piece);
        }
        Ok(())
    }

    /// The next piece, of which there are `most` words: they lie in one row.
    fn piece(&self, most: u64) -> &'a [AtomicU64] {
        let at = (self.count % self.ring.len() as u64) as usize;
        let row = self.ring.get(at..).unwrap_or_default();
        row.get(..most.min(PIECE) as usize).unwrap_or(row)
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.sum = (self.sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Tells the other end of a piece that was moved: the loads and stores come before the count.
    fn done(&mut self, piece: &[AtomicU64]) {
        self.count = self.count.wrapping_add(piece.len() as u64);
        self.own.store(self.count, Release);
        self.group.ring(self.peer);
    }

    /// Sleeps until something happens. A member that cannot come back to this is not waited for.
    fn wait(&mut self) -> Result<(), Trouble> {
        const GONE: [u64; 3] =
            [State::Down as u64, State::Crashed as u64, State::Restarting as u64];
        let news = self.bell.wait(self.group)?;
        let state = self.group.word(self.peer) & ((1 << LIVES_SHIFT) - 1);
        if news.changed && GONE.contains(&state) {
            return Err(Trouble("the other member is gone", 0));
        }
        Ok(())
    }

    fn tell(&self, what: &str, words: u64, sum: u64) {
        let (bytes, slept) = (8 * words, self.bell.slept());
        let ns = sys::nanoseconds().saturating_sub(self.began).max(1);
        let rate = (u128::from(bytes) * 1_000_000_000 / u128::from(ns)) >> 20;
        say(format_args!(
            "GROUP-{what} bytes={bytes} sum={sum:#018x} ns={ns} mib_per_s={rate} slept={slept}"
        ));
    }
}
