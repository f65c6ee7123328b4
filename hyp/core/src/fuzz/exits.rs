//! Exits from decoding to answer: whatever a syndrome says, it is decoded, answered and bounded.

use alloc::vec::Vec;

use super::{Choices, Random};
use crate::addr::VcpuId;
use crate::exit::{Exit, INTERRUPT, StageTwoAbort, Syndrome, ec};
use crate::id_regs::{self, IdRegs};
use crate::inject::{Access, El1State, Fault, Stage1, inject};
use crate::psci::{PowerStates, Psci};
use crate::smccc::{Call, Mitigations, Services};
use crate::sysreg::{Outcome, TimerReg, emulate};
use crate::trng::Stream;
use crate::vtimer::{Clock, PhysicalTimer};

/// ID_AA64PFR0_EL1.GIC, in any register.
const GIC: u64 = 0xf << 24;

/// The parts of a guest that answer what traps.
struct Guest {
    services: Services,
    ids: IdRegs,
    clock: Clock,
    timer: PhysicalTimer,
    stream: Stream,
}

impl Guest {
    /// With a GICv3, or with one that has no system registers.
    fn new(gicv3: bool) -> Option<Self> {
        let psci = Psci { power: PowerStates::new(4), ram: 0x4000_0000..0x8000_0000 };
        let mitigations = Mitigations::default();
        let services = Services { psci, mitigations, random: true, steal: true };
        let gic = if gicv3 { 1 << 24 } else { 0 };
        let ids = IdRegs::from_hw(|reg| (u64::from(reg.0) << 20 | u64::from(reg.0)) & !GIC | gic);
        let stream = Stream::from_seed(b"0123456789abcdef")?;
        Some(Self {
            services,
            ids,
            clock: Clock::starting(5),
            timer: PhysicalTimer::default(),
            stream,
        })
    }

    fn call(&mut self, immediate: u16, regs: &mut [u64; 31]) {
        let power = &self.services.psci.power;
        match self.services.call(immediate, regs) {
            Call::CpuOn(vcpu) => {
                let start = power.take_start(vcpu).expect("it was switched on");
                assert!(self.services.psci.ram.contains(&start.entry.0));
            }
            Call::CpuOff => power.switch_off(VcpuId(0)),
            Call::Suspend { resume: Some(start) } => {
                assert!(self.services.psci.ram.contains(&start.entry.0));
            }
            Call::Random { bits, wide } => self.stream.answer(regs, bits, wide),
            Call::Workaround(id) => panic!("nothing offers {id:#x}"),
            Call::Done
            | Call::StealTime
            | Call::Suspend { .. }
            | Call::SystemOff
            | Call::SystemReset { .. } => {}
        }
    }

    fn timer(&mut self, reg: TimerReg, write: Option<u64>, now: u64) {
        let time = self.clock.time(now);
        if let Some(value) = write {
            self.timer.write(reg, value, time);
        }
        let control = self.timer.read(TimerReg::Control, time);
        assert_eq!(control >> 3, 0);
        assert_eq!(self.timer.level(time), control == 5);
        if self.timer.level(time) {
            assert!(self.timer.deadline().is_some_and(|at| at <= time));
        }
    }

