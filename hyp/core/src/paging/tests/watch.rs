//! Watches a journal as the cores' table walkers and TLBs would: which tables a walk can reach, what TLBs may still
//! hold, and that no rule of DDI 0487 D8.16.1 is broken on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::super::descriptor::{Descriptor, ENTRIES, Entry, Level};
use super::super::tables::Tables;
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::fake::{Event, FakeHw};

/// What is known of the tables of one guest.
pub struct Watch {
    /// Descriptors as last stored.
    memory: BTreeMap<u64, u64>,
    /// Tables that a walk reaches: their level and first input address.
    live: BTreeMap<u64, (Level, u64)>,
    /// Tables that a walk reached, and that TLBs may still know.
    dying: BTreeSet<u64>,
    /// Entries that TLBs may still hold as they were: slot to the input range.
    stale: BTreeMap<u64, (u64, u64)>,
    root: Pa,
}

impl Watch {
    /// Of tables that were just made.
    pub fn new(tables: &Tables) -> Self {
        let mut live = BTreeMap::new();
        let geometry = tables.geometry;
        let tables_of_root = 1 << geometry.root_order;
        for n in 0..tables_of_root {
            let base = n * ENTRIES * geometry.start.size();
            live.insert(tables.root().0 + n * PAGE_SIZE, (geometry.start, base));
        }
        let root = tables.root();
        Self { memory: BTreeMap::new(), live, dying: BTreeSet::new(), stale: BTreeMap::new(), root }
    }

    /// Reads the journal. Says whether any entry that a walk reaches was stored to.
    pub fn read(&mut self, hw: &FakeHw) -> bool {
        let mut changed = false;
        for event in hw.events() {
            match event {
                Event::Take(at, order) => self.taken(at, order),
                Event::Descriptor(at, value) => changed |= self.stored(at.0, value),
                Event::TlbIpa(_, ipa) => self.stale.retain(|_, r| !(r.0..r.1).contains(&ipa.0)),
                Event::TlbVm(_) | Event::TlbEl2 => {
                    self.stale.clear();
                    self.dying.clear();
                }
                Event::Give(at, order) => self.given(at, order),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert!(self.stale.is_empty() && self.dying.is_empty(), "a change ended without its TLBI");
        changed
    }

    /// Tables that a walk reaches, the root's included.
    pub fn tables(&self) -> usize {
        self.live.len()
    }

    /// Whether every table but the root maps something.
    pub fn no_table_is_empty(&self) -> bool {
        self.live.keys().all(|&table| {
            let valid = |(_, value): (&u64, &u64)| value & 1 != 0;
            table == self.root.0 || self.memory.range(table..table + PAGE_SIZE).any(valid)
        })
    }

    fn taken(&mut self, at: Pa, order: u8) {
        let bytes = PAGE_SIZE << order;
        self.memory.retain(|slot, _| !(at.0..at.0 + bytes).contains(slot));
    }

    fn given(&self, at: Pa, order: u8) {
        for n in 0..1 << order {
            let frame = at.0 + n * PAGE_SIZE;
            let root = frame == self.root.0;
            assert!(root || !self.live.contains_key(&frame), "{frame:#x} is in use");
            assert!(!self.dying.contains(&frame), "{frame:#x} was given back before its TLBI");
        }
    }

    fn stored(&mut self, slot: u64, value: u64) -> bool {
        let before = self.memory.insert(slot, value).unwrap_or(0);
        let table = slot & !(PAGE_SIZE - 1);
        if self.dying.contains(&table) {
            assert_eq!(value & 1, 0, "a table that TLBs may know got a new entry");
        }
        let Some(&(level, base)) = self.live.get(&table) else { return false };
        let start = base + (slot - table) / 8 * level.size();
        let range = (start, start + level.size());
        let (old, new) = (Descriptor(before).entry(level), Descriptor(value).entry(level));
        match (old, new) {
            (Entry::Invalid, Entry::Invalid) => return false,
            (Entry::Invalid, _) => {
                assert!(!self.stale.contains_key(&slot), "{slot:#x} was made before its TLBI");
            }
            (_, Entry::Invalid) => {
                self.stale.insert(slot, range);
            }
            (Entry::Leaf(..), Entry::Leaf(..)) => {
                assert_eq!((before ^ value) & !0xc0, 0, "{slot:#x} was not broken before made");
                self.stale.insert(slot, range);
            }
            _ => panic!("{slot:#x} was not broken before it was made"),
        }
        if let Entry::Table(at) = old {
            self.unreach(at.0, level.below());
        }
        if let Entry::Table(at) = new {
            self.reach(at.0, level.below(), start);
        }
        true
    }

    fn children(&self, table: u64, level: Level) -> Vec<(u64, u64)> {
        let entry = |(slot, value): (&u64, &u64)| match Descriptor(*value).entry(level) {
            Entry::Table(at) => Some((at.0, (slot - table) / 8)),
            _ => None,
        };
        self.memory.range(table..table + PAGE_SIZE).filter_map(entry).collect()
    }

    fn reach(&mut self, table: u64, level: Level, base: u64) {
        assert!(self.live.insert(table, (level, base)).is_none(), "{table:#x} is linked twice");
        for (child, index) in self.children(table, level) {
            self.reach(child, level.below(), base + index * level.size());
        }
    }

    fn unreach(&mut self, table: u64, level: Level) {
        self.live.remove(&table);
        self.dying.insert(table);
        for (child, _) in self.children(table, level) {
            self.unreach(child, level.below());
        }
    }
}
