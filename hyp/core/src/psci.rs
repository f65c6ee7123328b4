//! The power state coordination interface of a guest (PSCI 1.1, Arm DEN 0022): which vCPUs are on, what a call asks.
//!
//! Several vCPUs may switch the same one on at the same time, each from its own core, while its core is asleep. So a
//! vCPU's state is one atomic, CPU_ON is a compare-and-exchange on it, and the entry point travels beside it: who wins
//! the exchange writes the entry, then publishes it; the target takes it once. The idea not taken is a lock around all
//! of a guest's power states: it would be held across the wake-up of another core.
//!
//! Calls are answered as decisions ([`Call`]); only the state that decides the answer changes here.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tessera_abi::layout::MAX_VCPUS;

use crate::addr::{Ipa, VcpuId};
use crate::smccc::{Call, GeneralRegisters, Width};

/// Function identifiers, 32-bit variants; the 64-bit one of a call that has it is `| smccc::SMC64` (DEN 0022 5.1).
pub mod function {
    /// PSCI_VERSION.
    pub const VERSION: u32 = 0x8400_0000;
    /// CPU_SUSPEND.
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    /// CPU_OFF.
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// CPU_ON.
    pub const CPU_ON: u32 = 0x8400_0003;
    /// AFFINITY_INFO.
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    /// MIGRATE_INFO_TYPE.
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// SYSTEM_OFF.
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// SYSTEM_RESET.
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// PSCI_FEATURES.
    pub const FEATURES: u32 = 0x8400_000a;
    /// SYSTEM_RESET2.
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;
}

/// PSCI 1.1: major in bits 31:16, minor in 15:0 (DEN 0022 5.3.1).
pub const VERSION: u64 = 0x0001_0001;
/// MIGRATE_INFO_TYPE: no trusted OS that would have to migrate (DEN 0022 5.9).
const MIGRATION_NOT_REQUIRED: u64 = 2;
/// SYSTEM_RESET2's only architected type (DEN 0022 5.12).
const SYSTEM_WARM_RESET: u64 = 0;

/// `power_state` in the original format (DEN 0022 5.4.2): StateID 15:0, StateType 16, PowerLevel 25:24.
mod power_state {
    /// Power down, or standby where clear.
    pub const POWERDOWN: u64 = 1 << 16;
    /// Bits that must be zero.
    pub const RESERVED: u64 = !0x0301_ffff;
}

/// What a call returns when it fails (DEN 0022 5.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i64)]
pub enum Error {
    /// The function is not implemented.
    NotSupported = -1,
    /// An argument names nothing that exists.
    InvalidParameters = -2,
    /// The vCPU to switch on is on.
    AlreadyOn = -4,
    /// The vCPU to switch on is about to be on.
    OnPending = -5,
    /// The entry point is not in the guest's RAM, or not aligned.
    InvalidAddress = -9,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSupported => "the function is not implemented",
            Self::InvalidParameters => "an argument names nothing that exists",
            Self::AlreadyOn => "the vCPU is on already",
            Self::OnPending => "the vCPU is about to be on",
            Self::InvalidAddress => "the entry point is not in the guest's RAM",
        })
    }
}

/// Where a vCPU begins: its program counter, and x0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Entry point; MMU and caches off, EL1h, all exceptions masked (DEN 0022 6.4).
    pub entry: Ipa,
    /// Value of x0.
    pub context: u64,
}

/// Power state of a vCPU as AFFINITY_INFO tells it (DEN 0022 5.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Power {
    /// Runs, or waits in WFI or CPU_SUSPEND.
    On = 0,
    /// Waits for CPU_ON.
    Off = 1,
    /// Switched on, but has not begun.
    OnPending = 2,
}

/// [`Power`] as stored, with a fourth state: switched on by somebody who has not written the entry point yet.
mod stored {
    pub const ON: u8 = 0;
    pub const OFF: u8 = 1;
    pub const READY: u8 = 2;
    pub const CLAIMED: u8 = 3;
}

/// One vCPU's state and where it shall begin.
#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    entry: AtomicU64,
    context: AtomicU64,
}

/// The power states of one guest's vCPUs, shared by all cores that run them.
#[derive(Debug)]
pub struct PowerStates {
    slots: [Slot; MAX_VCPUS],
    count: u8,
}

