//! EL2's own address space: stage 1 of the EL2 translation regime, one range of 48-bit addresses (HCR_EL2.E2H = 0).
//!
//! W^X is a matter of type: a [`Section`] says what the memory is for, and none of them can be written and executed.
//! The boot code makes its first tables by hand with the same constants.

use core::ops::Range;

use super::descriptor::{Attributes, Descriptor, Geometry, physical_bits, physical_size_field};
use super::tables::{Tables, Translation};
use super::{MapError, Regime};
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::Hw;

/// Attribute index of Device-nGnRE memory in [`MAIR`].
const DEVICE_INDEX: u64 = 0;
/// Attribute index of normal write-back memory in [`MAIR`].
const NORMAL_INDEX: u64 = 1;
/// Attribute index of normal non-cacheable memory in [`MAIR`].
const NON_CACHEABLE_INDEX: u64 = 2;

/// `MAIR_EL2`: Device-nGnRE; normal, write-back, read and write allocate, inner and outer; normal, not cacheable
/// (DDI 0487 D24.2).
pub const MAIR: u64 =
    0x04 << (8 * DEVICE_INDEX) | 0xff << (8 * NORMAL_INDEX) | 0x44 << (8 * NON_CACHEABLE_INDEX);

/// `TCR_EL2` for `ID_AA64MMFR0_EL1.PARange` (DDI 0487 D24.2): 48-bit addresses, 4 KiB granule, table walks of
/// inner shareable write-back memory.
pub const fn tcr(parange: u8) -> u64 {
    const RES1: u64 = 1 << 31 | 1 << 23;
    const T0SZ: u64 = 64 - 48;
    const IRGN0_WRITE_BACK: u64 = 1 << 8;
    const ORGN0_WRITE_BACK: u64 = 1 << 10;
    const SH0_INNER: u64 = 3 << 12;
    RES1 | physical_size_field(parange) << 16
        | SH0_INNER
        | ORGN0_WRITE_BACK
        | IRGN0_WRITE_BACK
        | T0SZ
}

/// Bits of a table descriptor besides the address (DDI 0487 D8.3.1).
pub const DESC_TABLE: u64 = Descriptor::table(Pa(0)).0;
/// What makes a leaf descriptor of levels 1 and 2 a block.
pub const DESC_BLOCK: u64 = 0b01;
/// What makes a leaf descriptor of level 3 a page.
pub const DESC_PAGE: u64 = 0b11;

/// What memory is for, and with it how EL2 may access it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Instructions: read and execute.
    Text,
    /// Constants: read.
    ReadOnlyData,
    /// Everything else in RAM: read and write.
    Data,
    /// Registers of a device: read and write, in order.
    Device,
    /// RAM that a device which does not look into caches shares: read and write.
    NonCacheable,
}

impl Section {
    /// The attribute bits of a leaf descriptor; the type bits are [`DESC_BLOCK`] or [`DESC_PAGE`].
    pub const fn attributes(self) -> Attributes {
        /// Access flag: set, or the first access faults (DDI 0487 D8.5).
        const ACCESSED: u64 = 1 << 10;
        /// AP[1], RES1 in a regime without EL0 (DDI 0487 D8.4).
        const AP1: u64 = 1 << 6;
        /// AP[2]: no writes.
        const READ_ONLY: u64 = 1 << 7;
        /// XN: no execution (DDI 0487 D8.4).
        const NO_EXECUTE: u64 = 1 << 54;
        /// SH[1:0]: inner shareable. Without effect on device and non-cacheable memory (DDI 0487 D8.6).
        const INNER: u64 = 3 << 8;
        const NORMAL: u64 = NORMAL_INDEX << 2 | INNER;
        const COMMON: u64 = ACCESSED | AP1;
        Attributes::from_bits(match self {
            Self::Text => COMMON | NORMAL | READ_ONLY,
            Self::ReadOnlyData => COMMON | NORMAL | READ_ONLY | NO_EXECUTE,
            Self::Data => COMMON | NORMAL | NO_EXECUTE,
            Self::Device => COMMON | DEVICE_INDEX << 2 | NO_EXECUTE,
            Self::NonCacheable => COMMON | NON_CACHEABLE_INDEX << 2 | INNER | NO_EXECUTE,
        })
    }
}

