//! What an exit in the ring was, for people and programs: found out when somebody asks.

use core::fmt;

use tessera_abi::hypercall::{RING, TAKE};
use tessera_abi::layout::{PMU_INTID, VTIMER_INTID};

use super::Record;
use crate::addr::Ipa;
use crate::counters::Cause;
use crate::exit::{Exit, MmioAccess, StageTwoAbort, Syndrome, SysReg, SysRegAccess};
use crate::machine::device_at;
use crate::{psci, smccc};

/// Interrupts that are told apart: the hypervisor's own, as `el2` has them.
const KICK: u32 = 0;
const MAINTENANCE: u32 = 25;
const HYP_TIMER: u32 = 26;
/// From here on an INTID says that there was no interrupt (IHI 0069 2.2.1).
const NO_INTERRUPT: u32 = 1020;
/// Where the acknowledge register has the INTID: a GICv2's also has the core that sent an SGI (IHI 0048 4.4.4).
const INTID: u32 = 0x3ff;

/// Functions by name: PSCI (DEN 0022), SMCCC (DEN 0028), TRNG (DEN 0098). Without the bit of the 64-bit convention.
const FUNCTIONS: &[(u32, &str)] = &[
    (psci::function::VERSION, "PSCI_VERSION"),
    (psci::function::CPU_SUSPEND, "CPU_SUSPEND"),
    (psci::function::CPU_OFF, "CPU_OFF"),
    (psci::function::CPU_ON, "CPU_ON"),
    (psci::function::AFFINITY_INFO, "AFFINITY_INFO"),
    (psci::function::MIGRATE_INFO_TYPE, "MIGRATE_INFO_TYPE"),
    (psci::function::SYSTEM_OFF, "SYSTEM_OFF"),
    (psci::function::SYSTEM_RESET, "SYSTEM_RESET"),
    (psci::function::FEATURES, "PSCI_FEATURES"),
    (psci::function::SYSTEM_RESET2, "SYSTEM_RESET2"),
    (smccc::function::VERSION, "SMCCC_VERSION"),
    (smccc::function::ARCH_FEATURES, "SMCCC_ARCH_FEATURES"),
    (smccc::function::WORKAROUND_1, "SMCCC_ARCH_WORKAROUND_1"),
    (smccc::function::WORKAROUND_2, "SMCCC_ARCH_WORKAROUND_2"),
    (smccc::function::WORKAROUND_3, "SMCCC_ARCH_WORKAROUND_3"),
    (smccc::function::TRNG_VERSION, "TRNG_VERSION"),
    (smccc::function::TRNG_FEATURES, "TRNG_FEATURES"),
    (smccc::function::TRNG_UUID, "TRNG_GET_UUID"),
    (smccc::function::TRNG_RND, "TRNG_RND"),
];

/// Registers by name, as far as a guest is likely to trap on them.
const REGISTERS: &[(SysReg, &str)] = &[
    (SysReg::new(3, 0, 12, 11, 5), "ICC_SGI1R_EL1"),
    (SysReg::new(3, 0, 12, 11, 6), "ICC_ASGI1R_EL1"),
    (SysReg::new(3, 0, 12, 11, 7), "ICC_SGI0R_EL1"),
    (SysReg::new(3, 0, 12, 11, 1), "ICC_DIR_EL1"),
    (SysReg::new(3, 0, 1, 0, 1), "ACTLR_EL1"),
    (SysReg::new(3, 3, 14, 0, 1), "CNTPCT_EL0"),
    (SysReg::new(3, 3, 14, 0, 5), "CNTPCTSS_EL0"),
    (SysReg::new(3, 3, 14, 2, 0), "CNTP_TVAL_EL0"),
    (SysReg::new(3, 3, 14, 2, 1), "CNTP_CTL_EL0"),
    (SysReg::new(3, 3, 14, 2, 2), "CNTP_CVAL_EL0"),
    (SysReg::new(3, 0, 0, 4, 0), "ID_AA64PFR0_EL1"),
    (SysReg::new(3, 0, 0, 4, 1), "ID_AA64PFR1_EL1"),
    (SysReg::new(3, 0, 0, 5, 0), "ID_AA64DFR0_EL1"),
    (SysReg::new(3, 0, 0, 6, 0), "ID_AA64ISAR0_EL1"),
    (SysReg::new(3, 0, 0, 6, 1), "ID_AA64ISAR1_EL1"),
    (SysReg::new(3, 0, 0, 6, 2), "ID_AA64ISAR2_EL1"),
    (SysReg::new(3, 0, 0, 7, 0), "ID_AA64MMFR0_EL1"),
    (SysReg::new(3, 0, 0, 7, 1), "ID_AA64MMFR1_EL1"),
    (SysReg::new(3, 0, 0, 7, 2), "ID_AA64MMFR2_EL1"),
];

