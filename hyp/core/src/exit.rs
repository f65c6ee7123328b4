//! Why a vCPU left its guest: the syndrome, decoded.
//!
//! The raw registers come from `el2`; nothing here reads hardware. Encodings are from the Arm ARM (DDI 0487)
//! D24.2.40, ESR_EL2.

use crate::addr::Ipa;

/// Says in place of ESR_EL2 that a physical interrupt came, which has no syndrome. Bits 63:56 of ESR_EL2 are RES0.
pub const INTERRUPT: u64 = 1 << 63;

/// The registers that describe an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2: virtual address of an abort.
    pub far: u64,
    /// HPFAR_EL2: IPA of a stage 2 abort, bits 47:12 in bits 43:4.
    pub hpfar: u64,
}

impl Syndrome {
    /// HPFAR_EL2.FIPA with the page offset that FAR_EL2 gives.
    #[inline(always)]
    pub const fn ipa(&self) -> Ipa {
        Ipa((self.hpfar & 0x0000_0fff_ffff_fff0) << 8 | self.far & 0xfff)
    }
}

/// Exception classes, ESR_ELx.EC (Arm ARM D24.2.40, table "EC").
pub mod ec {
    /// Unknown reason: an instruction that is undefined here.
    pub const UNKNOWN: u64 = 0x00;
    /// Trapped WFI or WFE.
    pub const WFX: u64 = 0x01;
    /// MCR or MRC to coprocessor 15, from AArch32; as all AArch32, EL0 only.
    pub const CP15: u64 = 0x03;
    /// MCRR or MRRC to coprocessor 15.
    pub const CP15_PAIR: u64 = 0x04;
    /// MCR or MRC to coprocessor 14.
    pub const CP14: u64 = 0x05;
    /// LDC or STC to coprocessor 14.
    pub const CP14_MEMORY: u64 = 0x06;
    /// Trapped access to SIMD or floating point.
    pub const FP_SIMD: u64 = 0x07;
    /// VMRS of an identification register.
    pub const CP10: u64 = 0x08;
    /// Trapped use of pointer authentication.
    pub const PAUTH: u64 = 0x09;
    /// Trapped 64-byte load or store, and whatever else has no class of its own.
    pub const OTHER_TRAP: u64 = 0x0a;
    /// MRRC to coprocessor 14.
    pub const CP14_PAIR: u64 = 0x0c;
    /// Illegal execution state.
    pub const ILLEGAL_STATE: u64 = 0x0e;
    /// Trapped MSRR, MRRS or SYSP: registers of 128 bits.
    pub const SYSREG_PAIR: u64 = 0x14;
    /// HVC from AArch64.
    pub const HVC64: u64 = 0x16;
    /// SMC from AArch64.
    pub const SMC64: u64 = 0x17;
    /// Trapped MSR, MRS or system instruction.
    pub const SYSREG: u64 = 0x18;
    /// Trapped SVE.
    pub const SVE: u64 = 0x19;
    /// Trapped transaction start.
    pub const TSTART: u64 = 0x1b;
    /// Trapped SME.
    pub const SME: u64 = 0x1d;
    /// Instruction abort from a lower exception level.
    pub const INSTR_ABORT_LOWER: u64 = 0x20;
    /// Instruction abort without a change of exception level.
    pub const INSTR_ABORT_SAME: u64 = 0x21;
    /// Data abort from a lower exception level.
    pub const DATA_ABORT_LOWER: u64 = 0x24;
    /// Data abort without a change of exception level.
    pub const DATA_ABORT_SAME: u64 = 0x25;
    /// System error.
    pub const SERROR: u64 = 0x2f;
}

/// A decoded exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A physical interrupt is pending: acknowledge it and see.
    Irq,
    /// Hypervisor call with its immediate; the return address is behind it.
    Hvc(u16),
    /// Secure monitor call with its immediate, trapped before it happened.
    Smc(u16),
    /// Access to a trapped system register.
    SysReg(SysRegAccess),
    /// Load or store to an IPA that no stage 2 entry maps, described well enough to emulate.
    Mmio(MmioAccess),
    /// Any other abort on stage 2.
    Abort(Syndrome),
    /// WFI (`false`) or WFE (`true`) that was trapped.
    Wfx(bool),
    /// SIMD or floating point, which traps where the registers are still another vCPU's.
    Fp,
    /// An instruction of an extension that guests do not have (SVE, SME, trapped PAuth, ...).
    Undefined,
    /// System error taken while the guest ran.
    SError,
    /// An exception that no trap of ours produces.
    Unexpected,
}

