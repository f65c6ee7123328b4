//! A guest's physical address space: stage 2 of the EL1&0 translation regime (DDI 0487 D8.1).
//!
//! The problem: a guest may reach its own RAM and nothing else, whatever it does, and later work takes pages away from
//! under it and puts others in their place while it runs.
//!
//! The idea: [`Stage2`] is the table engine of [`crate::paging`] with the attributes of a guest's memory, and with a
//! list of physical ranges that it refuses to map. Whoever maps guest RAM knows what belongs to the guest; the list is
//! a second lock on the same door, for EL2's own memory.
//!
//! Guest addresses have 39 bits, or as many as the board's physical addresses where those are fewer, for the
//! architecture forbids more (DDI 0487 D8.2): 512 GiB from one root table at level 1, so that a walk takes three
//! steps at most and one where RAM is in 1 GiB blocks. Not taken: all of the board's physical bits. Every guest would
//! have a larger root, concatenated of up to 16 tables, for addresses that no guest is given.

use alloc::sync::Arc;
use core::ops::Range;

use crate::addr::{Ipa, PAGE_SIZE, Pa, VmId};
use crate::hw::Hw;
use crate::paging::{
    Attributes, Geometry, MapError, Regime, Tables, physical_bits, physical_size_field,
};

/// Most bits of a guest's physical address.
const MAX_IPA_BITS: u8 = 39;

/// Bits of a guest's physical address for `ID_AA64MMFR0_EL1.PARange`.
pub const fn ipa_bits(parange: u8) -> u8 {
    let bits = physical_bits(parange);
    if bits < MAX_IPA_BITS { bits } else { MAX_IPA_BITS }
}

/// `VTCR_EL2` for `ID_AA64MMFR0_EL1.PARange` (DDI 0487 D24.2): [`ipa_bits`] from level 1, 4 KiB granule, table
/// walks of inner shareable write-back memory, 8-bit VMIDs, of which there are more than guests.
pub const fn vtcr(parange: u8) -> u64 {
    const RES1: u64 = 1 << 31;
    const SL0_LEVEL_1: u64 = 1 << 6;
    const IRGN0_WRITE_BACK: u64 = 1 << 8;
    const ORGN0_WRITE_BACK: u64 = 1 << 10;
    const SH0_INNER: u64 = 3 << 12;
    let t0sz = 64 - ipa_bits(parange) as u64;
    RES1 | physical_size_field(parange) << 16
        | SH0_INNER
        | ORGN0_WRITE_BACK
        | IRGN0_WRITE_BACK
        | SL0_LEVEL_1
        | t0sz
}

/// What a guest may do with a page of RAM. It may execute all of it: what in it is code is the guest's own matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read and execute.
    ReadOnly,
    /// Read, write and execute.
    ReadWrite,
}

/// S2AP\[0\]: reads (DDI 0487 D8.4).
const S2AP_READ: u64 = 1 << 6;
/// S2AP\[1\]: writes.
const S2AP_WRITE: u64 = 1 << 7;
/// XN\[1:0\] = 0b10: neither at EL1 nor at EL0, with FEAT_XNX or without (DDI 0487 D8.4).
const NO_EXECUTE: u64 = 1 << 54;
/// Access flag: set, or the first access faults (DDI 0487 D8.5).
const ACCESSED: u64 = 1 << 10;

impl Access {
    const fn of(attributes: Attributes) -> Self {
        if attributes.bits() & S2AP_WRITE != 0 { Self::ReadWrite } else { Self::ReadOnly }
    }

    /// Attributes of RAM with this access.
    const fn ram(self) -> Attributes {
        /// MemAttr\[3:0\]: normal, write-back inner and outer; what the guest says is weaker prevails
        /// (DDI 0487 D8.6).
        const WRITE_BACK: u64 = 0xf << 2;
        const INNER: u64 = 3 << 8;
        let common = ACCESSED | INNER | WRITE_BACK | S2AP_READ;
        Attributes::from_bits(match self {
            Self::ReadOnly => common,
            Self::ReadWrite => common | S2AP_WRITE,
        })
    }
}

/// Attributes of a device that a guest has for itself: Device-nGnRE, read and write, no execution.
const DEVICE: Attributes = {
    const NGNRE: u64 = 0x1 << 2;
    Attributes::from_bits(ACCESSED | NGNRE | S2AP_READ | S2AP_WRITE | NO_EXECUTE)
};

/// Where a guest's address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The physical address of the very byte.
    pub pa: Pa,
    /// What the guest may do there.
    pub access: Access,
    /// Level of the entry that maps it: 1 is a 1 GiB block, 2 a 2 MiB block, 3 a page.
    pub level: u8,
}

/// A guest's physical address space.
#[derive(Debug)]
pub struct Stage2 {
    tables: Tables,
    vm: VmId,
    forbidden: Arc<[Range<Pa>]>,
}