/// An exit, decoded. Shown as a line of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An interrupt, by its INTID; `None` where it was gone when it was looked at.
    Interrupt(Option<u32>),
    /// A call.
    Call {
        /// SMC, or HVC where `false`.
        smc: bool,
        /// Of the instruction; calls of the convention have 0.
        immediate: u16,
        /// w0.
        function: u32,
    },
    /// MSR or MRS.
    Register(SysRegAccess),
    /// A load or store to where a device may be. Of the address only the part that the ring keeps.
    Access(MmioAccess),
    /// Another abort of stage 2.
    Abort {
        /// Where.
        ipa: Ipa,
        /// What was refused.
        what: &'static str,
    },
    /// WFI.
    Wfi,
    /// WFE.
    Wfe,
    /// SIMD or floating point.
    Fp,
    /// An instruction that guests do not have, by its exception class.
    Undefined(u8),
    /// A system error.
    SError,
    /// An exception that no trap of ours produces, by its class.
    Unexpected(u8),
}

impl Record {
    /// What the exit was.
    pub fn event(&self) -> Event {
        // Of an abort the ring has the IPA, put together; of what it was made of no more is needed.
        let syndrome = || Syndrome {
            esr: self.why,
            far: self.detail & 0xfff,
            hpfar: (self.detail >> 12) << 4,
        };
        let class = (self.why >> 26 & 0x3f) as u8;
        let function = self.detail as u32;
        match Exit::decode(self.why, syndrome) {
            Exit::Irq => {
                let intid = self.detail as u32 & INTID;
                Event::Interrupt((intid < NO_INTERRUPT).then_some(intid))
            }
            Exit::Hvc(immediate) => Event::Call { smc: false, immediate, function },
            Exit::Smc(immediate) => Event::Call { smc: true, immediate, function },
            Exit::SysReg(access) => Event::Register(access),
            Exit::Mmio(access) => Event::Access(access),
            Exit::Abort(syndrome) => {
                let abort = StageTwoAbort::new(syndrome);
                Event::Abort { ipa: abort.ipa, what: refused(&abort) }
            }
            Exit::Wfx(false) => Event::Wfi,
            Exit::Wfx(true) => Event::Wfe,
            Exit::Fp => Event::Fp,
            Exit::Undefined => Event::Undefined(class),
            Exit::SError => Event::SError,
            Exit::Unexpected => Event::Unexpected(class),
        }
    }
}

fn refused(abort: &StageTwoAbort) -> &'static str {
    match abort {
        StageTwoAbort { external: true, .. } => "bus error",
        StageTwoAbort { walk: true, .. } => "walk of its tables",
        StageTwoAbort { maintenance: true, .. } => "cache maintenance",
        StageTwoAbort { fetch: true, .. } => "fetch",
        StageTwoAbort { write: true, .. } => "store",
        _ => "load",
    }
}

