//! The ID registers a guest reads: what the core says of itself, less what a guest cannot have.
//!
//! Every register of the ID space (op0 3, op1 0, CRn 0, CRm 1 to 7) is trapped (HCR_EL2.TID3) and answered from a table
//! of 64 values that is filled once. The filter is an allow-list of fields with the highest value that a guest may see
//! (`table.rs`): a field, a value or a register that Tessera does not know reads as zero, so that a core newer than this
//! file offers a guest nothing that nobody thought about. The idea not taken is a list of what to hide: it is shorter,
//! and wrong the day after.

mod table;
#[cfg(test)]
mod tests;

use crate::exit::SysReg;

/// Registers in the ID space, CRm 0 (which is not trapped) included.
const COUNT: usize = 64;

/// Names of the ID registers that decide something in Tessera itself, and of a register that one of them decides on.
pub mod reg {
    use crate::exit::SysReg;

    /// ICC_SGI1R_EL1.
    pub const ICC_SGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 5);
    /// ID_AA64PFR0_EL1.
    pub const ID_AA64PFR0_EL1: SysReg = SysReg::new(3, 0, 0, 4, 0);
    /// ID_AA64PFR1_EL1.
    pub const ID_AA64PFR1_EL1: SysReg = SysReg::new(3, 0, 0, 4, 1);
    /// ID_AA64DFR0_EL1.
    pub const ID_AA64DFR0_EL1: SysReg = SysReg::new(3, 0, 0, 5, 0);
    /// ID_AA64ISAR1_EL1.
    pub const ID_AA64ISAR1_EL1: SysReg = SysReg::new(3, 0, 0, 6, 1);
    /// ID_AA64ISAR2_EL1.
    pub const ID_AA64ISAR2_EL1: SysReg = SysReg::new(3, 0, 0, 6, 2);
    /// ID_AA64MMFR0_EL1.
    pub const ID_AA64MMFR0_EL1: SysReg = SysReg::new(3, 0, 0, 7, 0);
    /// ID_AA64MMFR1_EL1.
    pub const ID_AA64MMFR1_EL1: SysReg = SysReg::new(3, 0, 0, 7, 1);
    /// ID_AA64MMFR2_EL1.
    pub const ID_AA64MMFR2_EL1: SysReg = SysReg::new(3, 0, 0, 7, 2);
}

/// What a guest may see of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    /// Nothing: zero.
    Hide,
    /// A count or the like, as it is.
    Any,
    /// The core's value, but at most this: higher values mean more of the same feature (DDI 0487 D24.1.3).
    UpTo(u8),
    /// As [`Policy::UpTo`] for a field where 0b1111 is "not there".
    Signed(u8),
    /// As [`Policy::UpTo`] for a field where 0b1111 is "there, but not as the architecture has it": hidden.
    Standard(u8),
}

impl Policy {
    fn apply(self, value: u8) -> u8 {
        match self {
            Self::Hide => 0,
            Self::Any => value,
            Self::UpTo(most) => value.min(most),
            Self::Signed(_) if value == 15 => 15,
            Self::Standard(_) if value == 15 => 0,
            Self::Signed(most) | Self::Standard(most) => value.min(most),
        }
    }
}

/// A four-bit field of a register, and who sees it.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Place of the register: CRm times 8 plus op2.
    place: u8,
    /// Lowest bit.
    shift: u8,
    policy: Policy,
}

/// The ID registers of a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdRegs {
    values: [u64; COUNT],
    sgi: SysReg,
}

impl IdRegs {
    /// Filters what `read` gives for each register of the ID space with CRm 1 to 7.
    pub fn from_hw(read: impl Fn(SysReg) -> u64) -> Self {
        let raw =
            |place: u8| read(SysReg::new(3, 0, 0, u32::from(place) / 8, u32::from(place) % 8));
        let mut values = [0u64; COUNT];
        let mut cached = (u8::MAX, 0);
        for field in table::FIELDS {
            if cached.0 != field.place {
                cached = (field.place, raw(field.place));
            }
            let value = field.policy.apply((cached.1 >> field.shift & 15) as u8);
            if let Some(register) = values.get_mut(usize::from(field.place)) {
                *register |= u64::from(value) << field.shift;
            }
        }
        let mut regs = Self { values, sgi: NO_REGISTER };
        if regs.read(reg::ID_AA64PFR0_EL1) & 15 != EL0_AARCH32 {
            // Without AArch32 its registers are unknown (DDI 0487 D24.2.80 and on).
            regs.values.iter_mut().take(AARCH64_PLACE).for_each(|value| *value = 0);
        }
        if regs.read(reg::ID_AA64PFR0_EL1) & GIC != 0 {
            regs.sgi = reg::ICC_SGI1R_EL1;
        }
        regs
    }

    /// ICC_SGI1R_EL1 where the guest is told of a GIC of system registers, else what no access names. Kept, as guests
    /// are in no greater hurry with any register.
    #[inline(always)]
    pub fn sgi_register(&self) -> SysReg {
        self.sgi
    }

    /// Whether the guest is told of a GIC of system registers: of a GICv3.
    pub fn has_gic_registers(&self) -> bool {
        self.sgi == reg::ICC_SGI1R_EL1
    }

    /// What the guest reads. For a register outside the ID space the value is one of another register.
    #[inline(always)]
    pub fn read(&self, reg: SysReg) -> u64 {
        self.values[(reg.0 >> 1 & 7) as usize * 8 + (reg.0 >> 17 & 7) as usize]
    }
}

/// ID_AA64PFR0_EL1.GIC.
const GIC: u64 = 0xf << 24;
/// Not the encoding of any register.
const NO_REGISTER: SysReg = SysReg(u32::MAX);
/// ID_AA64PFR0_EL1.EL0: both execution states.
const EL0_AARCH32: u64 = 2;
/// First place of an AArch64 register: CRm 4.
const AARCH64_PLACE: usize = 4 * 8;

/// Whether a register is in the ID space: op0 3, op1 0, CRn 0, CRm 0 to 7.
#[inline(always)]
pub fn contains(reg: SysReg) -> bool {
    const FIXED: u32 = SysReg::new(3, 7, 15, 8, 0).0;
    reg.0 & FIXED == SysReg::new(3, 0, 0, 0, 0).0
}
