//! Exceptions that Tessera makes a guest take at EL1: undefined instruction, external abort.
//!
//! What hardware cannot be made to raise by itself is composed here just as `AArch64.TakeException` would (DDI 0487,
//! shared pseudocode): the guest's own registers are written, and it goes on at its vector. A guest cannot tell the
//! difference. Virtual SErrors are not made here: HCR_EL2.VSE raises them, and hardware knows when they are masked.

mod walk;

pub use walk::Stage1;

use crate::exit::{StageTwoAbort, SysRegAccess, ec, iss};

/// Fields of SPSR_ELx for a PE in AArch64 state (DDI 0487, SPSR_EL1), and for AArch32 where named so.
pub mod pstate {
    /// Condition flags.
    pub const NZCV: u64 = 0xf << 28;
    /// Data independent timing.
    pub const DIT: u64 = 1 << 24;
    /// Privileged access never.
    pub const PAN: u64 = 1 << 22;
    /// Software step.
    pub const SS: u64 = 1 << 21;
    /// Speculative store bypass safe.
    pub const SSBS: u64 = 1 << 12;
    /// Kind of branch that led here.
    pub const BTYPE: u64 = 3 << 10;
    /// Debug, SError, IRQ and FIQ masked.
    pub const DAIF: u64 = 0xf << 6;
    /// AArch32 state.
    pub const AARCH32: u64 = 1 << 4;
    /// Exception level and stack pointer, `M[3:0]`.
    pub const MODE: u64 = 0xf;
    /// `M[3:0]` of EL0 with SP_EL0.
    pub const EL0T: u64 = 0b0000;
    /// `M[3:0]` of EL1 with SP_EL0.
    pub const EL1T: u64 = 0b0100;
    /// `M[3:0]` of EL1 with SP_EL1.
    pub const EL1H: u64 = 0b0101;
    /// Where a vCPU begins (DEN 0022 6.4): EL1 with its own stack, everything masked.
    pub const AT_RESET: u64 = DAIF | EL1H;
    /// AArch32: IT\[1:0\] and IT\[7:2\].
    pub const IT: u64 = 3 << 25 | 0x3f << 10;
}

/// SCTLR_EL1.SPAN: PSTATE.PAN stays as it is on an exception.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: PSTATE.SSBS on an exception.
const SCTLR_DSSBS: u64 = 1 << 44;

/// Where the guest was, and what of its EL1 decides how it takes an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct El1State {
    /// Address of the instruction that takes the exception (ELR_EL2).
    pub pc: u64,
    /// Its PSTATE (SPSR_EL2).
    pub pstate: u64,
    /// VBAR_EL1.
    pub vbar_el1: u64,
    /// SCTLR_EL1.
    pub sctlr_el1: u64,
}

/// What the guest shall take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The instruction does not exist here.
    Undefined,
    /// As [`Fault::Undefined`], told with the register that was to be read: so cores with FEAT_IDST tell of the ID space.
    NoIdRegister(SysRegAccess),
    /// The bus answered an access with an error.
    External(Access),
}

/// An access that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Virtual address, for FAR_EL1.
    pub va: u64,
    /// Instruction fetch, or data where `false`.
    pub fetch: bool,
    /// Store: ISS.WnR.
    pub write: bool,
    /// Cache maintenance or address translation: ISS.CM.
    pub maintenance: bool,
    /// The walk of the guest's own tables made it, at this level of them: [`Stage1::level_of`].
    pub walk_level: Option<u8>,
}

impl Fault {
    /// An access to a system register that does not exist here. `mmfr2` is ID_AA64MMFR2_EL1: where its IDS says so, reads
    /// of the ID space are told by class 0x18 (DDI 0487, ID_AA64MMFR2_EL1.IDS).
    pub fn no_register(access: SysRegAccess, mmfr2: u64) -> Self {
        const IDS_SHIFT: u32 = 36;
        let reg = access.reg();
        let id_space =
            reg.op0() == 3 && matches!(reg.op1(), 0 | 1 | 3) && reg.crn() == 0 && reg.crm() < 8;
        if !access.write() && id_space && mmfr2 >> IDS_SHIFT & 0xf != 0 {
            Self::NoIdRegister(access)
        } else {
            Self::Undefined
        }
    }
}