impl Event {
    /// Under which it is counted.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Interrupt(intid) => match *intid {
                None => Cause::Spurious,
                Some(KICK) => Cause::Kick,
                Some(MAINTENANCE) => Cause::Maintenance,
                Some(HYP_TIMER) => Cause::HypTimer,
                Some(VTIMER_INTID) => Cause::VirtualTimer,
                Some(PMU_INTID) => Cause::Pmu,
                Some(_) => Cause::Board,
            },
            Self::Call { smc: false, immediate: RING | TAKE, .. } => Cause::Doorbell,
            Self::Call { smc: false, .. } => Cause::Hvc,
            Self::Call { smc: true, .. } => Cause::Smc,
            Self::Register(access) => match name_of(access.reg()) {
                Some("ICC_SGI1R_EL1" | "ICC_ASGI1R_EL1" | "ICC_SGI0R_EL1") if access.write() => {
                    Cause::Sgi
                }
                _ => Cause::SysReg,
            },
            Self::Access(access) => device_at(access.ipa()),
            Self::Abort { .. } => Cause::Abort,
            Self::Wfi => Cause::Wfi,
            Self::Wfe => Cause::Wfe,
            Self::Fp => Cause::Fp,
            Self::Undefined(_) => Cause::Undefined,
            Self::SError => Cause::SError,
            Self::Unexpected(_) => Cause::Unexpected,
        }
    }

    /// The address that it was about, if one.
    pub fn address(&self) -> Option<Ipa> {
        match self {
            Self::Access(access) => Some(access.ipa()),
            Self::Abort { ipa, .. } => Some(*ipa),
            _ => None,
        }
    }
}

fn name_of(reg: SysReg) -> Option<&'static str> {
    REGISTERS.iter().find(|(known, _)| *known == reg).map(|(_, name)| *name)
}

