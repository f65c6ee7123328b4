//! A stream of words from one member to another through the region, with a checksum at its end.
//!
//! One ring: two words count what was put in and what was taken out since the board started, so nothing is ever reset. Each side
//! moves a piece, stores its count, rings, and sleeps when there is nothing to do. A message is its length, its words, and their
//! checksum.

use core::arch::asm;

use tessera_abi::group::membership::{LIVES_SHIFT, State};

use crate::bell::Bell;
use crate::device::Group;
use crate::{Trouble, say, sys};

/// Where in the region, in words: how many were put in, how many taken out, and the ring.
const PUT: u64 = 0;
const TAKEN: u64 = 64;
const RING: u64 = 512;
/// Most words that are moved between two rings of the bell.
const PIECE: u64 = (256 << 10) / 8;

/// One end of the channel, with the other at member `peer`.
struct End<'a> {
    group: &'a Group,
    bell: Bell,
    peer: u32,
    /// Words of the ring.
    room: u64,
    /// What this end counts.
    count: u64,
    sum: u64,
    began: u64,
}

/// Sends so many MiB of numbers.
pub fn send(group: &Group, peer: u32, mib: u32) -> Result<(), Trouble> {
    let mut end = End::open(group, peer, PUT)?;
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
    let mut end = End::open(group, peer, TAKEN)?;
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
    fn open(group: &'a Group, peer: u32, own: u64) -> Result<Self, Trouble> {
        let room = group.words().saturating_sub(RING);
        if room == 0 {
            return Err(Trouble("the region is too small", 0));
        }
        let (bell, count) = (Bell::open(group)?, group.get(own));
        Ok(Self { group, bell, peer, room, count, sum: 0, began: sys::nanoseconds() })
    }

    /// Puts `words` words in, which `next` makes.
    fn put(&mut self, words: u64, mut next: impl FnMut() -> u64) -> Result<(), Trouble> {
        let mut left = words;
        self.sum = 0;
        while left > 0 {
            let free = self.room.saturating_sub(self.count.wrapping_sub(self.group.get(TAKEN)));
            let Some((at, piece)) = self.piece(left.min(free)) else {
                self.wait()?;
                continue;
            };
            for n in at..at + piece {
                let word = next();
                self.add(word);
                self.group.put(n, word);
            }
            left -= piece;
            self.done(PUT, piece);
        }
        Ok(())
    }

    /// Takes `words` words out.
    fn take(&mut self, words: u64, mut with: impl FnMut(u64)) -> Result<(), Trouble> {
        let mut left = words;
        self.sum = 0;
        while left > 0 {
            let there = self.group.get(PUT).wrapping_sub(self.count).min(self.room);
            // SAFETY: a barrier has no effect on memory.
            unsafe { asm!("dmb ishld", options(nostack, preserves_flags)) };
            let Some((at, piece)) = self.piece(left.min(there)) else {
                self.wait()?;
                continue;
            };
            for n in at..at + piece {
                let word = self.group.get(n);
                self.add(word);
                with(word);
            }
            left -= piece;
            self.done(TAKEN, piece);
        }
        Ok(())
    }

    /// Where the next piece begins, and its words, of which there are `most`: they lie in one row.
    fn piece(&self, most: u64) -> Option<(u64, u64)> {
        let at = self.count % self.room;
        let piece = most.min(self.room - at).min(PIECE);
        (piece > 0).then_some((RING + at, piece))
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.sum = (self.sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Tells the other end of a piece that was moved: the loads and stores come before the count.
    fn done(&mut self, own: u64, piece: u64) {
        self.count = self.count.wrapping_add(piece);
        // SAFETY: a barrier has no effect on memory.
        unsafe { asm!("dmb ish", options(nostack, preserves_flags)) };
        self.group.put(own, self.count);
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
