//! The firmware a guest sees: calls by HVC or SMC after the SMC Calling Convention (SMCCC 1.1, Arm DEN 0028).
//!
//! A guest's SMC is trapped and answered exactly like its HVC: it never reaches the board's firmware. The function
//! identifier in w0 selects PSCI, the mitigations of the Arm Architecture Service, the random numbers of DEN 0098, the stolen
//! time of DEN 0057A, or nothing, which is answered NOT_SUPPORTED. What an answer needs beyond registers comes back as a [`Call`], and the
//! caller does it. The version query has a way of its own before all others ([`Services::answer_version`]).

use crate::addr::VcpuId;
use crate::psci::{self, Psci, Start};

/// A guest's general-purpose registers, x0 to x30.
pub type GeneralRegisters = [u64; 31];

/// The bit that tells an SMC64 identifier from its SMC32 twin (DEN 0028 2.5).
pub const SMC64: u32 = 1 << 30;

/// Function identifiers (DEN 0028 7, DEN 0098 2), 32-bit variants.
pub mod function {
    /// SMCCC_VERSION.
    pub const VERSION: u32 = 0x8000_0000;
    /// SMCCC_ARCH_FEATURES.
    pub const ARCH_FEATURES: u32 = 0x8000_0001;
    /// SMCCC_ARCH_WORKAROUND_3: branch history (CVE-2022-23960).
    pub const WORKAROUND_3: u32 = 0x8000_3fff;
    /// SMCCC_ARCH_WORKAROUND_2: speculative store bypass (CVE-2018-3639).
    pub const WORKAROUND_2: u32 = 0x8000_7fff;
    /// SMCCC_ARCH_WORKAROUND_1: branch target injection (CVE-2017-5715).
    pub const WORKAROUND_1: u32 = 0x8000_8000;
    /// TRNG_VERSION.
    pub const TRNG_VERSION: u32 = 0x8400_0050;
    /// TRNG_FEATURES.
    pub const TRNG_FEATURES: u32 = 0x8400_0051;
    /// TRNG_GET_UUID.
    pub const TRNG_UUID: u32 = 0x8400_0052;
    /// TRNG_RND.
    pub const TRNG_RND: u32 = 0x8400_0053;
    /// PV_TIME_FEATURES (DEN 0057A 3.2), for 64 bits alone.
    pub const PV_TIME_FEATURES: u32 = 0xc500_0020;
    /// PV_TIME_ST, for 64 bits alone.
    pub const PV_TIME_ST: u32 = 0xc500_0021;
}

/// SMCCC 1.1.
const SMCCC_VERSION: u64 = 0x0001_0001;
/// TRNG firmware interface 1.0.
const TRNG_VERSION: u64 = 0x0001_0000;
/// Names this source of random numbers to whoever asks (DEN 0098 2.3); made up once, never to change.
const TRNG_UUID: [u32; 4] = [0x7e55_e4a0, 0x4b1d_4f9c, 0x9a3e_6c02, 0x51d7_c8b6];

/// Signed answers common to all services, sign extended (DEN 0028 2.8, 7.1).
const NOT_SUPPORTED: u64 = -1i64 as u64;
const TRNG_INVALID_PARAMETERS: u64 = -2i64 as u64;

/// Which registers a call has: w0 to w7, or x0 to x17.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// SMC32 or HVC32: upper halves of arguments are ignored.
    W32,
    /// SMC64 or HVC64.
    W64,
}

impl Width {
    fn of(id: u32) -> Self {
        if id & SMC64 == 0 { Self::W32 } else { Self::W64 }
    }

    /// The first three arguments.
    pub fn arguments(self, regs: &GeneralRegisters) -> [u64; 3] {
        let mask = if self == Self::W32 { 0xffff_ffff } else { u64::MAX };
        [regs[1] & mask, regs[2] & mask, regs[3] & mask]
    }
}

