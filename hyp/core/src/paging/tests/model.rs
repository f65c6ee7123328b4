//! What tables should translate, as a list of ranges; and random changes made to both.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::watch::Watch;
use super::{GIB, MIB, READ_ONLY, READ_WRITE, frames_left, guest_tables};
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::fake::FakeHw;
use crate::paging::{Attributes, MapError, Tables};

/// Start to (end, output less input, attributes).
#[derive(Clone, PartialEq, Debug, Default)]
struct Model(BTreeMap<u64, (u64, u64, Attributes)>);

impl Model {
    fn at(&self, ia: u64) -> Option<(Pa, Attributes)> {
        let (_, &(end, offset, attributes)) = self.0.range(..=ia).next_back()?;
        (ia < end).then_some((Pa(ia.wrapping_add(offset)), attributes))
    }

    /// Takes out what lies in a range.
    fn cut(&mut self, start: u64, end: u64) -> Vec<(u64, u64, u64, Attributes)> {
        let mut out = Vec::new();
        for (s, (e, offset, attributes)) in core::mem::take(&mut self.0) {
            for (from, to) in [(s, e.min(start)), (s.max(end), e)] {
                if from < to {
                    self.0.insert(from, (to, offset, attributes));
                }
            }
            if s.max(start) < e.min(end) {
                out.push((s.max(start), e.min(end), offset, attributes));
            }
        }
        out
    }

    fn mapped(&self, start: u64, end: u64) -> u64 {
        self.clone().cut(start, end).iter().map(|(s, e, ..)| e - s).sum()
    }

    /// First page of a range that is mapped, or that is not.
    fn first(&self, start: u64, end: u64, mapped: bool) -> Option<u64> {
        let mut at = start;
        while at < end {
            match self.0.range(..=at).next_back() {
                Some((_, &(e, ..))) if at < e => {
                    if mapped {
                        return Some(at);
                    }
                    at = e;
                }
                _ if !mapped => return Some(at),
                _ => at = *self.0.range(at..).next()?.0,
            }
        }
        None
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    /// Some page of a small part of the address space around the border between two GiB, often aligned.
    fn address(&mut self) -> u64 {
        let near = [GIB, 2 * GIB, 2 * GIB - 4 * MIB, 2 * GIB + 6 * MIB][self.below(4) as usize];
        match self.below(4) {
            0 => near + self.below(1024) * PAGE_SIZE,
            1 => near + self.below(6) * 2 * MIB,
            2 => near - self.below(6) * PAGE_SIZE,
            _ => near & !(GIB - 1),
        }
    }

    fn length(&mut self) -> u64 {
        match self.below(6) {
            0 => GIB,
            1 | 2 => self.below(4) * 2 * MIB,
            3 => self.below(1200) * PAGE_SIZE,
            _ => self.below(5) * PAGE_SIZE,
        }
    }
}

struct Run {
    hw: FakeHw,
    tables: Tables,
    watch: Watch,
    model: Model,
    random: Random,
}

impl Run {
    /// One random change to the tables; then to the model, if it should succeed. Returns both outcomes.
    fn step(&mut self) -> (Result<(), MapError>, Result<Model, MapError>) {
        let mut next = self.model.clone();
        let (ia, len) = (self.random.address(), self.random.length());
        let (hw, tables, end) = (&self.hw, &mut self.tables, ia + len);
        let attributes = [READ_ONLY, READ_WRITE][self.random.below(2) as usize];
        let check =
            |at: Option<u64>, error: fn(u64) -> MapError| at.map_or(Ok(()), |at| Err(error(at)));
        match self.random.below(8) {
            0..=2 => {
                let pa = Pa(self.random.address() + self.random.below(2) * 4 * GIB);
                let done = tables.map(hw, ia, pa, len, attributes);
                let fits = check(next.first(ia, end, true), MapError::AlreadyMapped);
                if len > 0 {
                    next.0.insert(ia, (end, pa.0.wrapping_sub(ia), attributes));
                }
                (done, fits.map(|()| next))
            }
            3 | 4 => {
                let done = tables.unmap(hw, ia, len);
                next.cut(ia, end);
                (done, Ok(next))
            }
            5 | 6 => {
                let done = tables.protect(hw, ia, len, attributes);
                let fits = check(next.first(ia, end, false), MapError::NotMapped);
                for (s, e, offset, _) in next.cut(ia, end) {
                    next.0.insert(s, (e, offset, attributes));
                }
                (done, fits.map(|()| next))
            }
            _ => {
                let pa = Pa(self.random.address());
                let done = tables.remap_page(hw, ia, pa, attributes);
                let old = next.at(ia).map(|(pa, _)| pa).ok_or(MapError::NotMapped(ia));
                if let (Ok(done), Ok(old)) = (done, old) {
                    assert_eq!(done, old);
                }
                next.cut(ia, ia + PAGE_SIZE);
                next.0.insert(ia, (ia + PAGE_SIZE, pa.0.wrapping_sub(ia), attributes));
                (done.map(|_| ()), old.map(|_| next))
            }
        }
    }