/// A general-purpose register of an instruction.
struct General(u8);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 31 { f.write_str("xzr") } else { write!(f, "x{}", self.0) }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.cause().name();
        match self {
            Self::Interrupt(Some(intid)) => write!(f, "{cause} {intid}"),
            Self::Call { immediate, function, .. } => {
                write!(f, "{cause} #{immediate} {function:#010x}")?;
                let known = |(id, _): &&(u32, &str)| *id == function & !smccc::SMC64;
                match FUNCTIONS.iter().find(known).filter(|_| *immediate == 0) {
                    Some((_, name)) => write!(f, " {name}"),
                    None => Ok(()),
                }
            }
            Self::Register(access) => {
                f.write_str(if access.write() { "write " } else { "read " })?;
                match name_of(access.reg()) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "{:?}", access.reg())?,
                }
                let way = if access.write() { "from" } else { "into" };
                write!(f, " {way} {}", General(access.rt()))
            }
            Self::Access(access) => {
                let (what, way) = if access.write() { ("store", "from") } else { ("load", "into") };
                let (size, at, rt) = (access.size(), access.ipa().0, General(access.rt()));
                write!(f, "{what} of {size} at {at:#x} ({cause}) {way} {rt}")
            }
            Self::Abort { ipa, what } => write!(f, "{cause}: {what} at {:#x}", ipa.0),
            Self::Undefined(class) | Self::Unexpected(class) => {
                write!(f, "{cause} class {class:#x}")
            }
            Self::Interrupt(None) | Self::Wfi | Self::Wfe | Self::Fp | Self::SError => {
                f.write_str(cause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;
    use crate::exit::{INTERRUPT, ec, iss};

    fn told(why: u64, detail: u64) -> String {
        Record { why, detail, pc: 0, time: 1 }.event().to_string()
    }

    fn class(class: u64) -> u64 {
        class << 26 | iss::IL
    }

    #[test]
    fn a_call_is_told_with_the_name_of_its_function() {
        assert_eq!(told(class(ec::HVC64), 0x8400_0008), "hvc #0 0x84000008 SYSTEM_OFF");
        assert_eq!(told(class(ec::SMC64), 0xffff_ffff_c400_0003), "smc #0 0xc4000003 CPU_ON");
        assert_eq!(told(class(ec::HVC64), 0x1234), "hvc #0 0x00001234");
        assert_eq!(told(class(ec::HVC64) | 7, 0x8400_0008), "hvc #7 0x84000008");
    }

    #[test]
    fn a_system_register_is_told_by_name_or_encoding_with_the_register_of_the_instruction() {
        let esr =
            |reg: SysReg, rt: u64, read| class(ec::SYSREG) | u64::from(reg.0) | rt << 5 | read;
        let sgi = SysReg::new(3, 0, 12, 11, 5);
        assert_eq!(told(esr(sgi, 3, 0), 0), "write ICC_SGI1R_EL1 from x3");
        assert_eq!(
            told(esr(SysReg::new(3, 0, 0, 4, 0), 31, 1), 0),
            "read ID_AA64PFR0_EL1 into xzr"
        );
        assert_eq!(told(esr(SysReg::new(3, 1, 2, 3, 4), 0, 1), 0), "read S3_1_C2_C3_4 into x0");
    }

    #[test]
    fn a_load_or_store_is_told_with_its_device() {
        let esr = class(ec::DATA_ABORT_LOWER) | iss::ISV | 0x07;
        assert_eq!(
            told(esr | 2 << 22 | 7 << 16, 0x900_0018),
            "load of 4 at 0x9000018 (uart) into x7"
        );
        let store = esr | iss::WNR | 3 << 22 | 31 << 16;
        assert_eq!(told(store, 0x800_6100), "store of 8 at 0x8006100 (gicd) from xzr");
        assert_eq!(told(store, 0x1000), "store of 8 at 0x1000 (no-device) from xzr");
    }

    #[test]
    fn other_aborts_are_told_with_what_was_refused() {
        let data = class(ec::DATA_ABORT_LOWER) | 0x07;
        let fetch = class(ec::INSTR_ABORT_LOWER) | 0x07;
        assert_eq!(told(fetch, 0x1234_5000), "abort: fetch at 0x12345000");
        assert_eq!(told(data, 0x10), "abort: load at 0x10");
        assert_eq!(told(data | iss::WNR, 0x10), "abort: store at 0x10");
        assert_eq!(told(data | iss::S1PTW | iss::ISV, 0x10), "abort: walk of its tables at 0x10");
        assert_eq!(told(data | iss::CM | iss::WNR, 0x10), "abort: cache maintenance at 0x10");
        assert_eq!(told(data & !0x3f | 0x10, 0x10), "abort: bus error at 0x10");
    }

    #[test]
    fn an_interrupt_is_told_by_its_kind_and_number() {
        for (intid, want) in [
            (0, "irq-kick 0"),
            (23, "irq-pmu 23"),
            (25, "irq-maintenance 25"),
            (26, "irq-hyp-timer 26"),
            (27, "irq-vtimer 27"),
            (33, "irq-board 33"),
            (1023, "irq-spurious"),
            (3 << 10, "irq-kick 0"),
        ] {
            assert_eq!(told(INTERRUPT, intid), want);
        }
    }

    #[test]
    fn what_remains_is_told_by_its_exception_class() {
        assert_eq!(told(class(ec::WFX), 0), "wfi");
        assert_eq!(told(class(ec::SVE), 0), "undefined class 0x19");
        assert_eq!(told(class(ec::SERROR), 0), "serror");
        assert_eq!(told(class(0x3f), 0), "unexpected class 0x3f");
    }

    #[test]
    fn whatever_is_in_the_ring_can_be_told() {
        let mut word = 7u64;
        for _ in 0..100_000 {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let why = word.rotate_left(29) ^ word >> 31;
            let line = told(if why & 6 == 0 { why } else { why & 0xffff_ffff }, word >> 3);
            assert!(!line.is_empty() && line.len() < 80 && line.is_ascii(), "{line}");
        }
    }
}
