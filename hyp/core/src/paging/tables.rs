//! The tables as their owner sees them: made, walked, given back. What changes them is in `map` and `edit`.

use super::change::Change;
use super::descriptor::{Attributes, Descriptor, Entry, Geometry, Level};
use super::{MapError, Regime};
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::Hw;
use core::ops::Range;

/// One table in memory.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Its first entry.
    pub at: Pa,
    /// Its level.
    pub level: Level,
    /// The first input address that it translates.
    pub base: u64,
    /// Whether a table walk can reach it.
    pub live: bool,
}

impl Table {
    /// Where the entry for input address `ia` lies. Subtracting the base, not masking, finds it in a concatenated root
    /// as well.
    #[inline]
    pub fn slot(self, ia: u64) -> Pa {
        self.at.offset(ia.wrapping_sub(self.base) >> self.level.shift() << 3)
    }

    /// The entry for input address `ia`.
    #[inline]
    pub fn load(self, hw: &impl Hw, ia: u64) -> Entry {
        Descriptor(hw.load_descriptor(self.slot(ia))).entry(self.level)
    }

    /// The table at `at` that the entry for `ia` leads to.
    #[inline]
    pub fn child(self, ia: u64, at: Pa) -> Self {
        let base = ia & !(self.level.size() - 1);
        Self { at, level: self.level.below(), base, live: self.live }
    }

    /// A table at `at` for the entry for `ia`, which no walk reaches yet.
    pub fn new_child(self, ia: u64, at: Pa) -> Self {
        Self { live: false, ..self.child(ia, at) }
    }
}

/// The part of a range that lies under one entry.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub start: u64,
    pub end: u64,
    /// Whether it is all that the entry translates.
    pub whole: bool,
}

impl Part {
    pub fn range(self) -> Range<u64> {
        self.start..self.end
    }
}

/// Divides `range` at the borders of the entries of `level`.
pub(super) fn parts(level: Level, range: Range<u64>) -> impl Iterator<Item = Part> {
    let size = level.size();
    let mut start = range.start;
    core::iter::from_fn(move || {
        (start < range.end).then(|| {
            let end = ((start | (size - 1)) + 1).min(range.end);
            let part = Part { start, end, whole: end - start == size };
            start = end;
            part
        })
    })
}

/// What an address translates to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The output address of the very byte.
    pub pa: Pa,
    /// How it may be accessed.
    pub attributes: Attributes,
    /// Level of the entry that maps it: 1 is a 1 GiB block, 2 a 2 MiB block, 3 a page.
    pub level: Level,
}

/// A set of translation tables.
#[derive(Debug)]
pub struct Tables {
    pub(super) regime: Regime,
    pub(super) geometry: Geometry,
    root: Pa,
    /// Frames in use, those of the root included.
    pub(super) frames: u32,
}

impl Tables {
    /// Tables that map nothing.
    pub fn new(hw: &impl Hw, regime: Regime, geometry: Geometry) -> Result<Self, MapError> {
        let root = hw.take_frames(geometry.root_order).ok_or(MapError::OutOfFrames)?;
        Ok(Self { regime, geometry, root, frames: 1 << geometry.root_order })
    }

    /// Tables that exist already, with their root at `root`, in `frames` frames.
    pub const fn adopt(regime: Regime, geometry: Geometry, root: Pa, frames: u32) -> Self {
        Self { regime, geometry, root, frames }
    }

    /// Physical address of the root table.
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// Frames that the tables take.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    pub(super) fn root_table(&self) -> Table {
        Table { at: self.root, level: self.geometry.start, base: 0, live: true }
    }

    /// What `ia` translates to, as the hardware would find it.
    #[inline]
    pub fn translate(&self, hw: &impl Hw, ia: u64) -> Option<Translation> {
        if ia >> self.geometry.input_bits != 0 {
            return None;
        }
        let mut table = self.root_table();
        // At most four rounds: there is no table entry at level 3.
        loop {
            match table.load(hw, ia) {
                Entry::Invalid => return None,
                Entry::Table(next) => table = table.child(ia, next),
                Entry::Leaf(at, attributes) => {
                    let pa = at.offset(ia & (table.level.size() - 1));
                    return Some(Translation { pa, attributes, level: table.level });
                }
            }
        }
    }

    /// Gives all frames of the tables back. No core may be using them as its own any more.
    pub fn free(mut self, hw: &impl Hw) {
        let all = 0..1 << self.geometry.input_bits;
        let mut change = Change::new(hw, self.regime);
        change.clear_all(self.root_table(), all);
        change.finish(&mut self.frames);
        hw.give_frames(self.root, self.geometry.root_order);
    }

    /// The input range of `len` bytes at `ia`, where it is one that these tables can translate.
    pub(super) fn input(&self, ia: u64, len: u64) -> Result<Range<u64>, MapError> {
        range(ia, len, self.geometry.input_bits)
    }

    /// Checks that `len` bytes at `pa` are ones that these tables can translate to.
    pub(super) fn check_output(&self, pa: Pa, len: u64) -> Result<(), MapError> {
        range(pa.0, len, self.geometry.output_bits).map(|_| ())
    }
}

fn range(start: u64, len: u64, bits: u8) -> Result<Range<u64>, MapError> {
    if !(start | len).is_multiple_of(PAGE_SIZE) {
        return Err(MapError::Misaligned(start));
    }
    let end = start.checked_add(len).ok_or(MapError::OutOfRange(start))?;
    if end > 1 << bits {
        return Err(MapError::OutOfRange(start));
    }
    Ok(start..end)
}
