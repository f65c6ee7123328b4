//! Physical frames: who has which part of the board's RAM.
//!
//! The problem: guests want large, naturally aligned blocks, so that stage 2 maps them with few entries; tables want
//! single frames; and what is given back must be what was taken, or a frame ends up with two owners.
//!
//! The idea: a buddy allocator for what is free, and beside it a set of the blocks that are taken. The set makes a
//! double or a foreign give an error, and lets an owner give back a part of what it took, as a guest does that shrinks.
//! A boot takes some dozens of blocks, so both stay small however much RAM there is.
//!
//! Not taken: a bit a frame. It cannot tell a block of two frames from two blocks, and clearing it costs more
//! instructions on a large board than all else here.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use buddy_system_allocator::FrameAllocator;

use crate::addr::{PAGE_SIZE, Pa};
use crate::sort::sort_by_key;

/// Largest block, as a power of two of frames: 4 GiB, which four 1 GiB entries map.
pub const MAX_ORDER: u8 = 20;
/// Bits that an order takes.
const ORDER_BITS: u32 = MAX_ORDER.ilog2() + 1;
/// Most blocks one [`Frames::take_bytes`] returns; memory more fragmented than this counts as short.
pub const MAX_BLOCKS: usize = 1024;
/// Physical addresses end here: the largest output address of 4 KiB tables without FEAT_LPA2 (DDI 0487 D8.1).
const PA_END: u64 = 1 << 48;

/// `1 << order` frames, aligned to their size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// First byte.
    pub at: Pa,
    /// How many frames, as a power of two.
    pub order: u8,
}

impl Block {
    /// Bytes in the block.
    pub const fn bytes(self) -> u64 {
        PAGE_SIZE << self.order
    }
}

/// Why frames were not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FramesError {
    /// The block is not taken as a whole by its present owner.
    NotTaken(Pa),
    /// The block is not aligned to its size, or larger than any block.
    BadBlock(Pa),
    /// The memory was added before.
    AlreadyAdded(Pa),
}

impl fmt::Display for FramesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(at) => write!(f, "the block at {at} was given back but is not taken"),
            Self::BadBlock(at) => write!(f, "{at} is not the start of a block of that size"),
            Self::AlreadyAdded(at) => write!(f, "the memory at {at} was added before"),
        }
    }
}

/// The board's RAM, in frames.
#[derive(Default)]
pub struct Frames {
    free: FrameAllocator<{ MAX_ORDER as usize + 1 }>,
    /// The taken blocks, each as [`key`] writes it: a set of the type that the allocator has, so that the code is there once.
    taken: BTreeSet<usize>,
    /// All ranges ever added, in frames.
    added: Vec<Range<u64>>,
    free_frames: u64,
    total_frames: u64,
}

impl Frames {
    /// No memory at all.
    pub const fn new() -> Self {
        Self {
            free: FrameAllocator::new(),
            taken: BTreeSet::new(),
            added: Vec::new(),
            free_frames: 0,
            total_frames: 0,
        }
    }

    /// Adds what lies in `ram` and in no range of `reserved`. Ranges come in any order and may overlap; a frame that
    /// is RAM only in part, or reserved in part, is left out. May be called again, for memory that becomes free later
    /// (the bundle's, once the guests are loaded).
    pub fn add(&mut self, ram: &[Range<Pa>], reserved: &[Range<Pa>]) -> Result<(), FramesError> {
        let pieces = subtract(&whole_frames(ram), &touched_frames(reserved));
        let known = |p: &&Range<u64>| self.added.iter().any(|a| a.start < p.end && p.start < a.end);
        if let Some(piece) = pieces.iter().find(known) {
            return Err(FramesError::AlreadyAdded(Pa(piece.start * PAGE_SIZE)));
        }
        let first = self.added.is_empty();
        for piece in pieces {
            self.free.add_frame(piece.start as usize, piece.end as usize);
            if !first {
                self.merge(&piece);
            }
            self.free_frames += piece.end - piece.start;
            self.total_frames += piece.end - piece.start;
            self.added.push(piece);
        }
        Ok(())
    }

    /// Joins a range just added with free neighbours: the allocator does so only for what is given back to it.
    fn merge(&mut self, piece: &Range<u64>) {
        let mut at = piece.start;
        while at < piece.end {
            let size = 1 << largest_order(at, piece.end - at);
            if self.free.alloc_at(at as usize, size).is_some() {
                self.free.dealloc(at as usize, size);
            }
            at += size as u64;
        }
    }

