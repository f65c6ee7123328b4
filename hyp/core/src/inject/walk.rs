//! A guest's own translation, followed in software: at which level of its tables a walk left its RAM, and where an
//! address leads, for a back-trace of a guest.
//!
//! When stage 2 refuses an access that a stage 1 walk makes, the core reports the address of the descriptor, but not
//! its level, and the external abort that the guest is due has the level in its status code. So the walk is followed
//! again, in software, until the descriptor that lies in the refused page. It is four loads at most, on a path that
//! ends in the guest's own panic. The guest may change its tables meanwhile: then the answer is another level, or none.

use crate::addr::{Ipa, PAGE_SIZE};

/// The registers that govern a guest's own translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stage1 {
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1.
    pub ttbr0: u64,
    /// TTBR1_EL1.
    pub ttbr1: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
}

/// SCTLR_EL1.M: addresses are translated at all.
const SCTLR_M: u64 = 1 << 0;
/// SCTLR_EL1.EE: tables are big-endian.
const SCTLR_EE: u64 = 1 << 25;
/// The bit of a virtual address that selects TTBR1_EL1 (DDI 0487 D8.2.4).
const VA_UPPER: u64 = 1 << 55;
/// A descriptor of a table, or of a page at the last level.
const DESCRIPTOR_TABLE: u64 = 0b11;
/// A descriptor of a block (DDI 0487 D8.3).
const DESCRIPTOR_BLOCK: u64 = 0b01;
/// Bits 47:0: guests have neither 52-bit addresses nor 128-bit descriptors.
const ADDRESS: u64 = (1 << 48) - 1;

impl Stage1 {
    /// The level of the descriptor for `va` that lies in the page of `refused`; `read` gives the descriptor at an
    /// address of the guest's RAM, or `None` outside it.
    pub fn level_of(&self, va: u64, refused: Ipa, read: impl Fn(Ipa) -> Option<u64>) -> Option<u8> {
        let mut found = None;
        self.walk(va, |level, at| {
            if at.align_down(PAGE_SIZE) == refused.align_down(PAGE_SIZE) {
                found = Some(level);
                return None;
            }
            read(at)
        });
        found
    }

    /// Where `va` leads; `read` is as for [`Stage1::level_of`]. `None` where the tables lead nowhere.
    pub fn translate(&self, va: u64, read: impl Fn(Ipa) -> Option<u64>) -> Option<Ipa> {
        if self.sctlr & SCTLR_M == 0 {
            return Some(Ipa(va));
        }
        self.walk(va, |_, at| read(at))
    }

    /// Follows the tables for `va`; `visit` gets the level and the address of each descriptor and gives its value, or
    /// `None` to end the walk.
    fn walk(&self, va: u64, mut visit: impl FnMut(u8, Ipa) -> Option<u64>) -> Option<Ipa> {
        let upper = va & VA_UPPER != 0;
        let (base, size_offset) =
            if upper { (self.ttbr1, self.tcr >> 16 & 63) } else { (self.ttbr0, self.tcr & 63) };
        let granule = self.granule_bits(upper)?;
        let stride = granule - 3;
        let input = 64u32
            .checked_sub(size_offset as u32)
            .filter(|bits| (granule + 1..=52).contains(bits))?;
        let levels = (input - granule).div_ceil(stride).min(4);
        // TTBRx_EL1.CnP is bit 0 and the ASID is in bits 63:48.
        let mut table = base & ADDRESS & !1;
        for level in 4 - levels..=3 {
            let shift = granule + stride * (3 - level);
            let bits = if level == 4 - levels { input - shift } else { stride };
            let index = va >> shift & ((1 << bits) - 1);
            let raw = visit(level as u8, Ipa(table.wrapping_add(8 * index)))?;
            let descriptor = if self.sctlr & SCTLR_EE != 0 { raw.swap_bytes() } else { raw };
            let leaf = match (descriptor & DESCRIPTOR_TABLE, level) {
                (DESCRIPTOR_TABLE, 3) => true,
                (DESCRIPTOR_TABLE, _) => false,
                (DESCRIPTOR_BLOCK, 1 | 2) => true,
                _ => return None,
            };
            if leaf {
                let within = (1 << shift) - 1;
                return Some(Ipa(descriptor & ADDRESS & !within | va & within));
            }
            table = descriptor & ADDRESS & !((1 << granule) - 1);
        }
        None
    }

