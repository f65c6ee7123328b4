//! Descriptors and the shape of tables: VMSAv8-64 with the 4 KiB granule (DDI 0487 D8.3).

use crate::addr::{PAGE_SIZE, Pa};

/// Entries of one table: 512 descriptors of 8 bytes fill a page.
pub const ENTRIES: u64 = PAGE_SIZE / 8;
/// Bits of input address that one level resolves.
const LEVEL_BITS: u8 = 9;

/// Bit 0: the descriptor is valid (DDI 0487 D8.3.1).
const VALID: u64 = 1 << 0;
/// Bit 1: a table descriptor at levels 0-2, a page descriptor at level 3.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12: the next table, or the output address.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Level of a table: 0 (512 GiB an entry) to 3 (pages).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level(u8);

impl Level {
    /// Tables of tables of 1 GiB blocks.
    pub const L0: Self = Self(0);
    /// 1 GiB blocks.
    pub const L1: Self = Self(1);
    /// 2 MiB blocks.
    pub const L2: Self = Self(2);
    /// Pages.
    pub const L3: Self = Self(3);

    /// The level as the architecture numbers it.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The level that a table descriptor of this one leads to; pages lead nowhere.
    pub(super) const fn below(self) -> Self {
        if self.0 < 3 { Self(self.0 + 1) } else { Self(3) }
    }

    /// Input address bits below those that this level resolves.
    pub(super) const fn shift(self) -> u32 {
        (12 + LEVEL_BITS * (3 - self.0)) as u32
    }

    /// Bytes that one entry maps.
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }

    /// Whether an entry of this level may map memory: with 4 KiB and 48 bits all but level 0 (DDI 0487 D8.3.1).
    pub(super) const fn maps_memory(self) -> bool {
        self.0 > 0
    }
}

/// The attribute fields of a block or page descriptor, bits 63:50 and 11:2 (DDI 0487 D8.3.1). Only [`super::el2`] and
/// [`crate::stage2`] make them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes(u64);

impl Attributes {
    const FIELDS: u64 = 0xfffc_0000_0000_0ffc;
    /// Who may access: AP[2:1] at stage 1, S2AP at stage 2 (DDI 0487 D8.4). A live entry may change in these bits
    /// without break-before-make (DDI 0487 D8.16.1).
    const ACCESS: u64 = 0x3 << 6;

    /// Attributes of raw bits; others than the attribute fields are dropped.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::FIELDS)
    }

    /// The bits, in their place in a descriptor.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// These attributes with the access permissions of `other`.
    pub(super) const fn with_access_of(self, other: Self) -> Self {
        Self(self.0 & !Self::ACCESS | other.0 & Self::ACCESS)
    }
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// Nothing: an access faults.
    Invalid,
    /// A table of the next level.
    Table(Pa),
    /// Memory: a page at level 3, a block at levels 1 and 2.
    Leaf(Pa, Attributes),
}

/// A descriptor as it lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Maps nothing.
    pub const INVALID: Self = Self(0);

    /// Leads to the next level's table at `at`.
    pub const fn table(at: Pa) -> Self {
        Self(at.0 & ADDRESS | TABLE_OR_PAGE | VALID)
    }

    /// Maps the memory at `at`: a page at level 3, a block above.
    pub const fn leaf(level: Level, at: Pa, attributes: Attributes) -> Self {
        let kind = if level.0 == 3 { TABLE_OR_PAGE } else { 0 };
        Self(at.0 & ADDRESS | attributes.0 | kind | VALID)
    }

    /// What the descriptor says in a table of `level`; reserved encodings are invalid there (DDI 0487 D8.3.1).
    pub(super) const fn entry(self, level: Level) -> Entry {
        let at = Pa(self.0 & ADDRESS);
        match (self.0 & VALID != 0, self.0 & TABLE_OR_PAGE != 0, level.0) {
            (true, true, 0..=2) => Entry::Table(at),
            (true, true, _) | (true, false, 1 | 2) => {
                Entry::Leaf(at, Attributes::from_bits(self.0))
            }
            _ => Entry::Invalid,
        }
    }
}

/// The shape of a set of tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Input addresses are below `1 << input_bits`.
    pub input_bits: u8,
    /// Output addresses are below `1 << output_bits`.
    pub output_bits: u8,
    /// Level of the root.
    pub start: Level,
    /// The root is `1 << root_order` tables side by side, aligned to their size.
    pub root_order: u8,
}

impl Geometry {
    /// Stage 1 with 48-bit input: four levels.
    pub const fn stage1(output_bits: u8) -> Self {
        Self { input_bits: 48, output_bits, start: Level::L0, root_order: 0 }
    }

    /// Stage 2 with the fewest levels that still have 1 GiB blocks. Up to 43 bits that is a start at level 1, with up
    /// to 16 tables concatenated above 39 bits (DDI 0487 D8.2); beyond, at level 0. Fewer bits than 32, the least
    /// physical address size there is, are taken for 32, more than 48 for 48.
    pub const fn stage2(input_bits: u8, output_bits: u8) -> Self {
        match input_bits {
            0..=31 => Self::stage2(32, output_bits),
            32..=39 => Self { input_bits, output_bits, start: Level::L1, root_order: 0 },
            40..=43 => {
                Self { input_bits, output_bits, start: Level::L1, root_order: input_bits - 39 }
            }
            44..=48 => Self { input_bits, output_bits, start: Level::L0, root_order: 0 },
            _ => Self::stage2(48, output_bits),
        }
    }
}

/// Physical address bits for `ID_AA64MMFR0_EL1.PARange` (DDI 0487 D24.2). 52 bits and more count as 48: that is
/// what 4 KiB tables without FEAT_LPA2 can say.
pub const fn physical_bits(parange: u8) -> u8 {
    match parange {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// The PS field of `TCR_EL2` and `VTCR_EL2` for `ID_AA64MMFR0_EL1.PARange`: the same number, at most 48 bits.
pub(crate) const fn physical_size_field(parange: u8) -> u64 {
    if parange < 5 { parange as u64 } else { 5 }
}
