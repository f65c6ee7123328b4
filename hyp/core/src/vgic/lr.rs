//! List registers: the few interrupts that the hardware's virtual CPU interface holds for the running guest.
//!
//! The format is that of `ICH_LR<n>_EL2` (IHI 0069 12.4) and `ICH_HCR_EL2`, `ICH_VMCR_EL2`. A GICv2's GICH, whose
//! registers say the same in 32 bits, is an implementation of [`ListRegisters`] that converts ([`gich`]).

use super::priority_bits;

/// Most list registers that the architecture allows.
pub const MAX_LIST_REGISTERS: usize = 16;

/// The virtual interface control registers of the core that owns the vCPU. All calls happen on that core, at EL2.
pub trait ListRegisters {
    /// How many list registers there are: `ICH_VTR_EL2.ListRegs` plus one, the same number for ever.
    fn count(&self) -> usize;
    /// `ICH_LR<index>_EL2`.
    fn read(&self, index: usize) -> u64;
    /// Sets `ICH_LR<index>_EL2`.
    fn write(&mut self, index: usize, value: u64);
    /// `ICH_ELRSR_EL2`: a bit for each list register that holds nothing and owes no maintenance interrupt.
    fn empty(&self) -> u32;
    /// `ICH_VMCR_EL2`: the guest's own group enables, priority mask and EOI mode.
    fn machine_control(&self) -> u64;
    /// `ICH_HCR_EL2`.
    fn control(&self) -> u64;
    /// Sets the bits of `ICH_HCR_EL2` that [`hcr`] names, and EOIcount. Other bits, traps for instance, are the
    /// implementation's to keep.
    fn set_control(&mut self, value: u64);
}

/// `ICH_HCR_EL2` (IHI 0069 12.4).
pub mod hcr {
    /// The virtual CPU interface works.
    pub const EN: u64 = 1 << 0;
    /// Maintenance interrupt where the guest ended an interrupt that is in no list register.
    pub const LRENPIE: u64 = 1 << 2;
    /// Maintenance interrupt while no list register is pending.
    pub const NPIE: u64 = 1 << 3;
    /// Maintenance interrupt while the guest has group 0 enabled.
    pub const VGRP0EIE: u64 = 1 << 4;
    /// Maintenance interrupt while the guest has group 0 disabled.
    pub const VGRP0DIE: u64 = 1 << 5;
    /// Maintenance interrupt while the guest has group 1 enabled.
    pub const VGRP1EIE: u64 = 1 << 6;
    /// Maintenance interrupt while the guest has group 1 disabled.
    pub const VGRP1DIE: u64 = 1 << 7;
    /// Writes to `ICC_DIR_EL1` trap (where `ICH_VTR_EL2.TDS` says so; else the bit does nothing).
    pub const TDIR: u64 = 1 << 14;
    /// How many interrupts the guest ended that were in no list register: five bits from here.
    pub const EOI_COUNT_SHIFT: u32 = 27;

    /// EOIcount of a value of the register.
    pub const fn eoi_count(value: u64) -> u32 {
        (value >> EOI_COUNT_SHIFT & 0x1f) as u32
    }
}

/// `ICH_VMCR_EL2` (IHI 0069 12.4).
pub mod vmcr {
    /// The guest enabled group 0.
    pub const VENG0: u64 = 1 << 0;
    /// The guest enabled group 1.
    pub const VENG1: u64 = 1 << 1;
    /// End of interrupt only drops the priority; `ICC_DIR_EL1` deactivates.
    pub const VEOIM: u64 = 1 << 9;
}

/// A GICv2's list registers (IHI 0048 5.3.8). `GICH_HCR`, `GICH_VMCR` (its groups and VEM) and `GICH_ELRSR` have the
/// bits that [`hcr`], [`vmcr`] and [`ListRegisters::empty`] are about at the same places.
pub mod gich {
    use super::HW;