    fn handle(&mut self, exit: Exit, choices: &mut Choices<'_>) {
        match exit {
            Exit::Hvc(immediate) | Exit::Smc(immediate) => {
                self.call(immediate, &mut arguments(choices));
            }
            Exit::SysReg(access) => match emulate(access, choices.next(), &self.ids) {
                Outcome::Value(value) => {
                    assert!(!access.write());
                    assert!(value == 0 || id_regs::contains(access.reg()));
                }
                Outcome::TimerRead(reg) => self.timer(reg, None, choices.next()),
                Outcome::TimerWrite(reg, value) => self.timer(reg, Some(value), choices.next()),
                Outcome::Done => assert!(access.write()),
                Outcome::Sgi0(_) | Outcome::Sgi1(_) | Outcome::Deactivate(_) => {
                    assert!(access.write() && self.ids.has_gic_registers());
                }
                Outcome::Undefined => injected(choices, Fault::Undefined),
            },
            Exit::Mmio(access) => {
                assert!(matches!(access.size(), 1 | 2 | 4 | 8) && access.rt() < 32);
                assert!(access.ipa().0 < 1 << 52);
            }
            Exit::Abort(syndrome) => {
                let abort = StageTwoAbort::new(syndrome);
                let stage1 =
                    Stage1 { tcr: choices.next(), ttbr0: 0, ttbr1: choices.next(), sctlr: 0 };
                let level = || stage1.level_of(abort.va, abort.ipa, |at| Some(at.0 & !0xfff | 3));
                let access = Access::refused(&abort, level);
                assert!(!(access.fetch && access.write));
                injected(choices, Fault::External(access));
            }
            Exit::Undefined => injected(choices, Fault::Undefined),
            Exit::Irq | Exit::SError | Exit::Wfx(_) | Exit::Fp | Exit::Unexpected => {}
        }
    }
}

/// The arguments of a call: function identifiers and addresses that mean something, and others.
fn arguments(choices: &mut Choices<'_>) -> [u64; 31] {
    let mut regs = [0; 31];
    let how = choices.byte();
    let ranges = [0x8400_0000, 0xc400_0000, 0x8000_0000, 0x8000_7ff0];
    regs[0] = match how & 3 {
        0 => choices.next(),
        _ => choices.pick(&ranges) + choices.below(0x60),
    };
    regs[1] = match how >> 2 & 3 {
        0 => choices.next(),
        1 => choices.pick(&ranges) + choices.below(0x60),
        _ => choices.below(8),
    };
    regs[2] = match how >> 4 & 3 {
        0 => choices.next(),
        _ => 0x4000_0000 + u64::from(choices.word() >> 2),
    };
    regs[3] = choices.next();
    regs
}

/// The exception that a guest gets is one that the architecture knows.
fn injected(choices: &mut Choices<'_>, fault: Fault) {
    let mut any = || choices.next();
    let state = El1State { pc: any(), pstate: any(), vbar_el1: any(), sctlr_el1: any() };
    let entry = inject(&state, fault);
    assert_eq!((entry.elr_el1, entry.spsr_el1), (state.pc, state.pstate));
    assert_eq!(entry.pstate & 0x3df, 0x3c5, "EL1h, masked, AArch64");
    assert!((entry.pc.wrapping_sub(state.vbar_el1 & !0x7ff)) < 0x800);
    assert_eq!(entry.pc & 0x7f, 0);
}

/// A row of exits of a guest, whose first byte says on which GIC. Returns how many were calls, registers or accesses.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let Some(mut guest) = Guest::new(choices.byte() & 1 != 0) else { return 0 };
    let mut good = 0;
    while !choices.is_over() {
        let how = choices.byte();
        let mut esr = u64::from(choices.word());
        if how & 7 != 0 {
            // The classes that a guest reaches most.
            let class =
                choices.pick(&[ec::HVC64, ec::SMC64, ec::SYSREG, ec::SYSREG, 0x20, 0x24, 0x24]);
            esr = esr & 0x01ff_ffff | class << 26;
        }
        if how & 0x40 != 0 {
            // The immediate of calls that mean something.
            esr &= !0xffff;
        }
        let (far, hpfar) = (choices.next(), choices.next());
        let why = if how >> 3 == 0 { INTERRUPT } else { esr };
        let exit = Exit::decode(why, || Syndrome { esr, far, hpfar });
        good += usize::from(matches!(exit, Exit::Hvc(_) | Exit::SysReg(_) | Exit::Mmio(_)));
        guest.handle(exit, &mut choices);
    }
    good
}

pub fn seeds() -> Vec<Vec<u8>> {
    (1..5).map(|seed| Random(seed).bytes(300)).collect()
}