    /// Takes `1 << order` frames, aligned to their size, from the smallest free block that has them. What was in them
    /// still is.
    pub fn take(&mut self, order: u8) -> Option<Pa> {
        if order > MAX_ORDER {
            return None;
        }
        let frame = self.free.alloc(1 << order)? as u64;
        self.taken.insert(key(frame, order));
        self.free_frames -= 1 << order;
        Some(Pa(frame * PAGE_SIZE))
    }

    /// Takes `len` bytes, rounded up to whole frames, in the fewest blocks there are, largest first: so blocks laid
    /// one after the other from an aligned address are each aligned to their own size. All or nothing.
    pub fn take_bytes(&mut self, len: u64) -> Option<Vec<Block>> {
        let mut rest = len.div_ceil(PAGE_SIZE);
        if rest > self.free_frames {
            return None;
        }
        let mut blocks = Vec::new();
        let mut order = MAX_ORDER;
        while rest > 0 {
            order = order.min(rest.ilog2() as u8);
            if blocks.len() == MAX_BLOCKS {
                self.undo(&blocks);
                return None;
            }
            match self.take(order) {
                Some(at) => {
                    blocks.push(Block { at, order });
                    rest -= 1 << order;
                }
                // What is free suffices, so single frames are never short.
                None => order = order.saturating_sub(1),
            }
        }
        Some(blocks)
    }

    /// Gives back blocks that were just taken.
    fn undo(&mut self, blocks: &[Block]) {
        for block in blocks {
            let given = self.give(block.at, block.order);
            debug_assert_eq!(given, Ok(()));
        }
    }

    /// Gives back a block that was taken, or an aligned part of one; the rest of it stays taken.
    pub fn give(&mut self, at: Pa, order: u8) -> Result<(), FramesError> {
        if order > MAX_ORDER || !at.is_aligned(PAGE_SIZE << order) {
            return Err(FramesError::BadBlock(at));
        }
        let frame = at.0 / PAGE_SIZE;
        let up_to = key(frame, MAX_ORDER);
        let taken = *self.taken.range(..=up_to).next_back().ok_or(FramesError::NotTaken(at))?;
        let (start, have) = block_of(taken);
        if have < order || frame - start >= 1 << have {
            return Err(FramesError::NotTaken(at));
        }
        self.taken.remove(&taken);
        // Halve the taken block until what is left is the part; the halves without it stay taken.
        for half in order..have {
            self.taken.insert(key((frame & !((1 << half) - 1)) ^ (1 << half), half));
        }
        self.free.dealloc(frame as usize, 1 << order);
        self.free_frames += 1 << order;
        Ok(())
    }

    /// Bytes that can be taken.
    pub const fn free_bytes(&self) -> u64 {
        self.free_frames * PAGE_SIZE
    }

    /// Bytes that were added.
    pub const fn total_bytes(&self) -> u64 {
        self.total_frames * PAGE_SIZE
    }
}

/// A block as a number: by its first frame, then by its order.
fn key(frame: u64, order: u8) -> usize {
    (frame << ORDER_BITS) as usize | usize::from(order)
}

/// First frame and order of the block that [`key`] wrote so.
fn block_of(key: usize) -> (u64, u8) {
    (key as u64 >> ORDER_BITS, (key & ((1 << ORDER_BITS) - 1)) as u8)
}

/// Order of the largest block that starts at frame `at` and has no more than `frames` frames (not 0).
fn largest_order(at: u64, frames: u64) -> u8 {
    (at.trailing_zeros().min(frames.ilog2()) as u8).min(MAX_ORDER)
}

/// The frames that lie wholly in the ranges: sorted, and joined where they touch.
fn whole_frames(ranges: &[Range<Pa>]) -> Vec<Range<u64>> {
    let round =
        |r: &Range<Pa>| r.start.0.min(PA_END).div_ceil(PAGE_SIZE)..r.end.0.min(PA_END) / PAGE_SIZE;
    union(ranges.iter().map(round).collect())
}

/// The frames of which the ranges touch any byte: sorted, and joined where they touch.
fn touched_frames(ranges: &[Range<Pa>]) -> Vec<Range<u64>> {
    let round =
        |r: &Range<Pa>| r.start.0.min(PA_END) / PAGE_SIZE..r.end.0.min(PA_END).div_ceil(PAGE_SIZE);
    let not_empty = |r: &&Range<Pa>| r.start < r.end;
    union(ranges.iter().filter(not_empty).map(round).collect())
}