impl Stage2 {
    /// An address space with nothing in it, on a board of this `ID_AA64MMFR0_EL1.PARange`. What overlaps `forbidden`
    /// will never be mapped.
    pub fn new(
        hw: &impl Hw,
        vm: VmId,
        parange: u8,
        forbidden: Arc<[Range<Pa>]>,
    ) -> Result<Self, MapError> {
        if vm.0 == u8::MAX {
            return Err(MapError::NoVmid(vm));
        }
        let geometry = Geometry::stage2(ipa_bits(parange), physical_bits(parange));
        let tables = Tables::new(hw, Regime::Guest(vm), geometry)?;
        Ok(Self { tables, vm, forbidden })
    }

    /// Maps `len` bytes of RAM at `ipa`, read and write, with the largest blocks that fit. Nothing may be mapped there.
    pub fn map_ram(&mut self, hw: &impl Hw, ipa: Ipa, pa: Pa, len: u64) -> Result<(), MapError> {
        self.check_allowed(pa, len)?;
        self.tables.map(hw, ipa.0, pa, len, Access::ReadWrite.ram())
    }

    /// Maps the page at `pa` at `ipa`, for the guest to read. Nothing may be mapped there.
    pub fn map_data_page(&mut self, hw: &impl Hw, ipa: Ipa, pa: Pa) -> Result<(), MapError> {
        self.map_shared(hw, ipa, pa, PAGE_SIZE, Access::ReadOnly)
    }

    /// Maps `len` bytes of memory that others have too at `ipa`, not to be executed, with the largest blocks that fit. Nothing
    /// may be mapped there.
    pub fn map_shared(
        &mut self,
        hw: &impl Hw,
        ipa: Ipa,
        pa: Pa,
        len: u64,
        access: Access,
    ) -> Result<(), MapError> {
        self.check_allowed(pa, len)?;
        let data = Attributes::from_bits(access.ram().bits() | NO_EXECUTE);
        self.tables.map(hw, ipa.0, pa, len, data)
    }

    /// Maps `len` bytes of a device's registers at `ipa`. Nothing may be mapped there.
    pub fn map_device(&mut self, hw: &impl Hw, ipa: Ipa, pa: Pa, len: u64) -> Result<(), MapError> {
        self.check_allowed(pa, len)?;
        self.tables.map(hw, ipa.0, pa, len, DEVICE)
    }

    /// Unmaps `len` bytes at `ipa`; holes in the range are no error. No core can reach them when this returns.
    pub fn unmap(&mut self, hw: &impl Hw, ipa: Ipa, len: u64) -> Result<(), MapError> {
        self.tables.unmap(hw, ipa.0, len)
    }

    /// Changes what the guest may do with `len` bytes at `ipa`, all of them mapped. It holds on every core when this
    /// returns.
    pub fn protect(
        &mut self,
        hw: &impl Hw,
        ipa: Ipa,
        len: u64,
        access: Access,
    ) -> Result<(), MapError> {
        self.tables.protect(hw, ipa.0, len, access.ram())
    }

    /// Puts the RAM page at `pa` in the place of the one at `ipa`, with `access`, and returns that one. No core reaches
    /// the old page when this returns.
    pub fn remap_page(
        &mut self,
        hw: &impl Hw,
        ipa: Ipa,
        pa: Pa,
        access: Access,
    ) -> Result<Pa, MapError> {
        self.check_allowed(pa, PAGE_SIZE)?;
        self.tables.remap_page(hw, ipa.0, pa, access.ram())
    }

    /// Where `ipa` leads.
    #[inline]
    pub fn translate(&self, hw: &impl Hw, ipa: Ipa) -> Option<Mapping> {
        let found = self.tables.translate(hw, ipa.0)?;
        let access = Access::of(found.attributes);
        Some(Mapping { pa: found.pa, access, level: found.level.number() })
    }

    /// Frames that the tables take.
    pub const fn table_frames(&self) -> u32 {
        self.tables.frames()
    }

    /// Physical address of the root table.
    pub const fn root(&self) -> Pa {
        self.tables.root()
    }

    /// The value for `VTTBR_EL2` (DDI 0487 D24.2): the VMID, one more than the guest's number, and the root.
    pub const fn vttbr(&self) -> u64 {
        (self.vm.0 as u64 + 1) << 48 | self.tables.root().0
    }

    /// Gives all tables back, the guest's RAM stays its owner's. No core may have [`Stage2::vttbr`] loaded any more.
    pub fn free(self, hw: &impl Hw) {
        self.tables.free(hw);
    }

    fn check_allowed(&self, pa: Pa, len: u64) -> Result<(), MapError> {
        let end = pa.checked_add(len).ok_or(MapError::OutOfRange(pa.0))?;
        match self.forbidden.iter().find(|f| f.start < end && pa < f.end) {
            Some(range) => Err(MapError::Forbidden(range.start.max(pa))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