/// What is left to do for a call. Its return value is in x0 already, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Call {
    /// Nothing: the guest goes on.
    Done,
    /// The vCPU was switched on: wake its core, which takes the start by [`psci::PowerStates::take_start`].
    CpuOn(VcpuId),
    /// Stop this vCPU, then [`psci::PowerStates::switch_off`] it; it does not return.
    CpuOff,
    /// Wait as in WFI. Then go on, or begin anew at `resume` where the caller gave up its state.
    Suspend {
        /// Where a power-down begins again.
        resume: Option<Start>,
    },
    /// Stop the guest.
    SystemOff,
    /// Build the guest anew.
    SystemReset {
        /// By SYSTEM_RESET2.
        warm: bool,
    },
    /// Call the board's firmware with this function and the guest's x1.
    Workaround(u32),
    /// Hand out random bits: [`crate::trng::Stream::answer`] writes x0 to x3.
    Random {
        /// How many: 1 to 96, or to 192 where `wide`.
        bits: u8,
        /// In 64-bit registers.
        wide: bool,
    },
    /// Tell where the caller's record of stolen time is.
    StealTime,
}

/// Whether a mitigation must be asked of the firmware (DEN 0028 7.4 to 7.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mitigation {
    /// Nobody knows of a defence: the guest is told NOT_SUPPORTED.
    #[default]
    Unknown,
    /// The core is not affected; a call does nothing.
    NotRequired,
    /// The firmware defends when called.
    Call,
}

/// The mitigations of the cores that run a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mitigations {
    /// Branch target injection: SMCCC_ARCH_WORKAROUND_1.
    pub branch_target: Mitigation,
    /// Speculative store bypass: SMCCC_ARCH_WORKAROUND_2.
    pub store_bypass: Mitigation,
    /// Branch history: SMCCC_ARCH_WORKAROUND_3.
    pub branch_history: Mitigation,
}

/// What the board's firmware said to SMCCC_ARCH_FEATURES about each workaround; `-1` where there is no such firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirmwareAnswers {
    /// About SMCCC_ARCH_WORKAROUND_1.
    pub workaround_1: i32,
    /// About SMCCC_ARCH_WORKAROUND_2.
    pub workaround_2: i32,
    /// About SMCCC_ARCH_WORKAROUND_3.
    pub workaround_3: i32,
}

impl FirmwareAnswers {
    /// A board without firmware, or with one older than SMCCC 1.1.
    pub const NONE: Self = Self { workaround_1: -1, workaround_2: -1, workaround_3: -1 };
}

/// MIDR_EL1 without variant and revision: implementer, architecture and part.
const MIDR_MODEL: u64 = 0xff0f_fff0;
/// Arm cores that predict no branch target across contexts and bypass no store (Arm, "Speculative Processor
/// Vulnerability", table of affected cores): Cortex-A35, A53, A55.
const IN_ORDER: [u64; 3] = [0x410f_d040, 0x410f_d030, 0x410f_d050];

impl Mitigations {
    /// Puts together what the core says of itself (MIDR_EL1, ID_AA64PFR0_EL1) and what its firmware offers.
    pub fn new(midr: u64, pfr0: u64, firmware: FirmwareAnswers) -> Self {
        let in_order = IN_ORDER.contains(&(midr & MIDR_MODEL));
        let csv2 = pfr0 >> 56 & 15;
        let ask = |safe: bool, answer: i32, not_required: i32| match answer {
            _ if safe => Mitigation::NotRequired,
            0 => Mitigation::Call,
            answer if answer == not_required => Mitigation::NotRequired,
            _ => Mitigation::Unknown,
        };
        Self {
            branch_target: ask(in_order || csv2 >= 1, firmware.workaround_1, 1),
            store_bypass: ask(in_order, firmware.workaround_2, -2),
            // CSV2 of 3 covers branch history too (DDI 0487, ID_AA64PFR0_EL1.CSV2).
            branch_history: ask(in_order || csv2 >= 3, firmware.workaround_3, 1),
        }
    }
}

/// The firmware of one guest, shared by its vCPUs.
#[derive(Debug)]
pub struct Services {
    /// Power states and entry points.
    pub psci: Psci,
    /// Defences of the cores below.
    pub mitigations: Mitigations,
    /// Whether there is a stream of random numbers with a real seed.
    pub random: bool,
    /// Whether there is a record of stolen time for each vCPU.
    pub steal: bool,
}