    /// Compares at the borders of all ranges, and at some random places.
    fn compare(&mut self) {
        let borders = self.model.0.iter().flat_map(|(&s, &(e, ..))| [s - 1, s, e - 1, e]);
        let mut places: Vec<u64> = borders.collect();
        places.extend((0..8).map(|_| self.random.address() + self.random.below(PAGE_SIZE)));
        for ia in places {
            let found = self.tables.translate(&self.hw, ia).map(|t| (t.pa, t.attributes));
            assert_eq!(found, self.model.at(ia), "at {ia:#x}");
        }
        assert_eq!(self.watch.tables(), self.tables.frames() as usize);
        assert!(self.watch.no_table_is_empty());
    }
}

#[test]
fn any_sequence_of_changes_does_what_a_list_of_ranges_does() {
    let (mut refused, mut short, mut done) = (0, 0, 0);
    for seed in 1..=24u64 {
        let hw = FakeHw::new(Pa(GIB), 128 * PAGE_SIZE as usize);
        let free = hw.free_frames();
        let tables = guest_tables(&hw, 39);
        // Some runs have plenty of frames, others hardly any.
        let hidden = if seed % 3 == 0 { frames_left(&hw, 4) } else { Vec::new() };
        let watch = Watch::new(&tables);
        hw.events();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut run = Run { hw, tables, watch, model: Model::default(), random };
        for _ in 0..250 {
            let before = (run.hw.free_frames(), run.tables.frames());
            let (got, want) = run.step();
            let changed = run.watch.read(&run.hw);
            match (got, want) {
                (Ok(()), Ok(next)) => {
                    run.model = next;
                    done += 1;
                }
                (Err(MapError::OutOfFrames), Ok(_)) => short += 1,
                (got, want) => {
                    assert_eq!(got.err(), want.err());
                    refused += 1;
                }
            }
            if got.is_err() {
                assert!(!changed);
                assert_eq!(before, (run.hw.free_frames(), run.tables.frames()));
            }
            run.compare();
        }
        run.tables.free(&run.hw);
        run.watch.read(&run.hw);
        assert_eq!(run.hw.free_frames() + hidden.len() as u64, free);
    }
    assert!(refused > 500 && short > 50 && done > 1500, "{refused} {short} {done}");
}

#[test]
fn the_model_itself_finds_holes_and_what_is_mapped() {
    let mut model = Model::default();
    model.0.insert(0x1000, (0x4000, 0, READ_WRITE));
    assert_eq!(model.first(0, 0x8000, true), Some(0x1000));
    assert_eq!(model.first(0x2000, 0x8000, false), Some(0x4000));
    assert_eq!(model.first(0x2000, 0x4000, false), None);
    assert_eq!(model.first(0x4000, 0x8000, true), None);
    model.cut(0x2000, 0x3000);
    assert_eq!(model.mapped(0, 0x8000), 0x2000);
}