impl PowerStates {
    /// `count` vCPUs (at most [`MAX_VCPUS`]), all off.
    pub fn new(count: u8) -> Self {
        let slot = |_| Slot {
            state: AtomicU8::new(stored::OFF),
            entry: AtomicU64::new(0),
            context: AtomicU64::new(0),
        };
        Self { slots: core::array::from_fn(slot), count: count.min(MAX_VCPUS as u8) }
    }

    /// How many vCPUs the guest has.
    pub fn count(&self) -> u8 {
        self.count
    }

    fn slot(&self, vcpu: VcpuId) -> Option<&Slot> {
        self.slots.get(usize::from(vcpu.0)).filter(|_| vcpu.0 < self.count)
    }

    /// Switches a vCPU on: it is [`Power::OnPending`] until its core calls [`PowerStates::take_start`].
    ///
    /// Of several callers exactly one succeeds.
    pub fn switch_on(&self, vcpu: VcpuId, start: Start) -> Result<(), Error> {
        let slot = self.slot(vcpu).ok_or(Error::InvalidParameters)?;
        let claim = slot.state.compare_exchange(
            stored::OFF,
            stored::CLAIMED,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        match claim {
            Ok(_) => {
                slot.entry.store(start.entry.0, Ordering::Relaxed);
                slot.context.store(start.context, Ordering::Relaxed);
                slot.state.store(stored::READY, Ordering::Release);
                Ok(())
            }
            Err(stored::ON) => Err(Error::AlreadyOn),
            Err(_) => Err(Error::OnPending),
        }
    }

    /// Where `vcpu` shall begin, once after it was switched on: it is on from here. For the core that runs it.
    pub fn take_start(&self, vcpu: VcpuId) -> Option<Start> {
        let slot = self.slot(vcpu)?;
        // Only this core leaves READY, so load and store need no exchange.
        if slot.state.load(Ordering::Acquire) != stored::READY {
            return None;
        }
        let entry = Ipa(slot.entry.load(Ordering::Relaxed));
        let context = slot.context.load(Ordering::Relaxed);
        slot.state.store(stored::ON, Ordering::Release);
        Some(Start { entry, context })
    }

    /// Switches `vcpu` off. For the core that runs it, when nothing of its old life can reach it any more.
    pub fn switch_off(&self, vcpu: VcpuId) {
        if let Some(slot) = self.slot(vcpu) {
            slot.state.store(stored::OFF, Ordering::Release);
        }
    }

    /// Switches all off: a guest that starts again. Its cores must have left it.
    pub fn switch_all_off(&self) {
        for slot in &self.slots {
            slot.state.store(stored::OFF, Ordering::Release);
        }
    }

    /// The state of `vcpu`, or `None` where the guest has no such vCPU.
    pub fn state(&self, vcpu: VcpuId) -> Option<Power> {
        Some(match self.slot(vcpu)?.state.load(Ordering::Acquire) {
            stored::ON => Power::On,
            stored::OFF => Power::Off,
            _ => Power::OnPending,
        })
    }

    /// Whether no vCPU is on or about to be: nothing inside the guest can wake it again.
    pub fn all_off(&self) -> bool {
        self.slots.iter().all(|slot| slot.state.load(Ordering::Acquire) == stored::OFF)
    }

    /// The highest state among all vCPUs, as AFFINITY_INFO reports a level above the cores.
    fn of_all(&self) -> Power {
        let states = || (0..self.count).filter_map(|n| self.state(VcpuId(n)));
        if states().any(|s| s == Power::On) {
            Power::On
        } else if states().any(|s| s == Power::OnPending) {
            Power::OnPending
        } else {
            Power::Off
        }
    }
}

/// VMPIDR_EL2 of a vCPU: affinity 0.0.0.`n`, RES1 in bit 31, one of several (U clear), no threads (MT clear).
pub const fn vmpidr(vcpu: VcpuId) -> u64 {
    1 << 31 | vcpu.0 as u64
}

/// The vCPU that `target_cpu` names: affinity fields as in MPIDR, all other bits zero (DEN 0022 5.6).
fn vcpu_of(target: u64, count: u8) -> Option<VcpuId> {
    (target < u64::from(count)).then_some(VcpuId(target as u8))
}

/// The PSCI service of one guest.
#[derive(Debug)]
pub struct Psci {
    /// Which vCPUs are on.
    pub power: PowerStates,
    /// Where entry points may lie.
    pub ram: Range<u64>,
}

impl Psci {
    /// Answers a PSCI function, or `None` where `id` (32-bit variant) is none that exists in this `width`.
    pub fn call(&self, id: u32, width: Width, regs: &mut GeneralRegisters) -> Option<Call> {
        use function::*;
        if width == Width::W64 && !has_64_bit_variant(id) {
            return None;
        }
        let [x1, x2, x3] = width.arguments(regs);
        let answer = match id {
            VERSION => Ok(self::VERSION),
            FEATURES => features(x1 as u32),
            MIGRATE_INFO_TYPE => Ok(MIGRATION_NOT_REQUIRED),
            AFFINITY_INFO => self.affinity_info(x1, x2),
            CPU_OFF => return Some(Call::CpuOff),
            CPU_SUSPEND => match self.suspend(x1, x2, x3) {
                Ok(resume) => {
                    // What a standby returns; a power-down overwrites it with its context.
                    regs[0] = 0;
                    return Some(Call::Suspend { resume });
                }
                Err(error) => Err(error),
            },
            CPU_ON => match self.cpu_on(x1, x2, x3) {
                Ok(vcpu) => {
                    regs[0] = 0;
                    return Some(Call::CpuOn(vcpu));
                }
                Err(error) => Err(error),
            },
            SYSTEM_OFF => return Some(Call::SystemOff),
            SYSTEM_RESET => return Some(Call::SystemReset { warm: false }),
            // The cookie in x2 is for vendor resets only.
            SYSTEM_RESET2 if x1 & 0xffff_ffff == SYSTEM_WARM_RESET => {
                return Some(Call::SystemReset { warm: true });
            }
            SYSTEM_RESET2 => Err(Error::InvalidParameters),
            _ => return None,
        };
        regs[0] = answer.unwrap_or_else(|error| error as i64 as u64);
        Some(Call::Done)
    }

