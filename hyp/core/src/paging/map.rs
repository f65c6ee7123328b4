//! Mapping where nothing is mapped, with the largest entries that fit.

use core::ops::Range;

use super::MapError;
use super::change::Change;
use super::descriptor::{Attributes, Descriptor, Entry, Level};
use super::tables::{Part, Table, Tables, parts};
use crate::addr::Pa;
use crate::hw::Hw;

impl Tables {
    /// Maps `len` bytes at `ia` to those at `pa`. Nothing may be mapped there yet.
    pub fn map(
        &mut self,
        hw: &impl Hw,
        ia: u64,
        pa: Pa,
        len: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let range = self.input(ia, len)?;
        self.check_output(pa, len)?;
        let plan = Plan { offset: pa.0.wrapping_sub(ia), attributes };
        let tables = plan.cost(hw, self.root_table(), range.clone())?;
        let mut change = Change::new(hw, self.regime);
        change.reserve(tables)?;
        let done = plan.apply(&mut change, self.root_table(), range);
        change.finish(&mut self.frames);
        done
    }
}

/// What goes where.
#[derive(Clone, Copy)]
struct Plan {
    /// Output address less input address.
    offset: u64,
    attributes: Attributes,
}

impl Plan {
    fn output(self, ia: u64) -> Pa {
        Pa(ia.wrapping_add(self.offset))
    }

    /// Whether one entry of `level` maps the part.
    fn fits(self, level: Level, part: Part) -> bool {
        part.whole && level.maps_memory() && self.offset & (level.size() - 1) == 0
    }

    /// What of `range` whole entries of `level` map; an empty range at its start where none can.
    fn whole(self, level: Level, range: &Range<u64>) -> Range<u64> {
        let size = level.size();
        if !level.maps_memory() || self.offset & (size - 1) != 0 {
            return range.start..range.start;
        }
        let start = range.start.next_multiple_of(size);
        let end = range.end & !(size - 1);
        if start < end { start..end } else { range.start..range.start }
    }

    /// Tables that mapping `range` needs, where it is free.
    fn cost(self, hw: &impl Hw, table: Table, range: Range<u64>) -> Result<u32, MapError> {
        let mut tables = 0;
        for part in parts(table.level, range) {
            match table.load(hw, part.start) {
                // Nothing is below it.
                Entry::Invalid if table.level == Level::L3 => {}
                Entry::Leaf(..) => return Err(MapError::AlreadyMapped(part.start)),
                Entry::Table(next) => {
                    tables += self.cost(hw, table.child(part.start, next), part.range())?;
                }
                Entry::Invalid => tables += self.cost_of_new(table.level, part),
            }
        }
        Ok(tables)
    }

    /// Tables that mapping a part needs under an entry of `level` that is invalid.
    fn cost_of_new(self, level: Level, part: Part) -> u32 {
        if self.fits(level, part) {
            return 0;
        }
        let below = level.below();
        if below == Level::L3 {
            return 1;
        }
        // Whole entries of that level need none, so only the ragged ends count.
        let whole = self.whole(below, &part.range());
        let ragged = [part.start..whole.start, whole.end..part.end];
        let ragged = ragged.into_iter().flat_map(|range| parts(below, range));
        1 + ragged.map(|part| self.cost_of_new(below, part)).sum::<u32>()
    }

    /// Writes the entries for `range`; a new table is complete before it is linked.
    fn apply<H: Hw>(
        self,
        change: &mut Change<'_, H>,
        table: Table,
        range: Range<u64>,
    ) -> Result<(), MapError> {
        // First all that whole entries map, of which there may be hundreds: nothing is to be decided about them.
        let whole = self.whole(table.level, &range);
        for ia in whole.clone().step_by(table.level.size() as usize) {
            let leaf = Descriptor::leaf(table.level, self.output(ia), self.attributes);
            change.store(table, ia, leaf);
        }
        let ragged = [range.start..whole.start, whole.end..range.end];
        for part in ragged.into_iter().flat_map(|range| parts(table.level, range)) {
            let ia = part.start;
            if let Entry::Table(next) = table.load(change.hw, ia) {
                self.apply(change, table.child(ia, next), part.range())?;
            } else {
                let child = table.new_child(ia, change.table()?);
                self.apply(change, child, part.range())?;
                change.store(table, ia, Descriptor::table(child.at));
            }
        }
        Ok(())
    }
}