/// A trapped MSR or MRS: its ESR_EL2, taken apart when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysRegAccess(u64);

impl SysRegAccess {
    /// The access to `reg` by MSR, or by MRS where `write` is false, with general-purpose register `rt`.
    pub const fn new(reg: SysReg, rt: u8, write: bool) -> Self {
        let read = if write { 0 } else { iss::READ };
        Self(reg.0 as u64 | (rt as u64 & 31) << iss::RT_SHIFT | read)
    }

    /// Which register.
    #[inline(always)]
    pub const fn reg(self) -> SysReg {
        SysReg((self.0 & SysReg::MASK) as u32)
    }

    /// General-purpose register that gives or takes the value; 31 is XZR.
    #[inline(always)]
    pub const fn rt(self) -> u8 {
        (self.0 >> iss::RT_SHIFT & 31) as u8
    }

    /// MSR, or MRS where `false`.
    #[inline(always)]
    pub const fn write(self) -> bool {
        self.0 & iss::READ == 0
    }
}

/// A system register by its encoding, packed as ISS of EC 0x18 has it without Rt and direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysReg(pub u32);

impl SysReg {
    /// The register S`op0`_`op1`_C`crn`_C`crm`_`op2`.
    pub const fn new(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Self {
        Self(op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1)
    }

    const MASK: u64 = 0x003f_fc1e;

    /// Op0 of the encoding.
    pub const fn op0(self) -> u32 {
        self.0 >> 20 & 3
    }
    /// Op1 of the encoding.
    pub const fn op1(self) -> u32 {
        self.0 >> 14 & 7
    }
    /// CRn of the encoding.
    pub const fn crn(self) -> u32 {
        self.0 >> 10 & 15
    }
    /// CRm of the encoding.
    pub const fn crm(self) -> u32 {
        self.0 >> 1 & 15
    }
    /// Op2 of the encoding.
    pub const fn op2(self) -> u32 {
        self.0 >> 17 & 7
    }
}

impl core::fmt::Debug for SysReg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "S{}_{}_C{}_C{}_{}", self.op0(), self.op1(), self.crn(), self.crm(), self.op2())
    }
}

/// A load or store to emulate: its syndrome, which is valid, taken apart when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess(Syndrome);

impl MmioAccess {
    /// The access whose syndrome is `syndrome`, with ISV set.
    #[inline(always)]
    pub const fn new(syndrome: Syndrome) -> Self {
        Self(syndrome)
    }

    /// Where.
    #[inline(always)]
    pub const fn ipa(self) -> Ipa {
        self.0.ipa()
    }

    /// Virtual address, for FAR_EL1 where nothing answers.
    pub const fn va(self) -> u64 {
        self.0.far
    }

    /// Bytes: 1, 2, 4 or 8.
    #[inline(always)]
    pub const fn size(self) -> u8 {
        1 << (self.0.esr >> iss::SAS_SHIFT & 3)
    }

    /// Store, or load where `false`.
    #[inline(always)]
    pub const fn write(self) -> bool {
        self.0.esr & iss::WNR != 0
    }

    /// General-purpose register; 31 is XZR.
    #[inline(always)]
    pub const fn rt(self) -> u8 {
        (self.0.esr >> iss::SRT_SHIFT & 31) as u8
    }

    /// A load extends the sign of what it read.
    #[inline(always)]
    pub const fn sign_extend(self) -> bool {
        self.0.esr & iss::SSE != 0
    }

    /// A load into a 64-bit register (matters for the sign extension).
    pub const fn sixty_four(self) -> bool {
        self.0.esr & iss::SF != 0
    }
}