/// EL2's address space.
#[derive(Debug)]
pub struct El2Map {
    tables: Tables,
}

impl El2Map {
    /// An address space with nothing in it, on a board of this `ID_AA64MMFR0_EL1.PARange`.
    pub fn new(hw: &impl Hw, parange: u8) -> Result<Self, MapError> {
        let geometry = Geometry::stage1(physical_bits(parange));
        Ok(Self { tables: Tables::new(hw, Regime::El2, geometry)? })
    }

    /// The address space whose four-level tables the boot code made, with their root at `root`, in `frames` frames.
    /// What they map must be in blocks and pages as this module makes them.
    pub const fn adopt(root: Pa, frames: u32, parange: u8) -> Self {
        let geometry = Geometry::stage1(physical_bits(parange));
        Self { tables: Tables::adopt(Regime::El2, geometry, root, frames) }
    }

    /// The value for `TTBR0_EL2`.
    pub const fn ttbr(&self) -> u64 {
        self.tables.root().0
    }

    /// Frames that the tables take.
    pub const fn table_frames(&self) -> u32 {
        self.tables.frames()
    }

    /// Maps `len` bytes at `va` to those at `pa`. Nothing may be mapped there yet.
    pub fn map(
        &mut self,
        hw: &impl Hw,
        va: u64,
        pa: Pa,
        len: u64,
        section: Section,
    ) -> Result<(), MapError> {
        self.tables.map(hw, va, pa, len, section.attributes())
    }

    /// Maps all whole pages of a range of RAM at its physical address plus `base`, as data. Where `base` is a multiple
    /// of 1 GiB that takes one entry a GiB.
    pub fn map_direct(&mut self, hw: &impl Hw, base: u64, ram: Range<Pa>) -> Result<(), MapError> {
        let out_of_range = MapError::OutOfRange(ram.start.0);
        let start = ram.start.checked_add(PAGE_SIZE - 1).ok_or(out_of_range)?;
        let start = start.align_down(PAGE_SIZE);
        let len = ram.end.align_down(PAGE_SIZE).0.saturating_sub(start.0);
        let va = base.checked_add(start.0).ok_or(out_of_range)?;
        self.map(hw, va, start, len, Section::Data)
    }

    /// Unmaps `len` bytes at `va`, as for a guard page. They must not be part of a larger block.
    pub fn unmap(&mut self, hw: &impl Hw, va: u64, len: u64) -> Result<(), MapError> {
        self.tables.unmap(hw, va, len)
    }