    /// `GICH_LR.HW`; here and below the bits that are not those of the upper half of `ICH_LR<n>_EL2` shifted.
    const LR_HW: u32 = 1 << 31;
    /// State, at 29:28, from 31:30.
    const STATE: u32 = 0b11 << 28;
    /// Grp1, from 28.
    const GROUP: u32 = 1 << 30;
    /// The five bits of Priority, at 27:23, from 23:19.
    const PRIORITY: u32 = 0x1f << 23;
    /// PhysicalID with HW; without, bit 19 is EOI. At 19:10, from 9:0.
    const PHYSICAL: u32 = 0x3ff << 10;
    /// EOI.
    const EOI: u32 = 1 << 19;
    /// VirtualID, and without HW the CPUID of an SGI.
    const VIRTUAL: u32 = 0x1fff;
    /// VirtualID alone.
    const VIRTUAL_ID: u32 = 0x3ff;

    /// `GICH_LR<n>` for a value in the format of `ICH_LR<n>_EL2`.
    pub const fn from_lr(value: u64) -> u32 {
        let (upper, lower) = ((value >> 32) as u32, value as u32);
        let hw = if value & HW != 0 { LR_HW } else { 0 };
        hw | upper << 2 & GROUP
            | upper >> 2 & STATE
            | upper << 4 & PRIORITY
            | upper << 10 & PHYSICAL
            | lower & VIRTUAL
    }

    /// A value in the format of `ICH_LR<n>_EL2` for one of `GICH_LR<n>`.
    pub const fn to_lr(value: u32) -> u64 {
        let (hw, physical, lower) = if value & LR_HW != 0 {
            (HW, value & PHYSICAL, value & VIRTUAL_ID)
        } else {
            (0, value & EOI, value & VIRTUAL)
        };
        let upper =
            (value & GROUP) >> 2 | (value & STATE) << 2 | (value & PRIORITY) >> 4 | physical >> 10;
        hw | (upper as u64) << 32 | lower as u64
    }
}

/// `ICH_LR<n>_EL2` fields.
pub const PENDING: u64 = 1 << 62;
/// The guest took the interrupt and has not ended it.
pub const ACTIVE: u64 = 1 << 63;
/// Ending the virtual interrupt deactivates a physical one.
pub const HW: u64 = 1 << 61;
/// Without [`HW`]: maintenance interrupt once the interrupt is neither pending nor active.
pub const EOI: u64 = 1 << 41;
const GROUP_SHIFT: u32 = 60;
const PRIORITY_SHIFT: u32 = 48;
const PINTID_SHIFT: u32 = 32;
/// The source of an SGI of a GICv2, a part of the virtual INTID.
const SOURCE_SHIFT: u32 = 10;

/// Interrupt `intid` with its priority and group, in no state yet.
#[inline]
pub(super) const fn identity(intid: u32, priority: u8, group: u64) -> u64 {
    group << GROUP_SHIFT | (priority_bits(priority) as u64) << PRIORITY_SHIFT | intid as u64
}

/// Priority and group that a list register has, in a byte: the lowest bits of a priority are not implemented.
#[inline]
pub(super) const fn rank(value: u64) -> u8 {
    priority_bits((value >> PRIORITY_SHIFT) as u8) | (value >> GROUP_SHIFT & 1) as u8
}

/// [`identity`] with the priority and the group of a [`rank`].
pub(super) const fn ranked(intid: u32, rank: u8) -> u64 {
    identity(intid, rank, rank as u64 & 1)
}

/// What to add for an interrupt whose physical twin has the same number.
#[inline]
pub(super) const fn linked(intid: u32) -> u64 {
    HW | (intid as u64) << PINTID_SHIFT
}

/// What to add for an SGI of a GICv2 from vCPU `source`.
pub(super) const fn sourced(source: u32) -> u64 {
    (source as u64 & 7) << SOURCE_SHIFT
}

/// The vCPU that an SGI of a GICv2 is from.
pub(super) const fn source(value: u64) -> u32 {
    (value >> SOURCE_SHIFT & 7) as u32
}

/// Whether `ICH_ELRSR_EL2` calls a list register of this value empty (IHI 0069 12.4).
pub(super) const fn is_empty(value: u64) -> bool {
    value & (PENDING | ACTIVE) == 0 && (value & HW != 0 || value & EOI == 0)
}