fn union(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|r| r.start < r.end);
    sort_by_key(&mut ranges, |r| r.start);
    ranges.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    ranges
}

/// What lies in `all` and not in `holes`; both sorted and disjoint.
fn subtract(all: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in all {
        let mut start = range.start;
        for hole in holes.iter().filter(|h| h.start < range.end && range.start < h.end) {
            left.push(start..hole.start);
            start = hole.end;
        }
        left.push(start..range.end);
    }
    left.retain(|r| r.start < r.end);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    fn range(start: u64, len: u64) -> Range<Pa> {
        Pa(start)..Pa(start + len)
    }

    fn frames(ram: &[Range<Pa>], reserved: &[Range<Pa>]) -> Frames {
        let mut frames = Frames::new();
        frames.add(ram, reserved).unwrap();
        frames
    }

    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn reserved_memory_is_never_handed_out() {
        let reserved = [range(GIB + 0x123, 5), range(GIB + 8 * MIB, 3 * MIB), range(0, 64)];
        let mut frames = frames(&[range(GIB, 16 * MIB)], &reserved);
        assert_eq!(frames.total_bytes(), 13 * MIB - PAGE_SIZE);
        while let Some(at) = frames.take(0) {
            let own = at..at.offset(PAGE_SIZE);
            assert!(reserved.iter().all(|r| r.end <= own.start || own.end <= r.start), "{own:?}");
        }
        assert_eq!(frames.free_bytes(), 0);
    }

    #[test]
    fn ram_told_twice_is_counted_once() {
        let frames = frames(&[range(0, GIB), range(GIB / 2, GIB), range(0, 64)], &[]);
        assert_eq!(frames.total_bytes(), 3 * GIB / 2);
    }

    #[test]
    fn ram_told_in_two_ranges_that_touch_is_one() {
        let mut frames = frames(&[range(GIB, GIB), range(0, GIB)], &[]);
        assert_eq!(frames.take(19), Some(Pa(0)));
    }

    #[test]
    fn absurd_ranges_add_nothing_or_what_can_be_addressed() {
        let all = Pa(0)..Pa(u64::MAX);
        assert_eq!(frames(&[Pa(u64::MAX - 5)..Pa(u64::MAX), Pa(9)..Pa(3)], &[]).total_bytes(), 0);
        assert_eq!(frames(&[range(0, GIB)], core::slice::from_ref(&all)).total_bytes(), 0);
        assert_eq!(frames(&[range(0, GIB)], &[Pa(9)..Pa(3)]).total_bytes(), GIB);
    }

    #[test]
    fn a_guest_gets_the_fewest_and_largest_blocks() {
        // The usual board: RAM at 1 GiB, Tessera and its bundle at the bottom.
        let mut frames = frames(&[range(GIB, 2 * GIB)], &[range(GIB, 80 * MIB)]);
        let blocks = frames.take_bytes(192 * MIB).unwrap();
        let orders: Vec<u8> = blocks.iter().map(|b| b.order).collect();
        assert_eq!(orders, [15, 14]);
        assert!(blocks.iter().all(|b| b.at.is_aligned(b.bytes())));
        assert_eq!(frames.take_bytes(GIB).unwrap(), [Block { at: Pa(2 * GIB), order: 18 }]);
    }

    #[test]
    fn an_odd_length_is_rounded_up_to_frames() {
        let mut frames = frames(&[range(0, MIB)], &[]);
        let blocks = frames.take_bytes(3 * PAGE_SIZE + 1).unwrap();
        assert_eq!(blocks.iter().map(|b| b.bytes()).sum::<u64>(), 4 * PAGE_SIZE);
        assert_eq!(frames.take_bytes(0), Some(vec![]));
    }

    #[test]
    fn taking_more_than_there_is_takes_nothing() {
        let mut frames = frames(&[range(0, 64 * MIB)], &[range(32 * MIB, 4096)]);
        assert_eq!(frames.take_bytes(64 * MIB), None);
        assert_eq!(frames.take_bytes(u64::MAX), None);
        assert_eq!(frames.take(MAX_ORDER), None);
        assert_eq!(frames.take(255), None);
        assert_eq!(frames.free_bytes(), 64 * MIB - PAGE_SIZE);
    }

    #[test]
    fn memory_in_too_many_pieces_is_short_memory() {
        let mut frames = frames(&[range(0, 16 * MIB)], &[]);
        let pages: Vec<Pa> = core::iter::from_fn(|| frames.take(0)).collect();
        for at in pages.iter().step_by(2) {
            frames.give(*at, 0).unwrap();
        }
        assert_eq!(frames.take_bytes((MAX_BLOCKS as u64 + 1) * PAGE_SIZE), None);
        assert_eq!(frames.free_bytes(), 8 * MIB);
        assert_eq!(frames.take_bytes(MAX_BLOCKS as u64 * PAGE_SIZE).unwrap().len(), MAX_BLOCKS);
    }

    #[test]
    fn giving_twice_or_what_was_never_taken_is_an_error() {
        let mut frames = frames(&[range(0, GIB)], &[]);
        let at = frames.take(4).unwrap();
        assert_eq!(frames.give(at.offset(PAGE_SIZE), 4), Err(FramesError::BadBlock(Pa(4096))));
        assert_eq!(frames.give(at, 255), Err(FramesError::BadBlock(at)));
        assert_eq!(frames.give(at, 5), Err(FramesError::NotTaken(at)));
        assert_eq!(frames.give(Pa(5 * GIB), 0), Err(FramesError::NotTaken(Pa(5 * GIB))));
        assert_eq!(frames.give(at, 4), Ok(()));
        assert_eq!(frames.give(at, 4), Err(FramesError::NotTaken(at)));
        assert_eq!(frames.free_bytes(), GIB);
    }

    #[test]
    fn a_part_of_a_block_can_be_given_back_alone() {
        let mut frames = frames(&[range(0, 2 * MIB)], &[]);
        let at = frames.take(9).unwrap();
        let page = at.offset(77 * PAGE_SIZE);
        frames.give(page, 0).unwrap();
        assert_eq!(frames.give(page, 0), Err(FramesError::NotTaken(page)));
        assert_eq!(frames.give(at, 9), Err(FramesError::NotTaken(at)));
        assert_eq!(frames.take(0), Some(page));
        for n in 0..512 {
            frames.give(at.offset(n * PAGE_SIZE), 0).unwrap();
        }
        assert_eq!(frames.take(9), Some(at));
    }

    #[test]
    fn memory_added_later_joins_its_neighbours() {
        let mut frames = frames(&[range(0, GIB)], &[range(256 * MIB, 17 * MIB)]);
        assert_eq!(frames.take(18), None);
        frames.add(&[range(256 * MIB, 17 * MIB)], &[]).unwrap();
        assert_eq!(frames.total_bytes(), GIB);
        assert_eq!(frames.take(18), Some(Pa(0)));
        let again = frames.add(&[range(512 * MIB, MIB)], &[]);
        assert_eq!(again, Err(FramesError::AlreadyAdded(Pa(512 * MIB))));
    }

    #[test]
    fn any_sequence_of_takes_and_gives_keeps_blocks_apart_and_loses_none() {
        for seed in 1..8u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut frames = frames(&[range(3 * MIB, 61 * MIB)], &[range(10 * MIB, 5 * MIB)]);
            let total = frames.free_bytes();
            let mut held: Vec<Block> = Vec::new();
            for _ in 0..1500 {
                let r = random(&mut state);
                if r % 8 < 5 {
                    let len = random(&mut state) % (1 << (r / 8 % 24));
                    let blocks = frames.take_bytes(len).unwrap_or_default();
                    for new in blocks {
                        let apart = |b: &Block| {
                            b.at.0 + b.bytes() <= new.at.0 || new.at.0 + new.bytes() <= b.at.0
                        };
                        assert!(new.at.is_aligned(new.bytes()) && held.iter().all(apart));
                        held.push(new);
                    }
                } else if !held.is_empty() {
                    let block = held.swap_remove(random(&mut state) as usize % held.len());
                    frames.give(block.at, block.order).unwrap();
                }
                let sum: u64 = held.iter().map(|b| b.bytes()).sum();
                assert_eq!(frames.free_bytes() + sum, total);
            }
            for block in held {
                frames.give(block.at, block.order).unwrap();
            }
            assert_eq!(frames.take(13), Some(Pa(32 * MIB)));
        }
    }
}