    fn cpu_on(&self, target: u64, entry: u64, context: u64) -> Result<VcpuId, Error> {
        let vcpu = vcpu_of(target, self.power.count).ok_or(Error::InvalidParameters)?;
        let start = self.start(entry, context)?;
        self.power.switch_on(vcpu, start)?;
        Ok(vcpu)
    }

    fn suspend(&self, state: u64, entry: u64, context: u64) -> Result<Option<Start>, Error> {
        // The parameter has 32 bits in both variants (DEN 0022 5.4.1).
        let state = state & 0xffff_ffff;
        // Any power level may be asked for: it is the deepest that the caller allows, and a vCPU has one.
        if state & power_state::RESERVED != 0 {
            return Err(Error::InvalidParameters);
        }
        if state & power_state::POWERDOWN == 0 {
            return Ok(None);
        }
        self.start(entry, context).map(Some)
    }

    fn start(&self, entry: u64, context: u64) -> Result<Start, Error> {
        let entry = Ipa(entry);
        if !self.ram.contains(&entry.0) || !entry.is_aligned(4) {
            return Err(Error::InvalidAddress);
        }
        Ok(Start { entry, context })
    }

    fn affinity_info(&self, target: u64, level: u64) -> Result<u64, Error> {
        let state = match level & 0xffff_ffff {
            0 => vcpu_of(target, self.power.count).and_then(|vcpu| self.power.state(vcpu)),
            // Aff1 to Aff3 of every vCPU are 0, so there is one node a level and all vCPUs are in it; the fields
            // below the level are ignored.
            level @ 1..=3 => {
                let below = (1u64 << (8 * level)) - 1;
                (target & !below == 0).then(|| self.power.of_all())
            }
            _ => None,
        };
        state.map(|state| state as u64).ok_or(Error::InvalidParameters)
    }
}

/// Whether a function has an SMC64 variant (DEN 0022 5.1, table of function identifiers).
fn has_64_bit_variant(id: u32) -> bool {
    use function::*;
    matches!(id, CPU_SUSPEND | CPU_ON | AFFINITY_INFO | SYSTEM_RESET2)
}

/// PSCI_FEATURES (DEN 0022 5.10): feature flags of a function, all 0 here. CPU_SUSPEND's 0 says that `power_state`
/// has the original format and that suspension is platform-coordinated.
fn features(id: u32) -> Result<u64, Error> {
    use function::*;
    let narrow = id & !crate::smccc::SMC64;
    let known = match narrow {
        VERSION | CPU_SUSPEND | CPU_OFF | CPU_ON | AFFINITY_INFO | MIGRATE_INFO_TYPE
        | SYSTEM_OFF | SYSTEM_RESET | FEATURES | SYSTEM_RESET2 => {
            id == narrow || has_64_bit_variant(narrow)
        }
        // How a caller finds out that SMCCC is 1.1 or later (DEN 0028 7.2).
        crate::smccc::function::VERSION => id == narrow,
        _ => false,
    };
    if known { Ok(0) } else { Err(Error::NotSupported) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const RAM: Range<u64> = 0x4000_0000..0x5000_0000;

    fn psci(vcpus: u8) -> Psci {
        let psci = Psci { power: PowerStates::new(vcpus), ram: RAM };
        psci.power.switch_on(VcpuId(0), Start { entry: Ipa(RAM.start), context: 0 }).unwrap();
        psci.power.take_start(VcpuId(0)).unwrap();
        psci
    }

    fn call(psci: &Psci, id: u32, width: Width, args: [u64; 3]) -> (Call, i64) {
        let mut regs = [0u64; 31];
        regs[0] = 0xdead;
        regs[1..4].copy_from_slice(&args);
        let call = psci.call(id, width, &mut regs).unwrap();
        (call, regs[0] as i64)
    }

    #[test]
    fn a_vcpu_is_switched_on_once() {
        let psci = psci(2);
        let on = |entry| call(&psci, function::CPU_ON, Width::W64, [1, entry, 7]);
        assert_eq!(psci.power.state(VcpuId(1)), Some(Power::Off));
        assert_eq!(on(0x4008_0000), (Call::CpuOn(VcpuId(1)), 0));
        assert_eq!(psci.power.state(VcpuId(1)), Some(Power::OnPending));
        assert_eq!(on(0x4008_0000), (Call::Done, Error::OnPending as i64));
        let start = Start { entry: Ipa(0x4008_0000), context: 7 };
        assert_eq!(psci.power.take_start(VcpuId(1)), Some(start));
        assert_eq!(psci.power.take_start(VcpuId(1)), None);
        assert_eq!(on(0x4008_0000), (Call::Done, Error::AlreadyOn as i64));
        psci.power.switch_off(VcpuId(1));
        assert_eq!(on(0x4008_0000).0, Call::CpuOn(VcpuId(1)));
    }

    #[test]
    fn cpu_on_refuses_strangers_and_entry_points_outside_ram() {
        let psci = psci(2);
        let on = |target, entry| call(&psci, function::CPU_ON, Width::W64, [target, entry, 0]).1;
        let parameters = Error::InvalidParameters as i64;
        for target in [2, 8, 0x100, 1 << 31 | 1, 1 << 32 | 1, u64::MAX] {
            assert_eq!(on(target, RAM.start), parameters, "{target:#x}");
        }
        for entry in [0, RAM.start - 4, RAM.end, RAM.start + 2, !3] {
            assert_eq!(on(1, entry), Error::InvalidAddress as i64, "{entry:#x}");
        }
        assert_eq!(psci.power.state(VcpuId(1)), Some(Power::Off));
    }

    #[test]
    fn the_32_bit_cpu_on_ignores_the_upper_halves() {
        let psci = psci(2);
        let args = [0xffff_ffff_0000_0001, 0xffff_ffff_4000_0000, 0xffff_ffff_8000_0000];
        assert_eq!(call(&psci, function::CPU_ON, Width::W32, args), (Call::CpuOn(VcpuId(1)), 0));
        let start = psci.power.take_start(VcpuId(1)).unwrap();
        assert_eq!(start, Start { entry: Ipa(0x4000_0000), context: 0x8000_0000 });
    }

    #[test]
    fn of_racing_callers_exactly_one_switches_a_vcpu_on() {
        for round in 0..50 {
            let psci = psci(2);
            let barrier = std::sync::Barrier::new(4);
            let won: Vec<Option<u64>> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..4u64)
                    .map(|n| {
                        let (psci, barrier) = (&psci, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            let entry = RAM.start + 4 * n;
                            let args = [1, entry, n];
                            let done = call(psci, function::CPU_ON, Width::W64, args);
                            (done.0 == Call::CpuOn(VcpuId(1))).then_some(n)
                        })
                    })
                    .collect();
                racers.into_iter().map(|r| r.join().unwrap()).collect()
            });
            let winners: Vec<u64> = won.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1, "round {round}");
            let start = psci.power.take_start(VcpuId(1)).unwrap();
            assert_eq!(start.context, winners[0]);
            assert_eq!(start.entry, Ipa(RAM.start + 4 * winners[0]));
        }
    }

    #[test]
    fn affinity_info_tells_cores_and_the_levels_above() {
        let psci = psci(2);
        let info =
            |target, level| call(&psci, function::AFFINITY_INFO, Width::W64, [target, level, 0]).1;
        assert_eq!((info(0, 0), info(1, 0)), (0, 1));
        assert_eq!((info(0, 1), info(0xff, 1), info(0xffff, 2)), (0, 0, 0));
        let parameters = Error::InvalidParameters as i64;
        assert_eq!((info(2, 0), info(0x100, 1), info(0, 4)), (parameters, parameters, parameters));
        psci.power.switch_off(VcpuId(0));
        assert_eq!(info(0, 1), 1);
        assert!(psci.power.all_off());
        psci.power.switch_on(VcpuId(1), Start { entry: Ipa(RAM.start), context: 0 }).unwrap();
        assert_eq!((info(1, 0), info(0, 1)), (2, 2));
    }

    #[test]
    fn suspend_is_standby_or_power_down() {
        let psci = psci(1);
        let suspend =
            |state, entry| call(&psci, function::CPU_SUSPEND, Width::W64, [state, entry, 9]);
        assert_eq!(suspend(0x1234, 0), (Call::Suspend { resume: None }, 0));
        let resume = Some(Start { entry: Ipa(RAM.start), context: 9 });
        assert_eq!(suspend(1 << 16, RAM.start).0, Call::Suspend { resume });
        assert_eq!(suspend(1 << 16, 0), (Call::Done, Error::InvalidAddress as i64));
        assert_eq!(suspend(1 << 17, RAM.start), (Call::Done, Error::InvalidParameters as i64));
        assert_eq!(suspend(1 << 31, RAM.start), (Call::Done, Error::InvalidParameters as i64));
    }

    #[test]
    fn features_names_exactly_what_exists() {
        let psci = psci(1);
        let has = |id: u32| call(&psci, function::FEATURES, Width::W32, [u64::from(id), 0, 0]).1;
        for id in 0x8400_0000..0x8400_0020u32 {
            for (width, flag) in [(Width::W32, 0), (Width::W64, crate::smccc::SMC64)] {
                let exists = Psci { power: PowerStates::new(1), ram: RAM }
                    .call(id, width, &mut [0; 31])
                    .is_some();
                assert_eq!(has(id | flag), if exists { 0 } else { -1 }, "{:#x}", id | flag);
            }
        }
        assert_eq!((has(0x8000_0000), has(0xc000_0000), has(0)), (0, -1, -1));
    }

    #[test]
    fn system_calls_end_the_guest() {
        let psci = psci(1);
        assert_eq!(call(&psci, function::SYSTEM_OFF, Width::W32, [0; 3]).0, Call::SystemOff);
        assert_eq!(
            call(&psci, function::SYSTEM_RESET, Width::W32, [0; 3]).0,
            Call::SystemReset { warm: false }
        );
        let reset2 = |kind| call(&psci, function::SYSTEM_RESET2, Width::W64, [kind, 5, 0]);
        assert_eq!(reset2(0).0, Call::SystemReset { warm: true });
        assert_eq!(reset2(1), (Call::Done, Error::InvalidParameters as i64));
        assert_eq!(reset2(1 << 31), (Call::Done, Error::InvalidParameters as i64));
    }
}
