//! Random exits from decoding to answer: whatever a syndrome says, it is decoded, answered and bounded.

use tessera_core::addr::{Ipa, PAGE_SIZE, VcpuId};
use tessera_core::exit::{Exit, INTERRUPT, StageTwoAbort, Syndrome};
use tessera_core::id_regs::{self, IdRegs};
use tessera_core::inject::{Access, El1State, Fault, Stage1, inject};
use tessera_core::psci::{PowerStates, Psci};
use tessera_core::smccc::{Call, Mitigations, Services};
use tessera_core::sysreg::{Outcome, TimerReg, emulate};
use tessera_core::trng::Stream;
use tessera_core::vtimer::{Clock, PhysicalTimer};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// ID_AA64PFR0_EL1.GIC, in any register.
const GIC: u64 = 0xf << 24;

struct Guest {
    services: Services,
    ids: IdRegs,
    clock: Clock,
    timer: PhysicalTimer,
    stream: Stream,
}

impl Guest {
    /// With a GICv3, or with one that has no system registers.
    fn new(gicv3: bool) -> Self {
        let psci = Psci { power: PowerStates::new(4), ram: 0x4000_0000..0x8000_0000 };
        let services = Services { psci, mitigations: Mitigations::default(), random: true };
        let gic = if gicv3 { 1 << 24 } else { 0 };
        let ids = IdRegs::from_hw(|reg| (u64::from(reg.0) << 20 | u64::from(reg.0)) & !GIC | gic);
        let stream = Stream::from_seed(b"0123456789abcdef").unwrap();
        Self { services, ids, clock: Clock::starting(5), timer: PhysicalTimer::default(), stream }
    }

    fn call(&mut self, immediate: u16, regs: &mut [u64; 31]) {
        match self.services.call(immediate, regs) {
            Call::CpuOn(vcpu) => {
                let start = self.services.psci.power.take_start(vcpu).unwrap();
                assert!(self.services.psci.ram.contains(&start.entry.0));
            }
            Call::CpuOff => self.services.psci.power.switch_off(VcpuId(0)),
            Call::Suspend { resume: Some(start) } => {
                assert!(self.services.psci.ram.contains(&start.entry.0));
            }
            Call::Random { bits, wide } => self.stream.answer(regs, bits, wide),
            Call::Workaround(id) => panic!("nothing offers {id:#x}"),
            Call::Done | Call::Suspend { .. } | Call::SystemOff | Call::SystemReset => {}
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
            assert!(self.timer.deadline().unwrap() <= time);
        }
    }

    fn undefined(&self, random: &mut Random, fault: Fault) {
        let state = El1State {
            pc: random.next(),
            pstate: random.next(),
            vbar_el1: random.next(),
            sctlr_el1: random.next(),
        };
        let entry = inject(&state, fault);
        assert_eq!((entry.elr_el1, entry.spsr_el1), (state.pc, state.pstate));
        assert_eq!(entry.pstate & 0x3df, 0x3c5, "EL1h, masked, AArch64");
        assert!((entry.pc.wrapping_sub(state.vbar_el1 & !0x7ff)) < 0x800);
        assert_eq!(entry.pc & 0x7f, 0);
    }

    fn handle(&mut self, exit: Exit, random: &mut Random) {
        match exit {
            Exit::Hvc(immediate) | Exit::Smc(immediate) => {
                let mut regs = core::array::from_fn(|_| random.next());
                self.call(immediate, &mut regs);
            }
            Exit::SysReg(access) => match emulate(access, random.next(), &self.ids) {
                Outcome::Value(value) => {
                    assert!(!access.write());
                    assert!(value == 0 || id_regs::contains(access.reg()));
                }
                Outcome::TimerRead(reg) => self.timer(reg, None, random.next()),
                Outcome::TimerWrite(reg, value) => self.timer(reg, Some(value), random.next()),
                Outcome::Done => assert!(access.write()),
                Outcome::Sgi0(_) | Outcome::Sgi1(_) | Outcome::Deactivate(_) => {
                    assert!(access.write() && self.ids.has_gic_registers());
                }
                Outcome::Undefined => self.undefined(random, Fault::Undefined),
            },
            Exit::Mmio(access) => {
                assert!(matches!(access.size(), 1 | 2 | 4 | 8) && access.rt() < 32);
                assert!(access.ipa().0 < 1 << 52);
            }
            Exit::Abort(syndrome) => {
                let abort = StageTwoAbort::new(syndrome);
                let stage1 =
                    Stage1 { tcr: random.next(), ttbr0: 0, ttbr1: random.next(), sctlr: 0 };
                let level = || stage1.level_of(abort.va, abort.ipa, |at| Some(at.0 & !0xfff | 3));
                let access = Access::refused(&abort, level);
                assert!(!(access.fetch && access.write));
                self.undefined(random, Fault::External(access));
            }
            Exit::Undefined => self.undefined(random, Fault::Undefined),
            Exit::Irq | Exit::SError | Exit::Wfx(_) | Exit::Unexpected => {}
        }
    }
}

#[test]
fn any_syndrome_is_decoded_and_answered() {
    let mut random = Random(2);
    let mut guests = [Guest::new(true), Guest::new(false)];
    for round in 0..100_000 {
        let guest = &mut guests[round % 2];
        let (far, hpfar) = (random.next(), random.next());
        let mut esr = random.next() & !INTERRUPT;
        if random.next() & 1 == 0 {
            // The classes that a guest reaches most.
            let class = [0x16, 0x17, 0x18, 0x18, 0x20, 0x24][(random.next() % 6) as usize];
            esr = esr & 0x01ff_ffff | class << 26;
        }
        let syndrome = || Syndrome { esr, far, hpfar };
        let why = if random.next().is_multiple_of(32) { INTERRUPT } else { esr };
        guest.handle(Exit::decode(why, syndrome), &mut random);
    }
}

#[test]
fn calls_with_plausible_arguments_are_answered() {
    let mut random = Random(3);
    let mut guest = Guest::new(true);
    for _ in 0..100_000 {
        let mut regs: [u64; 31] = core::array::from_fn(|_| random.next());
        let range =
            [0x8400_0000, 0xc400_0000, 0x8000_0000, 0x8000_7ff8][(random.next() % 4) as usize];
        regs[0] = range + random.next() % 0x60;
        regs[1] = [random.next() % 8, 0x8400_0000 + random.next() % 0x60, random.next()]
            [(random.next() % 3) as usize];
        regs[2] =
            [0x4000_0000 + random.next() % 0x4000_0000, random.next()][random.next() as usize & 1];
        guest.call(0, &mut regs);
    }
}

#[test]
fn the_address_of_an_access_has_the_page_of_hpfar_and_the_offset_of_far() {
    let mut random = Random(4);
    for _ in 0..10_000 {
        let (far, hpfar) = (random.next(), random.next());
        let esr = 0x24 << 26 | 1 << 25 | 1 << 24 | 0x07;
        let Exit::Mmio(access) = Exit::decode(esr, || Syndrome { esr, far, hpfar }) else {
            panic!("a translation fault with a valid syndrome is an access")
        };
        let page = Ipa((hpfar >> 4 & 0xff_ffff_ffff) * PAGE_SIZE);
        assert_eq!(access.ipa(), page.offset(far & 0xfff));
    }
}