impl Access {
    /// The access that stage 2 refused. Where the guest's own walk made it, `level` finds at which level of that, since
    /// stage 2 does not report it.
    pub fn refused(abort: &StageTwoAbort, level: impl FnOnce() -> Option<u8>) -> Self {
        Self {
            va: abort.va,
            fetch: abort.fetch,
            write: abort.write,
            maintenance: abort.maintenance,
            // A walk that cannot be followed (the guest changed its tables meanwhile) is told from its last level.
            walk_level: abort.walk.then(|| level().unwrap_or(3)),
        }
    }
}

/// What to write so that the guest takes the exception when it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Entry {
    /// ELR_EL1.
    pub elr_el1: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// ESR_EL1.
    pub esr_el1: u64,
    /// FAR_EL1, where the exception sets it.
    pub far_el1: Option<u64>,
    /// The vector: ELR_EL2.
    pub pc: u64,
    /// PSTATE at the vector: SPSR_EL2.
    pub pstate: u64,
}

/// Makes the guest take `fault`.
pub fn inject(state: &El1State, fault: Fault) -> Entry {
    let (esr_el1, far_el1) = syndrome(state.pstate, fault);
    Entry {
        elr_el1: state.pc,
        spsr_el1: state.pstate,
        esr_el1,
        far_el1,
        pc: (state.vbar_el1 & !0x7ff).wrapping_add(vector(state.pstate)),
        pstate: at_vector(state),
    }
}

/// The synchronous vector for where the guest was (DDI 0487 D1.3.5, vector offsets).
fn vector(pstate: u64) -> u64 {
    match pstate & (pstate::AARCH32 | pstate::MODE) {
        mode if mode & pstate::AARCH32 != 0 => 0x600,
        pstate::EL0T => 0x400,
        pstate::EL1T => 0x000,
        _ => 0x200,
    }
}

/// PSTATE after `AArch64.TakeException`: flags, DIT and PAN stay, everything is masked, and the rest is as SCTLR_EL1
/// says or zero (UAO, SS, IL, BTYPE; TCO too, since guests have no memory tagging).
fn at_vector(state: &El1State) -> u64 {
    let kept = state.pstate & (pstate::NZCV | pstate::DIT | pstate::PAN);
    // Cores without FEAT_PAN or FEAT_SSBS ignore the bits in SPSR_EL2.
    let pan = if state.sctlr_el1 & SCTLR_SPAN == 0 { pstate::PAN } else { 0 };
    let ssbs = if state.sctlr_el1 & SCTLR_DSSBS != 0 { pstate::SSBS } else { 0 };
    kept | pan | ssbs | pstate::DAIF | pstate::EL1H
}

/// ESR_EL1, and FAR_EL1 where it is set (DDI 0487 D24.2.39).
///
/// ESR_EL1.IL is 1 whatever the length of the instruction: so it is for an unknown reason, for instruction aborts, and
/// for data aborts without ISV, which EL1 never gets.
fn syndrome(pstate: u64, fault: Fault) -> (u64, Option<u64>) {
    let access = match fault {
        Fault::Undefined => return (ec::UNKNOWN << 26 | iss::IL, None),
        Fault::NoIdRegister(access) => {
            let (reg, rt) = (access.reg(), access.rt());
            let which = u64::from(reg.0) | u64::from(rt) << iss::RT_SHIFT | iss::READ;
            return (ec::SYSREG << 26 | iss::IL | which, None);
        }
        Fault::External(access) => access,
    };
    let from_el0 = pstate & pstate::AARCH32 != 0 || pstate & pstate::MODE == pstate::EL0T;
    let class = match (access.fetch, from_el0) {
        (true, true) => ec::INSTR_ABORT_LOWER,
        (true, false) => ec::INSTR_ABORT_SAME,
        (false, true) => ec::DATA_ABORT_LOWER,
        (false, false) => ec::DATA_ABORT_SAME,
    };
    let status = match access.walk_level {
        Some(level) => STATUS_EXTERNAL_WALK | u64::from(level & 3),
        None => STATUS_EXTERNAL,
    };
    let write = if access.write && !access.fetch { iss::WNR } else { 0 };
    let maintenance = if access.maintenance && !access.fetch { iss::CM } else { 0 };
    (class << 26 | iss::IL | maintenance | write | status, Some(access.va))
}