impl Services {
    /// Answers an HVC with this immediate if it is the version query, which everybody measures; whether it was.
    #[inline(always)]
    pub fn answer_version(immediate: u16, regs: &mut GeneralRegisters) -> bool {
        let asked = immediate == 0 && regs[0] as u32 == psci::function::VERSION;
        if asked {
            regs[0] = psci::VERSION;
        }
        asked
    }

    /// Answers an HVC or a trapped SMC with this immediate.
    #[inline(never)]
    pub fn call(&self, immediate: u16, regs: &mut GeneralRegisters) -> Call {
        let id = regs[0] as u32;
        let width = Width::of(id);
        // Only immediate 0 belongs to the convention (DEN 0028 2.9).
        let answered = if immediate != 0 {
            None
        } else {
            match id & !SMC64 {
                0x8000_0000..=0x8000_ffff if width == Width::W32 => self.architecture(id, regs),
                0x8400_0000..=0x8400_001f => self.psci.call(id & !SMC64, width, regs),
                0x8400_0050..=0x8400_005f if self.random => random(id & !SMC64, width, regs),
                0x8500_0020..=0x8500_0021 if self.steal => stolen_time(id, regs),
                _ => None,
            }
        };
        answered.unwrap_or_else(|| {
            regs[0] = NOT_SUPPORTED;
            Call::Done
        })
    }

    /// The Arm Architecture Service (DEN 0028 7).
    fn architecture(&self, id: u32, regs: &mut GeneralRegisters) -> Option<Call> {
        match id {
            function::VERSION => regs[0] = SMCCC_VERSION,
            function::ARCH_FEATURES => regs[0] = self.features(regs[1] as u32),
            _ => match self.mitigation(id)? {
                Mitigation::Unknown => return None,
                Mitigation::NotRequired => regs[0] = 0,
                Mitigation::Call => {
                    regs[0] = 0;
                    return Some(Call::Workaround(id));
                }
            },
        }
        Some(Call::Done)
    }

    fn mitigation(&self, id: u32) -> Option<Mitigation> {
        match id {
            function::WORKAROUND_1 => Some(self.mitigations.branch_target),
            function::WORKAROUND_2 => Some(self.mitigations.store_bypass),
            function::WORKAROUND_3 => Some(self.mitigations.branch_history),
            _ => None,
        }
    }

    /// SMCCC_ARCH_FEATURES (DEN 0028 7.3). SoC identification (7.7) is not offered: a guest may move to another board.
    fn features(&self, id: u32) -> u64 {
        match (id, self.mitigation(id)) {
            (function::VERSION | function::ARCH_FEATURES, _) => 0,
            (function::PV_TIME_FEATURES, _) if self.steal => 0,
            (_, Some(Mitigation::Call)) => 0,
            // NOT_REQUIRED: store bypass has its own number for it (DEN 0028 7.5.4).
            (function::WORKAROUND_2, Some(Mitigation::NotRequired)) => -2i64 as u64,
            (_, Some(Mitigation::NotRequired)) => 1,
            _ => NOT_SUPPORTED,
        }
    }
}

/// The TRNG firmware interface (DEN 0098 2).
fn random(id: u32, width: Width, regs: &mut GeneralRegisters) -> Option<Call> {
    let most = if width == Width::W32 { 96 } else { 192 };
    match (id, width) {
        (function::TRNG_VERSION, Width::W32) => regs[0] = TRNG_VERSION,
        (function::TRNG_FEATURES, Width::W32) => {
            let known = matches!(
                regs[1] as u32,
                function::TRNG_VERSION
                    | function::TRNG_FEATURES
                    | function::TRNG_UUID
                    | function::TRNG_RND
                    | TRNG_RND_64
            );
            regs[0] = if known { 0 } else { NOT_SUPPORTED };
        }
        (function::TRNG_UUID, Width::W32) => {
            for (reg, word) in regs.iter_mut().zip(TRNG_UUID) {
                *reg = u64::from(word);
            }
        }
        (function::TRNG_RND, _) => match width.arguments(regs)[0] {
            bits if bits == 0 || bits > most => regs[0] = TRNG_INVALID_PARAMETERS,
            bits => return Some(Call::Random { bits: bits as u8, wide: width == Width::W64 }),
        },
        _ => return None,
    }
    Some(Call::Done)
}

