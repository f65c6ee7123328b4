//! Trapped instructions: system registers, timers, and what is none.

use super::*;
use crate::exit::INTERRUPT;

#[test]
fn exits_of_the_other_kinds_become_what_they_mean() {
    let mut guest = exits();
    let class = |ec: u64| ec << 26 | iss::IL;
    assert_eq!(guest.take(INTERRUPT, 0, 0), Next::Interrupt);
    assert_eq!(guest.take(class(ec::SERROR), 0, 0), Next::Stop(StopReason::SystemError));
    let unexpected = Next::Stop(StopReason::UnexpectedExit);
    assert_eq!(guest.take(class(0x3f), 0, 0), unexpected);
    let waits = Next::Suspend { advance: true, resume: None };
    assert_eq!(guest.take(class(ec::WFX), 0, 0), waits);
    assert_eq!(guest.take(class(ec::WFX) | 1, 0, 0), Next::Yield);
    let undefined = Next::Inject(Fault::Undefined);
    for ec in [ec::UNKNOWN, ec::SVE, ec::SME, ec::PAUTH, ec::FP_SIMD, ec::OTHER_TRAP, ec::CP15] {
        assert_eq!(guest.take(class(ec), 0, 0), undefined, "{ec:#x}");
    }
}

#[test]
fn id_registers_are_read_filtered_and_every_other_register_is_undefined() {
    let mut guest = exits();
    assert_eq!(guest.mrs(id_regs::reg::ID_AA64PFR0_EL1), Next::Advance);
    assert_eq!(*guest.x(2), 0x100_0011, "EL0, EL1 and GIC, neither SVE nor RAS");
    assert_eq!(guest.msr(id_regs::reg::ID_AA64PFR0_EL1, 0), Next::Inject(Fault::Undefined));
    // ZCR_EL1, HCR_EL2, ERRSELR_EL1, and CNTPCT_EL0 written.
    for reg in [SysReg::new(3, 0, 1, 2, 0), SysReg::new(3, 4, 1, 1, 0), SysReg::new(3, 0, 5, 3, 1)]
    {
        assert_eq!(guest.mrs(reg), Next::Inject(Fault::Undefined), "{reg:?}");
    }
    assert_eq!(guest.msr(SysReg::new(3, 3, 14, 0, 1), 0), Next::Inject(Fault::Undefined));
}

#[test]
fn a_register_that_is_read_into_xzr_is_lost_and_x31_is_written_as_zero() {
    let mut guest = exits();
    let xzr = |reg, write| Exit::SysReg(SysRegAccess::new(reg, 31, write));
    guest.vcpu.registers.x = [9; 31];
    assert_eq!(guest.handle(xzr(id_regs::reg::ID_AA64PFR0_EL1, false)), Next::Advance);
    assert_eq!(guest.vcpu.registers.x, [9; 31]);
    let store = MmioAccess::new(syndrome(UART_IMSC, 4, true, 31, 0));
    guest.store_ok(UART_IMSC, 0x7ff);
    assert_eq!(guest.handle(Exit::Mmio(store)), Next::Advance);
    assert_eq!(guest.load(UART_IMSC, 4), 0);
}

#[test]
fn the_guests_counter_is_the_boards_less_what_passed_before_it_started() {
    let mut guest = exits();
    guest.vcpu.clock = Clock::starting(1000);
    guest.hw.clock.set(1234);
    assert_eq!(guest.mrs(SysReg::new(3, 3, 14, 0, 1)), Next::Advance);
    assert_eq!(*guest.x(2), 234);
}

#[test]
fn the_physical_timer_sets_the_cores_deadline_and_raises_its_interrupt_when_that_has_come() {
    const CTL: SysReg = SysReg::new(3, 3, 14, 2, 1);
    const CVAL: SysReg = SysReg::new(3, 3, 14, 2, 2);
    let mut guest = exits();
    guest.enable_interrupts();
    guest.vcpu.clock = Clock::starting(1000);
    guest.hw.clock.set(2000);
    assert_eq!(guest.msr(CVAL, 1500), Next::Advance);
    assert_eq!(guest.hw.deadline.get(), None, "it is off");
    assert_eq!(guest.msr(CTL, 1), Next::Advance);
    assert_eq!(guest.hw.deadline.get(), Some(2500));
    guest.deliver();
    assert_eq!(guest.lrs.pending(), []);

    guest.hw.clock.set(2500);
    update_timer(&guest.vm, &mut guest.vcpu, &guest.hw);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [PTIMER_INTID]);
    assert_eq!(guest.hw.deadline.get(), None, "the line is up already");
    assert_eq!(guest.mrs(CTL), Next::Advance);
    assert_eq!(*guest.x(2), 5, "enabled, and its condition met");

    // Masked, the line falls and the interrupt with it.
    assert_eq!(guest.msr(CTL, 3), Next::Advance);
    guest.deliver();
    assert_eq!((guest.lrs.pending(), guest.hw.deadline.get()), (vec![], None));
}