/// An abort on stage 2 that is not an emulated access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageTwoAbort {
    /// Where, as the guest calls it.
    pub ipa: Ipa,
    /// Virtual address, for FAR_EL1.
    pub va: u64,
    /// Instruction fetch, or data where `false`.
    pub fetch: bool,
    /// Store (data aborts only).
    pub write: bool,
    /// Cache maintenance or address translation by virtual address, which counts as a store.
    pub maintenance: bool,
    /// The walk of the guest's own (stage 1) tables took it.
    pub walk: bool,
    /// Level of the stage 2 table that ended the translation. That of the guest's own walk is not reported.
    pub level: u8,
    /// A permission fault, or a translation fault where `false`.
    pub permission: bool,
    /// An external abort reported by the bus, not a fault of the tables.
    pub external: bool,
}

impl Exit {
    /// As [`Exit::decode`], for a vCPU of which each WFI is an exit.
    #[inline(always)]
    pub fn decode_waits_first(why: u64, syndrome: impl Fn() -> Syndrome) -> Self {
        // All that is above the class is 0 for these (DDI 0487 D24.2.40): where it is not, the other way finds out.
        match why >> 26 == ec::WFX {
            true => Self::Wfx(why & 1 != 0),
            false => Self::decode(why, syndrome),
        }
    }

    /// Decodes an exit from `why`, which is ESR_EL2 or [`INTERRUPT`], and where it takes more, `syndrome`.
    #[inline(always)]
    pub fn decode(why: u64, syndrome: impl Fn() -> Syndrome) -> Self {
        if why & INTERRUPT != 0 {
            return Self::Irq;
        }
        let esr = why;
        // The three that guests are in a hurry with are compared, in this order; the others are looked up.
        match esr >> 26 & 0x3f {
            ec::HVC64 => Self::Hvc(esr as u16),
            ec::DATA_ABORT_LOWER => decode_data_abort(syndrome()),
            ec::SYSREG => Self::SysReg(SysRegAccess(esr)),
            class => match rare(class) {
                Rare::Smc => Self::Smc(esr as u16),
                Rare::Fetch => Self::Abort(syndrome()),
                Rare::SError => Self::SError,
                Rare::Wfx => Self::Wfx(esr & 1 != 0),
                Rare::Fp => Self::Fp,
                Rare::Undefined => Self::Undefined,
                Rare::Unexpected => Self::Unexpected,
            },
        }
    }
}

/// What a rare exception class means. No payload, so that it is returned in a register.
enum Rare {
    Smc,
    Fetch,
    SError,
    Wfx,
    Fp,
    Undefined,
    Unexpected,
}

#[inline(never)]
fn rare(class: u64) -> Rare {
    match class {
        ec::SMC64 => Rare::Smc,
        ec::INSTR_ABORT_LOWER => Rare::Fetch,
        ec::SERROR => Rare::SError,
        ec::WFX => Rare::Wfx,
        ec::FP_SIMD => Rare::Fp,
        ec::UNKNOWN | ec::PAUTH | ec::SVE | ec::SME => Rare::Undefined,
        ec::CP15 | ec::CP15_PAIR | ec::CP14 | ec::CP14_MEMORY | ec::CP14_PAIR | ec::CP10 => {
            Rare::Undefined
        }
        ec::OTHER_TRAP | ec::SYSREG_PAIR | ec::TSTART => Rare::Undefined,
        _ => Rare::Unexpected,
    }
}

/// ESR_ELx.ISS of aborts (Arm ARM D24.2.40, "ISS encoding for an exception from a Data Abort").
pub mod iss {
    /// Instruction syndrome valid: SAS, SSE, SRT and SF hold.
    pub const ISV: u64 = 1 << 24;
    /// Of a trapped MSR or MRS: MRS.
    pub const READ: u64 = 1 << 0;
    /// Of a trapped MSR or MRS: the general-purpose register, from this bit.
    pub const RT_SHIFT: u32 = 5;
    /// Size of the access, its logarithm, from this bit.
    pub const SAS_SHIFT: u32 = 22;
    /// General-purpose register, from this bit.
    pub const SRT_SHIFT: u32 = 16;
    /// Sign extend.
    pub const SSE: u64 = 1 << 21;
    /// The register is 64 bits wide.
    pub const SF: u64 = 1 << 15;
    /// The fault was on a stage 2 access for a stage 1 walk.
    pub const S1PTW: u64 = 1 << 7;
    /// Cache maintenance or address translation instruction.
    pub const CM: u64 = 1 << 8;
    /// Write, not read.
    pub const WNR: u64 = 1 << 6;
    /// External abort type.
    pub const EA: u64 = 1 << 9;
    /// FAR is not valid.
    pub const FNV: u64 = 1 << 10;
    /// Instruction length: 32 bits.
    pub const IL: u64 = 1 << 25;
}