    /// What `va` translates to.
    pub fn translate(&self, hw: &impl Hw, va: u64) -> Option<Translation> {
        self.tables.translate(hw, va)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::fake::{Event, FakeHw};

    const GIB: u64 = 1 << 30;
    const IMAGE: u64 = 0xff00_0000_0000;
    const ALL: [Section; 5] = [
        Section::Text,
        Section::ReadOnlyData,
        Section::Data,
        Section::Device,
        Section::NonCacheable,
    ];

    fn board() -> (FakeHw, El2Map) {
        let hw = FakeHw::new(Pa(GIB), 64 * PAGE_SIZE as usize);
        let map = El2Map::new(&hw, 4).unwrap();
        (hw, map)
    }

    #[test]
    fn nothing_is_both_written_and_executed() {
        for section in ALL {
            let bits = section.attributes().bits();
            let (read_only, no_execute) = (bits & 1 << 7 != 0, bits & 1 << 54 != 0);
            assert!(read_only || no_execute, "{section:?}");
            assert_eq!(!no_execute, section == Section::Text);
        }
    }

    #[test]
    fn registers_and_attributes_are_as_the_manual_has_them() {
        assert_eq!(MAIR, 0x44_ff04);
        assert_eq!(tcr(4), 0x8084_3510);
        assert_eq!(tcr(6), 0x8085_3510);
        assert_eq!(DESC_TABLE, 3);
        let bits = ALL.map(|section| section.attributes().bits());
        let xn = 1 << 54;
        assert_eq!(bits, [0x7c4, xn | 0x7c4, xn | 0x744, xn | 0x440, xn | 0x748]);
    }

    #[test]
    fn ram_is_mapped_directly_in_few_stores() {
        let (hw, mut map) = board();
        hw.events();
        let base = 0x8000_0000_0000;
        map.map_direct(&hw, base, Pa(GIB)..Pa(3 * GIB + 5)).unwrap();
        assert_eq!(map.table_frames(), 2);
        // Two blocks, the link to their table, and the table on and off the list of spares.
        let stores = hw.events().iter().filter(|e| matches!(e, Event::Descriptor(..))).count();
        assert_eq!(stores, 5);
        let found = map.translate(&hw, base + 2 * GIB + 9).unwrap();
        assert_eq!((found.pa, found.level.number()), (Pa(2 * GIB + 9), 1));
        assert_eq!(found.attributes, Section::Data.attributes());
        let odd = Pa(5 * GIB + 1)..Pa(5 * GIB + 0x1fff);
        map.map_direct(&hw, base, odd).unwrap();
        assert_eq!(map.translate(&hw, base + 5 * GIB), None);
        let beyond = map.map_direct(&hw, u64::MAX, Pa(4096)..Pa(8192));
        assert_eq!(beyond, Err(MapError::OutOfRange(4096)));
        assert_eq!(
            map.map_direct(&hw, base, Pa(u64::MAX)..Pa(0)),
            Err(MapError::OutOfRange(u64::MAX))
        );
        assert_eq!(map.map_direct(&hw, base, Pa(GIB * 9)..Pa(0)), Ok(()));
    }

    #[test]
    fn a_guard_page_is_unmapped_from_a_stack_and_its_table_stays() {
        let (hw, mut map) = board();
        map.map(&hw, IMAGE, Pa(GIB), 0x3000, Section::Data).unwrap();
        let frames = map.table_frames();
        hw.events();
        map.unmap(&hw, IMAGE, 0x1000).unwrap();
        let events = hw.events();
        assert!(matches!(events[..], [Event::Descriptor(_, 0), Event::TlbEl2]), "{events:?}");
        map.unmap(&hw, IMAGE, 0x20_0000).unwrap();
        assert_eq!(map.translate(&hw, IMAGE + 0x2000), None);
        assert_eq!(map.table_frames(), frames);
    }

    #[test]
    fn a_block_that_el2_may_run_from_is_never_broken() {
        let (hw, mut map) = board();
        map.map(&hw, IMAGE, Pa(GIB), GIB, Section::Data).unwrap();
        hw.events();
        assert_eq!(map.unmap(&hw, IMAGE + 0x1000, 0x1000), Err(MapError::InBlock(IMAGE + 0x1000)));
        assert_eq!(hw.events(), []);
        map.unmap(&hw, IMAGE, GIB).unwrap();
        assert_eq!(map.translate(&hw, IMAGE), None);
    }

    #[test]
    fn tables_of_the_boot_code_can_be_taken_over() {
        let (hw, mut boot) = board();
        boot.map(&hw, IMAGE, Pa(GIB), 0x1000, Section::Text).unwrap();
        let mut map = El2Map::adopt(Pa(boot.ttbr()), boot.table_frames(), 4);
        map.map(&hw, IMAGE + 0x1000, Pa(GIB + 0x1000), 0x1000, Section::ReadOnlyData).unwrap();
        assert_eq!(map.translate(&hw, IMAGE).unwrap().attributes, Section::Text.attributes());
        assert_eq!(map.table_frames(), boot.table_frames());
        let twice = map.map(&hw, IMAGE, Pa(0), 0x1000, Section::Device);
        assert_eq!(twice, Err(MapError::AlreadyMapped(IMAGE)));
    }
}