/// Paravirtualized time (DEN 0057A 3.2).
fn stolen_time(id: u32, regs: &mut GeneralRegisters) -> Option<Call> {
    let known = [function::PV_TIME_FEATURES, function::PV_TIME_ST];
    match id {
        function::PV_TIME_FEATURES => {
            regs[0] = if known.contains(&(regs[1] as u32)) { 0 } else { NOT_SUPPORTED };
            Some(Call::Done)
        }
        function::PV_TIME_ST => Some(Call::StealTime),
        _ => None,
    }
}

const TRNG_RND_64: u32 = function::TRNG_RND | SMC64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psci::PowerStates;

    fn services() -> Services {
        let psci = Psci { power: PowerStates::new(2), ram: 0x4000_0000..0x5000_0000 };
        Services { psci, mitigations: Mitigations::default(), random: true, steal: false }
    }

    fn ask(services: &Services, id: u32, x1: u64) -> (Call, u64) {
        let mut regs = [0u64; 31];
        // The upper half of x0 is no part of the identifier.
        regs[0] = u64::from(id) | 0xabcd << 32;
        regs[1] = x1;
        let call = services.call(0, &mut regs);
        (call, regs[0])
    }

    #[test]
    fn versions_are_told() {
        let s = services();
        assert_eq!(ask(&s, psci::function::VERSION, 0), (Call::Done, 0x1_0001));
        assert_eq!(ask(&s, function::VERSION, 0), (Call::Done, 0x1_0001));
        assert_eq!(ask(&s, function::TRNG_VERSION, 0), (Call::Done, 0x1_0000));
    }

    #[test]
    fn stolen_time_is_found_the_way_linux_looks_for_it() {
        use function::{ARCH_FEATURES, PV_TIME_FEATURES, PV_TIME_ST};
        let s = Services { steal: true, ..services() };
        assert_eq!(ask(&s, ARCH_FEATURES, u64::from(PV_TIME_FEATURES)), (Call::Done, 0));
        assert_eq!(ask(&s, PV_TIME_FEATURES, u64::from(PV_TIME_ST)), (Call::Done, 0));
        assert_eq!(ask(&s, PV_TIME_FEATURES, u64::from(PV_TIME_FEATURES)), (Call::Done, 0));
        assert_eq!(ask(&s, PV_TIME_ST, 0).0, Call::StealTime);
        // Live physical time, and the 32-bit twins, are not there.
        for (id, x1) in [
            (PV_TIME_FEATURES, 0xc500_0022),
            (PV_TIME_ST + 1, 0),
            (PV_TIME_FEATURES & !SMC64, u64::from(PV_TIME_ST)),
            (PV_TIME_ST & !SMC64, 0),
        ] {
            assert_eq!(ask(&s, id, x1), (Call::Done, NOT_SUPPORTED), "{id:#x} {x1:#x}");
        }
        // Nothing is stolen from who owns its cores.
        let s = services();
        for (id, x1) in
            [(ARCH_FEATURES, PV_TIME_FEATURES), (PV_TIME_FEATURES, PV_TIME_ST), (PV_TIME_ST, 0)]
        {
            assert_eq!(ask(&s, id, u64::from(x1)), (Call::Done, NOT_SUPPORTED));
        }
    }

    #[test]
    fn what_does_not_exist_is_not_supported() {
        let s = services();
        let unknown = [
            0,
            1,
            0x8000_0002,
            0x8000_0003,
            0x8000_ff01,
            0xc000_0000,
            0xc000_8000,
            0x8400_0005,
            0x8400_000e,
            0xc400_0000,
            0xc400_0002,
            0xc400_0008,
            0x8400_0054,
            0xc400_0050,
            0x8400_ff01,
            0x8600_0000,
            0xc600_0000,
            0xbf00_0000,
            0xffff_ffff,
            0x8401_0000,
        ];
        for id in unknown {
            assert_eq!(ask(&s, id, 0), (Call::Done, NOT_SUPPORTED), "{id:#x}");
        }
    }

    #[test]
    fn an_immediate_other_than_zero_is_no_call_of_ours() {
        let s = services();
        let mut regs = [0; 31];
        regs[0] = u64::from(psci::function::VERSION);
        assert_eq!(s.call(1, &mut regs), Call::Done);
        assert_eq!(regs[0], NOT_SUPPORTED);
        regs[0] = u64::from(psci::function::SYSTEM_OFF);
        assert_eq!(s.call(0xffff, &mut regs), Call::Done);
    }

    #[test]
    fn mitigations_follow_the_core_and_its_firmware() {
        const A53: u64 = 0x410f_d034;
        const A72: u64 = 0x410f_d083;
        let none = FirmwareAnswers::NONE;
        let offers = FirmwareAnswers { workaround_1: 0, workaround_2: -2, workaround_3: 0 };
        assert_eq!(Mitigations::new(A72, 0, none), Mitigations::default());
        let a53 = Mitigations::new(A53, 0, none);
        assert_eq!(a53.branch_history, Mitigation::NotRequired);
        let a72 = Mitigations::new(A72, 0, offers);
        assert_eq!(a72.branch_target, Mitigation::Call);
        assert_eq!(a72.store_bypass, Mitigation::NotRequired);
        let newer = Mitigations::new(0x410f_d4f0, 3 << 56, none);
        assert_eq!(newer.branch_target, Mitigation::NotRequired);
        assert_eq!(newer.branch_history, Mitigation::NotRequired);
    }

    #[test]
    fn workarounds_are_offered_as_the_core_needs_them() {
        let mut s = services();
        let features = |s: &Services, id| ask(s, function::ARCH_FEATURES, u64::from(id)).1 as i64;
        let workarounds = [function::WORKAROUND_1, function::WORKAROUND_2, function::WORKAROUND_3];
        for id in workarounds {
            assert_eq!(features(&s, id), -1);
            assert_eq!(ask(&s, id, 1), (Call::Done, NOT_SUPPORTED));
        }
        s.mitigations = Mitigations {
            branch_target: Mitigation::Call,
            store_bypass: Mitigation::NotRequired,
            branch_history: Mitigation::NotRequired,
        };
        assert_eq!(workarounds.map(|id| features(&s, id)), [0, -2, 1]);
        assert_eq!(
            ask(&s, function::WORKAROUND_1, 0),
            (Call::Workaround(function::WORKAROUND_1), 0)
        );
        assert_eq!(ask(&s, function::WORKAROUND_3, 0), (Call::Done, 0));
        assert_eq!((features(&s, function::VERSION), features(&s, 0x8000_0002)), (0, -1));
    }

    #[test]
    fn random_bits_are_counted_by_width() {
        let mut s = services();
        let narrow = |s: &Services, bits| ask(s, function::TRNG_RND, bits);
        let wide = |s: &Services, bits| ask(s, TRNG_RND_64, bits);
        assert_eq!(narrow(&s, 96).0, Call::Random { bits: 96, wide: false });
        assert_eq!(narrow(&s, 97), (Call::Done, -2i64 as u64));
        assert_eq!(narrow(&s, 1 << 32 | 1).0, Call::Random { bits: 1, wide: false });
        assert_eq!(wide(&s, 192).0, Call::Random { bits: 192, wide: true });
        assert_eq!(wide(&s, 0).1, -2i64 as u64);
        assert_eq!(wide(&s, 1 << 32 | 1).1, -2i64 as u64);
        s.random = false;
        for id in [function::TRNG_VERSION, function::TRNG_RND, TRNG_RND_64, function::TRNG_UUID] {
            assert_eq!(ask(&s, id, 32), (Call::Done, NOT_SUPPORTED));
        }
    }

    #[test]
    fn no_call_disturbs_registers_that_it_does_not_return() {
        let s = services();
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..50_000 {
            let mut regs: GeneralRegisters = core::array::from_fn(|_| next());
            let service = [0x8400_0000, 0xc400_0000, 0x8000_0000, 0x8400_0050][next() as usize % 4];
            if next() & 7 != 0 {
                regs[0] = service | next() & 0x1f;
                regs[1] = next() & 0xff;
            }
            let before = regs;
            let call = s.call((next() & 31 == 0) as u16, &mut regs);
            assert_eq!(regs[4..], before[4..]);
            if before[0] as u32 != function::TRNG_UUID {
                assert_eq!(regs[1..4], before[1..4]);
            }
            if let Call::Random { bits, wide } = call {
                assert!(bits > 0 && bits <= if wide { 192 } else { 96 });
            }
        }
    }
}