/// Fault status code without its level.
const DFSC_KIND: u64 = 0x3c;
const DFSC_TRANSLATION: u64 = 0x04;
const DFSC_PERMISSION: u64 = 0x0c;

#[inline(always)]
fn decode_data_abort(s: Syndrome) -> Exit {
    let translation = s.esr & DFSC_KIND == DFSC_TRANSLATION;
    if s.esr & iss::ISV == 0 || s.esr & (iss::S1PTW | iss::CM) != 0 || !translation {
        return Exit::Abort(s);
    }
    Exit::Mmio(MmioAccess(s))
}

impl StageTwoAbort {
    /// What the syndrome of an [`Exit::Abort`] says.
    pub fn new(s: Syndrome) -> Self {
        let fetch = s.esr >> 26 & 0x3f == ec::INSTR_ABORT_LOWER;
        let kind = s.esr & DFSC_KIND;
        Self {
            ipa: s.ipa(),
            va: s.far,
            fetch,
            write: !fetch && s.esr & iss::WNR != 0,
            maintenance: !fetch && s.esr & iss::CM != 0,
            walk: s.esr & iss::S1PTW != 0,
            level: (s.esr & 3) as u8,
            permission: kind == DFSC_PERMISSION,
            external: kind == 0x10 || kind == 0x14,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_register_access_is_decoded_from_its_syndrome() {
        // MSR ICC_SGI1R_EL1, x3: S3_0_C12_C11_5.
        let reg = SysReg::new(3, 0, 12, 11, 5);
        let esr = ec::SYSREG << 26 | iss::IL | u64::from(reg.0) | 3 << 5;
        let exit = Exit::decode(esr, || unreachable!());
        let Exit::SysReg(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.reg(), access.rt(), access.write()), (reg, 3, true));
        assert_eq!((reg.op0(), reg.op1(), reg.crn(), reg.crm(), reg.op2()), (3, 0, 12, 11, 5));
    }

    #[test]
    fn a_load_from_a_device_is_decoded_with_its_full_address() {
        let esr = ec::DATA_ABORT_LOWER << 26 | iss::IL | iss::ISV | 2 << 22 | 7 << 16 | 0x07;
        let s = Syndrome { esr, far: 0xffff_0000_0000_0018, hpfar: 0x0900_0000 >> 8 };
        let exit = Exit::decode(esr, || s);
        let Exit::Mmio(access) = exit else { panic!("{exit:?}") };
        assert_eq!((access.ipa(), access.va()), (Ipa(0x0900_0018), s.far));
        assert_eq!((access.size(), access.write(), access.rt()), (4, false, 7));
        assert!(!access.sign_extend() && !access.sixty_four());
    }

    #[test]
    fn a_fault_of_the_guests_own_table_walk_is_no_access_to_emulate() {
        let esr = ec::DATA_ABORT_LOWER << 26 | iss::IL | iss::ISV | iss::S1PTW | 0x05;
        let s = Syndrome { esr, far: 0x1234, hpfar: 0x10 };
        let Exit::Abort(s) = Exit::decode(esr, || s) else { panic!() };
        let abort = StageTwoAbort::new(s);
        assert!(abort.walk && !abort.fetch && !abort.permission);
        assert_eq!(abort.level, 1);
    }

    #[test]
    fn the_address_of_an_access_has_the_page_of_hpfar_and_the_offset_of_far() {
        let mut random = crate::fuzz::Random(4);
        for _ in 0..10_000 {
            let (far, hpfar) = (random.next(), random.next());
            let esr = ec::DATA_ABORT_LOWER << 26 | iss::IL | iss::ISV | 0x07;
            let Exit::Mmio(access) = Exit::decode(esr, || Syndrome { esr, far, hpfar }) else {
                panic!("a translation fault with a valid syndrome is an access")
            };
            let page = Ipa((hpfar >> 4 & 0xff_ffff_ffff) * crate::addr::PAGE_SIZE);
            assert_eq!(access.ipa(), page.offset(far & 0xfff));
        }
    }
}