    /// log2 of the granule: TCR_EL1.TG0 and TG1, which encode it differently.
    fn granule_bits(&self, upper: bool) -> Option<u32> {
        if upper {
            [None, Some(14), Some(12), Some(16)][(self.tcr >> 30 & 3) as usize]
        } else {
            [Some(12), Some(16), Some(14), None][(self.tcr >> 14 & 3) as usize]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const T48: u64 = 16;
    const NOWHERE: u64 = 0x10_0000_0000;

    /// Tables of 4 KiB granule, one a level, for `va`; the one of `level` lies nowhere.
    fn walk(va: u64, levels: core::ops::Range<u8>, lost: u8) -> (u64, BTreeMap<u64, u64>) {
        let place = |level: u8| {
            if level == lost { NOWHERE } else { 0x4000_0000 + 0x1000 * u64::from(level) }
        };
        let memory = levels
            .clone()
            .filter(|&level| level != lost)
            .map(|level| {
                let index = va >> (39 - 9 * u32::from(level)) & 511;
                (place(level) + 8 * index, place(level + 1) | DESCRIPTOR_TABLE)
            })
            .collect();
        (place(levels.start), memory)
    }

    #[test]
    fn every_level_is_found_in_both_halves() {
        for upper in [0u64, 0xffff << 48] {
            let va = upper | 0x1234_5678_9abc;
            for lost in 0..4 {
                let (root, memory) = walk(va, 0..4, lost);
                let stage1 = Stage1 {
                    tcr: T48 | T48 << 16 | 2 << 30,
                    ttbr0: if upper == 0 { root | 1 | 7 << 48 } else { 0 },
                    ttbr1: if upper == 0 { 0 } else { root },
                    sctlr: 0,
                };
                let refused = Ipa(NOWHERE | va & 0xfff);
                let level = stage1.level_of(va, refused, |at| memory.get(&at.0).copied());
                assert_eq!(level, Some(lost));
            }
        }
    }

    #[test]
    fn a_smaller_address_space_starts_at_a_later_level() {
        let va = 0x40_1234_5000;
        let (root, memory) = walk(va, 1..4, 3);
        let stage1 = Stage1 { tcr: 25, ttbr0: root, ..Stage1::default() };
        let read = |at: Ipa| memory.get(&at.0).copied();
        // With 39 bits the start is level 1, whose index has all nine bits.
        assert_eq!(stage1.level_of(va & 0x7f_ffff_ffff, Ipa(NOWHERE), read), Some(3));
    }

    #[test]
    fn an_address_leads_through_pages_and_blocks_to_a_byte() {
        let va = 0x1234_5678_9abc;
        let (root, mut memory) = walk(va, 0..4, 9);
        let stage1 = Stage1 { tcr: T48, ttbr0: root, sctlr: SCTLR_M, ..Stage1::default() };
        let to =
            |memory: &BTreeMap<u64, u64>| stage1.translate(va, |at| memory.get(&at.0).copied());
        assert_eq!(to(&memory), Some(Ipa(0x4000_4abc)), "the page is where `walk` puts level 4");
        let index = va >> 21 & 511;
        memory.insert(0x4000_2000 + 8 * index, 0x5540_0000 | DESCRIPTOR_BLOCK);
        assert_eq!(to(&memory), Some(Ipa(0x5540_0000 | va & 0x1f_ffff)));
        memory.insert(0x4000_2000 + 8 * index, 0);
        assert_eq!(to(&memory), None, "an invalid descriptor leads nowhere");
        let off = Stage1 { sctlr: 0, ..stage1 };
        assert_eq!(off.translate(va, |_| None), Some(Ipa(va)));
    }

    #[test]
    fn big_endian_tables_are_followed() {
        let (root, memory) = walk(0, 0..4, 2);
        let stage1 = Stage1 { tcr: T48, ttbr0: root, sctlr: SCTLR_EE, ..Stage1::default() };
        let read = |at: Ipa| memory.get(&at.0).map(|d| d.swap_bytes());
        assert_eq!(stage1.level_of(0, Ipa(NOWHERE), read), Some(2));
    }

    #[test]
    fn whatever_the_registers_hold_the_walk_ends() {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..50_000 {
            let stage1 = Stage1 { tcr: next(), ttbr0: next(), ttbr1: next(), sctlr: next() };
            let (va, refused, word) = (next(), Ipa(next() & 0xffff), next());
            let reads = core::cell::Cell::new(0);
            let level = stage1.level_of(va, refused, |_| {
                reads.set(reads.get() + 1);
                Some(word | DESCRIPTOR_TABLE)
            });
            assert!(reads.get() <= 4 && level.is_none_or(|level| level <= 3));
        }
    }
}
