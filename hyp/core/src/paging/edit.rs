//! Changing what is mapped: removing it, changing who may access it, replacing a page. Blocks are split where needed.

use core::ops::Range;

use super::change::Change;
use super::descriptor::{Attributes, Descriptor, ENTRIES, Entry, Level};
use super::tables::{Part, Table, Tables, parts};
use super::{MapError, Regime};
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::Hw;

impl Tables {
    /// Unmaps `len` bytes at `ia`: afterwards nothing is mapped there, whether it was or not.
    pub fn unmap(&mut self, hw: &impl Hw, ia: u64, len: u64) -> Result<(), MapError> {
        let range = self.input(ia, len)?;
        self.edit(hw, range, Edit::Clear)
    }

    /// Gives `len` bytes at `ia` the access permissions of `attributes`, in place. All must be mapped.
    pub fn protect(
        &mut self,
        hw: &impl Hw,
        ia: u64,
        len: u64,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let range = self.input(ia, len)?;
        self.edit(hw, range, Edit::Protect(attributes))
    }

    /// Maps the page at `ia`, which is mapped, to `pa` with `attributes` instead. Returns where it was.
    pub fn remap_page(
        &mut self,
        hw: &impl Hw,
        ia: u64,
        pa: Pa,
        attributes: Attributes,
    ) -> Result<Pa, MapError> {
        let range = self.input(ia, PAGE_SIZE)?;
        self.check_output(pa, PAGE_SIZE)?;
        let old = self.translate(hw, ia).ok_or(MapError::NotMapped(ia))?;
        self.edit(hw, range, Edit::Replace(pa, attributes))?;
        Ok(old.pa)
    }

    fn edit(&mut self, hw: &impl Hw, range: Range<u64>, edit: Edit) -> Result<(), MapError> {
        let tables = edit.cost(hw, self.regime, self.root_table(), range.clone())?;
        let mut change = Change::new(hw, self.regime);
        change.reserve(tables)?;
        let done = edit.apply(&mut change, self.root_table(), range);
        change.finish(&mut self.frames);
        done
    }
}

/// What to do with the entries of a range.
#[derive(Clone, Copy)]
enum Edit {
    Clear,
    Protect(Attributes),
    /// Of one page.
    Replace(Pa, Attributes),
}

impl Edit {
    fn clears(self) -> bool {
        matches!(self, Self::Clear)
    }

    /// Tables that splitting blocks needs, where the range may be changed so.
    fn cost(
        self,
        hw: &impl Hw,
        regime: Regime,
        table: Table,
        range: Range<u64>,
    ) -> Result<u32, MapError> {
        let mut tables = 0;
        for part in parts(table.level, range) {
            let ia = part.start;
            match table.load(hw, ia) {
                Entry::Invalid if self.clears() => {}
                Entry::Invalid => return Err(MapError::NotMapped(ia)),
                Entry::Leaf(..) if part.whole => {}
                Entry::Leaf(..) if !regime.may_restructure() => return Err(MapError::InBlock(ia)),
                Entry::Leaf(..) => tables += cost_of_split(table.level, part),
                Entry::Table(_) if part.whole && self.clears() && regime.may_restructure() => {}
                Entry::Table(next) => {
                    tables += self.cost(hw, regime, table.child(ia, next), part.range())?;
                }
            }
        }
        Ok(tables)
    }

    /// Changes the entries of `range`.
    fn apply<H: Hw>(
        self,
        change: &mut Change<'_, H>,
        table: Table,
        range: Range<u64>,
    ) -> Result<(), MapError> {
        for part in parts(table.level, range) {
            match table.load(change.hw, part.start) {
                Entry::Invalid => {}
                Entry::Leaf(at, old) if part.whole => {
                    self.apply_to_leaf(change, table, part.start, at, old);
                }
                Entry::Leaf(at, old) => self.split(change, table, part, at, old)?,
                Entry::Table(next) => {
                    let child = table.child(part.start, next);
                    let all = part.whole && self.clears() && change.may_unlink();
                    if !all {
                        self.apply(change, child, part.range())?;
                    }
                    if all
                        || self.clears()
                            && change.may_unlink()
                            && is_empty(change.hw, child, part.end)
                    {
                        change.unlink(table, part.start, child);
                    }
                }
            }
        }
        Ok(())
    }

    fn apply_to_leaf<H: Hw>(
        self,
        change: &mut Change<'_, H>,
        table: Table,
        ia: u64,
        at: Pa,
        old: Attributes,
    ) {
        let was = Descriptor::leaf(table.level, at, old);
        match self {
            Self::Clear => {
                change.store(table, ia, Descriptor::INVALID);
                change.forget(table, ia);
            }
            Self::Protect(new) => {
                let now = Descriptor::leaf(table.level, at, old.with_access_of(new));
                if now != was {
                    change.store(table, ia, now);
                    change.forget(table, ia);
                }
            }
            Self::Replace(pa, new) => {
                let now = Descriptor::leaf(table.level, pa, new);
                if now != was {
                    change.replace(table, ia, now);
                }
            }
        }
    }

    /// Puts a table in the place of a block, changed as far as `part` goes. The table is complete before the block is
    /// broken, so a page is away no longer than the invalidation takes.
    fn split<H: Hw>(
        self,
        change: &mut Change<'_, H>,
        table: Table,
        part: Part,
        at: Pa,
        attributes: Attributes,
    ) -> Result<(), MapError> {
        let child = table.new_child(part.start, change.table()?);
        let size = child.level.size();
        for n in 0..ENTRIES {
            let leaf = Descriptor::leaf(child.level, at.offset(n * size), attributes);
            change.store(child, child.base + n * size, leaf);
        }
        self.apply(change, child, part.range())?;
        change.replace(table, part.start, Descriptor::table(child.at));
        Ok(())
    }
}

/// Tables that splitting a block of `level` needs, so that `part` of it has entries of its own.
fn cost_of_split(level: Level, part: Part) -> u32 {
    let below = level.below();
    let partly = |p: &Part| !p.whole;
    1 + parts(below, part.range()).filter(partly).map(|p| cost_of_split(below, p)).sum::<u32>()
}

/// Whether a table has no valid entry. The search starts behind the range just cleared, where an owner who unmaps page
/// after page has the next one.
fn is_empty(hw: &impl Hw, table: Table, from: u64) -> bool {
    let first = from.wrapping_sub(table.base) >> table.level.shift();
    (0..ENTRIES).all(|n| {
        let ia = table.base + (((first + n) % ENTRIES) << table.level.shift());
        table.load(hw, ia) == Entry::Invalid
    })
}

impl<H: Hw> Change<'_, H> {
    /// Unlinks everything in `range` of tables whose owner gives them up.
    pub(super) fn clear_all(&mut self, table: Table, range: Range<u64>) {
        // Clearing whole entries splits nothing and needs no frame, so it cannot fail.
        let cleared = Edit::Clear.apply(self, table, range);
        debug_assert_eq!(cleared, Ok(()));
    }
}