/// DFSC and IFSC: synchronous external abort, not on a translation table walk.
const STATUS_EXTERNAL: u64 = 0b01_0000;
/// DFSC and IFSC: synchronous external abort on a translation table walk; the level in bits 1:0.
const STATUS_EXTERNAL_WALK: u64 = 0b01_0100;

/// Program counter and PSTATE behind an instruction that was emulated, `long` (4 bytes) or 2 bytes of T32.
///
/// As if the guest had executed it: a pending software step is taken next, the kind of branch is forgotten, and in an
/// AArch32 IT block the next condition is due.
#[inline]
pub fn advance(pc: u64, pstate: u64, long: bool) -> (u64, u64) {
    let pstate = pstate & !pstate::SS;
    if pstate & pstate::AARCH32 == 0 {
        return (pc.wrapping_add(4), pstate & !pstate::BTYPE);
    }
    let pc = pc.wrapping_add(if long { 4 } else { 2 });
    (pc & 0xffff_ffff, advance_it(pstate))
}

/// `AArch32.ITAdvance`: IT\[7:5\] is the base condition, IT\[4:0\] shifts left until its low four bits are through.
fn advance_it(pstate: u64) -> u64 {
    let it = pstate >> 25 & 3 | (pstate >> 10 & 0x3f) << 2;
    let next = if it & 7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    pstate & !pstate::IT | (next & 3) << 25 | (next >> 2) << 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, Syndrome, SysReg};

    const VBAR: u64 = 0xffff_8000_0801_0800;
    const EL0_AARCH32: u64 = 0x10;

    fn state(pstate: u64) -> El1State {
        El1State { pc: 0x1000, pstate, vbar_el1: VBAR, sctlr_el1: SCTLR_SPAN }
    }

    fn data(write: bool) -> Fault {
        Fault::External(Access { va: 0xabcd, write, ..Access::default() })
    }

    #[test]
    fn a_missing_register_of_the_id_space_is_told_by_its_name_where_the_core_does_so() {
        const IDS: u64 = 1 << 36;
        let access = |reg, write| SysRegAccess::new(reg, 7, write);
        let gmid = SysReg::new(3, 1, 0, 0, 4);
        assert_eq!(Fault::no_register(access(gmid, false), 0), Fault::Undefined);
        assert_eq!(Fault::no_register(access(gmid, true), IDS), Fault::Undefined);
        let other = SysReg::new(3, 0, 12, 12, 5);
        assert_eq!(Fault::no_register(access(other, false), IDS), Fault::Undefined);
        let fault = Fault::no_register(access(gmid, false), IDS);
        let esr = inject(&state(pstate::EL1H), fault).esr_el1;
        assert_eq!(esr, 0x18 << 26 | 1 << 25 | u64::from(gmid.0) | 7 << 5 | 1);
    }

    #[test]
    fn the_vector_is_that_of_the_level_and_stack_it_came_from() {
        let vector = |pstate| inject(&state(pstate), Fault::Undefined).pc - VBAR;
        assert_eq!(vector(pstate::EL1T), 0x000);
        assert_eq!(vector(pstate::EL1H), 0x200);
        assert_eq!(vector(pstate::EL0T), 0x400);
        assert_eq!(vector(EL0_AARCH32), 0x600);
        assert_eq!(vector(EL0_AARCH32 | 1 << 5), 0x600);
    }

    #[test]
    fn an_undefined_instruction_returns_to_itself_and_leaves_far_alone() {
        let entry = inject(&state(pstate::EL1H | pstate::SS), Fault::Undefined);
        assert_eq!((entry.elr_el1, entry.spsr_el1), (0x1000, pstate::EL1H | pstate::SS));
        assert_eq!((entry.esr_el1, entry.far_el1), (0x0200_0000, None));
    }

    #[test]
    fn a_data_abort_tells_direction_level_and_address() {
        let esr = |pstate, fault| inject(&state(pstate), fault).esr_el1;
        assert_eq!(esr(pstate::EL1H, data(false)), 0x9600_0010);
        assert_eq!(esr(pstate::EL1H, data(true)), 0x9600_0050);
        assert_eq!(esr(pstate::EL0T, data(true)), 0x9200_0050);
        assert_eq!(esr(EL0_AARCH32, data(false)), 0x9200_0010);
        assert_eq!(inject(&state(pstate::EL1T), data(true)).far_el1, Some(0xabcd));
    }

    #[test]
    fn cache_maintenance_of_nothing_is_told_as_such() {
        let maintenance = Access { write: true, maintenance: true, ..Access::default() };
        let entry = inject(&state(pstate::EL1H), Fault::External(maintenance));
        assert_eq!(entry.esr_el1, 0x9600_0150);
    }

    #[test]
    fn the_level_of_a_walk_is_asked_for_only_where_there_was_one() {
        let Exit::Abort(syndrome) = abort_exit() else { panic!() };
        let mut abort = StageTwoAbort::new(syndrome);
        let level = || Some(1);
        assert_eq!(Access::refused(&abort, || unreachable!()).walk_level, None);
        abort.walk = true;
        assert_eq!(Access::refused(&abort, level).walk_level, Some(1));
        assert_eq!(Access::refused(&abort, || None).walk_level, Some(3));
    }

    fn abort_exit() -> Exit {
        let esr = ec::INSTR_ABORT_LOWER << 26 | iss::IL | 0x06;
        Exit::decode(esr, || Syndrome { esr, far: 4, hpfar: 0 })
    }

    #[test]
    fn an_instruction_abort_is_no_write() {
        let fetch = Access { va: 4, fetch: true, write: true, ..Access::default() };
        let esr = |pstate, access| inject(&state(pstate), Fault::External(access)).esr_el1;
        assert_eq!(esr(pstate::EL1H, fetch), 0x8600_0010);
        assert_eq!(esr(pstate::EL0T, fetch), 0x8200_0010);
        assert_eq!(esr(pstate::EL0T, Access { walk_level: Some(2), ..fetch }), 0x8200_0016);
    }

    #[test]
    fn pstate_at_the_vector_is_what_hardware_would_make_it() {
        let everything = 0xffff_ffff & !0x1f;
        let mut from = state(everything | pstate::EL1T);
        let kept = pstate::NZCV | pstate::DIT | pstate::PAN;
        let masked = pstate::DAIF | pstate::EL1H;
        assert_eq!(inject(&from, Fault::Undefined).pstate, kept | masked);
        from.pstate = pstate::EL0T;
        assert_eq!(inject(&from, Fault::Undefined).pstate, masked);
        from.sctlr_el1 = SCTLR_DSSBS;
        let pstate = inject(&from, Fault::Undefined).pstate;
        assert_eq!(pstate, masked | pstate::PAN | pstate::SSBS);
    }

    #[test]
    fn the_low_bits_of_vbar_do_not_count() {
        let mut from = state(pstate::EL1H);
        from.vbar_el1 |= 0x7ff;
        assert_eq!(inject(&from, Fault::Undefined).pc, VBAR + 0x200);
    }

    #[test]
    fn an_emulated_instruction_is_stepped_over() {
        let before = pstate::EL1H | pstate::SS | pstate::BTYPE | pstate::NZCV;
        assert_eq!(advance(0x1000, before, true), (0x1004, pstate::EL1H | pstate::NZCV));
        assert_eq!(advance(u64::MAX - 3, 5, true).0, 0);
        assert_eq!(advance(0x1000, EL0_AARCH32 | 1 << 5, false), (0x1002, EL0_AARCH32 | 1 << 5));
    }

    #[test]
    fn an_it_block_goes_on_to_its_next_condition() {
        // ITTE EQ: IT[7:0] = 0000_0110, then 0000_1100, 0000_1000 and the end.
        let it = |bits: u64| EL0_AARCH32 | 1 << 5 | (bits & 3) << 25 | (bits >> 2) << 10;
        let next = |bits| advance(0, it(bits), false).1;
        assert_eq!(next(0b0000_0110), it(0b0000_1100));
        assert_eq!(next(0b0000_1100), it(0b0001_1000));
        assert_eq!(next(0b0001_1000), it(0));
        assert_eq!(next(0b1110_1000), it(0));
        assert_eq!(next(0), it(0));
    }
}
