//! A change under way: the frames it may use for new tables, those it has freed, and what TLBs must forget.

use super::descriptor::{Descriptor, ENTRIES, Entry, Level};
use super::tables::Table;
use super::{MapError, Regime};
use crate::addr::Pa;
use crate::hw::Hw;

/// Invalidations by page before it is cheaper to invalidate everything.
const MAX_STALE: usize = 8;

/// Frames in waiting, linked through their first descriptor.
///
/// A link is the next frame's address with bit 1 set, the end is 0: both are invalid descriptors, so a table that was
/// just unlinked can wait here while a table walk may still be in it.
#[derive(Default)]
struct FrameList {
    head: Option<Pa>,
}

impl FrameList {
    const LINK: u64 = 1 << 1;

    fn push(&mut self, hw: &impl Hw, frame: Pa) {
        let link = self.head.map_or(0, |next| next.0 | Self::LINK);
        hw.store_descriptor(frame, link);
        self.head = Some(frame);
    }

    fn pop(&mut self, hw: &impl Hw) -> Option<Pa> {
        let frame = self.head?;
        let link = hw.load_descriptor(frame);
        self.head = (link & Self::LINK != 0).then_some(Pa(link & !Self::LINK));
        Some(frame)
    }
}

/// Which translations TLBs may hold that are no more.
#[derive(Default)]
struct Stale {
    at: [u64; MAX_STALE],
    count: usize,
}

/// A change under way.
pub(super) struct Change<'a, H: Hw> {
    pub hw: &'a H,
    regime: Regime,
    /// Empty tables, taken before the first write.
    spare: FrameList,
    /// Tables that are linked no more.
    dead: FrameList,
    stale: Stale,
    /// How many frames came and went.
    added: u32,
    freed: u32,
}

impl<'a, H: Hw> Change<'a, H> {
    pub fn new(hw: &'a H, regime: Regime) -> Self {
        Self {
            hw,
            regime,
            spare: FrameList::default(),
            dead: FrameList::default(),
            stale: Stale::default(),
            added: 0,
            freed: 0,
        }
    }

    /// Takes `count` empty tables, or none.
    pub fn reserve(&mut self, count: u32) -> Result<(), MapError> {
        for _ in 0..count {
            let Some(frame) = self.hw.take_frames(0) else {
                self.give_spare();
                return Err(MapError::OutOfFrames);
            };
            self.spare.push(self.hw, frame);
        }
        Ok(())
    }

    /// An empty table. There is one: the first pass counted them.
    pub fn table(&mut self) -> Result<Pa, MapError> {
        let frame = self.spare.pop(self.hw).ok_or(MapError::OutOfFrames)?;
        self.hw.store_descriptor(frame, Descriptor::INVALID.0);
        self.added += 1;
        Ok(frame)
    }

    /// Writes an entry where none was, or one that differs from the old in permissions alone, or none.
    #[inline]
    pub fn store(&self, table: Table, ia: u64, descriptor: Descriptor) {
        self.hw.store_descriptor(table.slot(ia), descriptor.0);
    }

    /// Writes an entry in the place of another (DDI 0487 D8.16.1): in a live table the old one is broken, and gone
    /// from all TLBs, before the new one is made.
    pub fn replace(&self, table: Table, ia: u64, descriptor: Descriptor) {
        if table.live {
            self.store(table, ia, Descriptor::INVALID);
            self.regime.invalidate(self.hw, ia);
        }
        self.store(table, ia, descriptor);
    }

    /// Notes that TLBs may hold what the entry for `ia` was.
    pub fn forget(&mut self, table: Table, ia: u64) {
        if table.live {
            if let Some(place) = self.stale.at.get_mut(self.stale.count) {
                *place = ia;
            }
            self.stale.count = self.stale.count.saturating_add(1);
        }
    }

    /// Notes that nothing TLBs hold is worth keeping.
    fn forget_all(&mut self) {
        self.stale.count = usize::MAX;
    }

    /// Unlinks the table `child` from the entry for `ia`, with all tables below it.
    pub fn unlink(&mut self, table: Table, ia: u64, child: Table) {
        self.store(table, ia, Descriptor::INVALID);
        self.forget_all();
        self.bury(child);
    }

    fn bury(&mut self, table: Table) {
        if table.level != Level::L3 {
            for n in 0..ENTRIES {
                let ia = table.base + n * table.level.size();
                if let Entry::Table(next) = table.load(self.hw, ia) {
                    self.bury(table.child(ia, next));
                }
            }
        }
        self.dead.push(self.hw, table.at);
        self.freed += 1;
    }

    /// Ends the change: TLBs forget, then what was unlinked is given back.
    pub fn finish(&mut self, frames: &mut u32) {
        let count = core::mem::take(&mut self.stale.count);
        match self.stale.at.get(..count) {
            Some(stale) => stale.iter().for_each(|&ia| self.regime.invalidate(self.hw, ia)),
            None => self.regime.invalidate_all(self.hw),
        }
        while let Some(frame) = self.dead.pop(self.hw) {
            self.hw.give_frames(frame, 0);
        }
        self.give_spare();
        *frames = (*frames + self.added).saturating_sub(self.freed);
    }

    fn give_spare(&mut self) {
        while let Some(frame) = self.spare.pop(self.hw) {
            self.hw.give_frames(frame, 0);
        }
    }

    /// Whether tables that become empty are unlinked.
    pub fn may_unlink(&self) -> bool {
        self.regime.may_restructure()
    }
}
