//! What a trapped access to a system register gets.
//!
//! Three kinds are answered: ID registers, SGIs, the physical counter and timer. The commonest two are told apart with
//! a mask each before anything else. Whatever remains is a register of a feature that guests do not have, and is
//! undefined: SVE, SME, tags, error records (ERR*, ERX*), activity monitors (AM*), trace (TRC*, TRF*, TRB*), branch
//! records (BRB*), profiling (PMS*, PMB*), ordering regions (LOR*), MPAM*, SCXTNUM_ELx, registers of the core's maker
//! (S3_x_C11_*, S3_x_C15_*), every register of EL2 and EL3, and encodings that mean nothing.

use crate::exit::{SysReg, SysRegAccess};
use crate::id_regs::{self, IdRegs};

/// Registers that are answered, besides the ID space.
mod reg {
    use crate::exit::SysReg;

    pub const ACTLR_EL1: SysReg = SysReg::new(3, 0, 1, 0, 1);
    pub const ICC_DIR_EL1: SysReg = SysReg::new(3, 0, 12, 11, 1);
    pub const ICC_ASGI1R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 6);
    pub const ICC_SGI0R_EL1: SysReg = SysReg::new(3, 0, 12, 11, 7);
    pub const CNTPCT_EL0: SysReg = SysReg::new(3, 3, 14, 0, 1);
    pub const CNTPCTSS_EL0: SysReg = SysReg::new(3, 3, 14, 0, 5);
    pub const CNTP_TVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 0);
    pub const CNTP_CTL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 1);
    pub const CNTP_CVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 2);
}

/// A register of the physical timer, for [`crate::vtimer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerReg {
    /// CNTPCT_EL0, and CNTPCTSS_EL0: read only.
    Counter,
    /// CNTP_CTL_EL0.
    Control,
    /// CNTP_CVAL_EL0.
    CompareValue,
    /// CNTP_TVAL_EL0.
    TimerValue,
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// A read gives this.
    Value(u64),
    /// A write has no effect.
    Done,
    /// The instruction is undefined.
    Undefined,
    /// A write to ICC_SGI1R_EL1.
    Sgi1(u64),
    /// A write to ICC_SGI0R_EL1, or to ICC_ASGI1R_EL1, which is the same with one security state (IHI 0069 12.2.12).
    Sgi0(u64),
    /// A write to ICC_DIR_EL1, which traps only while the interrupt controller asks for it.
    Deactivate(u64),
    /// A read of the timer.
    TimerRead(TimerReg),
    /// A write to the timer.
    TimerWrite(TimerReg, u64),
}

/// Answers an access; `value` is what a write writes.
#[inline(always)]
pub fn emulate(access: SysRegAccess, value: u64, ids: &IdRegs) -> Outcome {
    if access.write() {
        if access.reg() == ids.sgi_register() {
            return Outcome::Sgi1(value);
        }
    } else if id_regs::contains(access.reg()) {
        return Outcome::Value(ids.read(access.reg()));
    }
    // Through a reference, so that the usual outcomes need no place in memory.
    let mut outcome = Outcome::Undefined;
    others(access.reg(), access.write(), value, ids, &mut outcome);
    outcome
}

#[inline(never)]
fn others(reg: SysReg, is_write: bool, value: u64, ids: &IdRegs, outcome: &mut Outcome) {
    *outcome = if is_write { write(reg, value, ids) } else { read(reg) };
}

fn read(reg: SysReg) -> Outcome {
    match reg {
        // What it controls is the maker's, and none of it is offered.
        reg::ACTLR_EL1 => Outcome::Value(0),
        reg::CNTPCT_EL0 | reg::CNTPCTSS_EL0 => Outcome::TimerRead(TimerReg::Counter),
        _ => match timer(reg) {
            Some(timer) => Outcome::TimerRead(timer),
            None => Outcome::Undefined,
        },
    }
}

fn write(reg: SysReg, value: u64, ids: &IdRegs) -> Outcome {
    match reg {
        reg::ACTLR_EL1 => Outcome::Done,
        reg::ICC_DIR_EL1 if ids.has_gic_registers() => Outcome::Deactivate(value),
        reg::ICC_SGI0R_EL1 | reg::ICC_ASGI1R_EL1 if ids.has_gic_registers() => Outcome::Sgi0(value),
        _ => match timer(reg) {
            Some(timer) => Outcome::TimerWrite(timer, value),
            None => Outcome::Undefined,
        },
    }
}

fn timer(reg: SysReg) -> Option<TimerReg> {
    match reg {
        reg::CNTP_CTL_EL0 => Some(TimerReg::Control),
        reg::CNTP_CVAL_EL0 => Some(TimerReg::CompareValue),
        reg::CNTP_TVAL_EL0 => Some(TimerReg::TimerValue),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id_regs::reg::ICC_SGI1R_EL1;

    fn ids() -> IdRegs {
        IdRegs::from_hw(|reg| if reg == id_regs::reg::ID_AA64PFR0_EL1 { 0x0100_2222 } else { 0 })
    }

    fn access(reg: SysReg, write: bool) -> Outcome {
        emulate(SysRegAccess::new(reg, 0, write), 42, &ids())
    }

    #[test]
    fn id_registers_read_filtered_and_cannot_be_written() {
        assert_eq!(access(id_regs::reg::ID_AA64PFR0_EL1, false), Outcome::Value(0x0100_0012));
        assert_eq!(access(id_regs::reg::ID_AA64PFR0_EL1, true), Outcome::Undefined);
        assert_eq!(access(SysReg::new(3, 0, 0, 7, 7), false), Outcome::Value(0));
    }

    #[test]
    fn a_guest_that_is_not_told_of_a_gicv3_has_none_of_its_registers() {
        let ids = IdRegs::from_hw(|reg| u64::from(reg == id_regs::reg::ID_AA64PFR0_EL1) * 0x2222);
        let icc = [ICC_SGI1R_EL1, reg::ICC_SGI0R_EL1, reg::ICC_ASGI1R_EL1, reg::ICC_DIR_EL1];
        for reg in icc {
            let access = SysRegAccess::new(reg, 0, true);
            assert_eq!(emulate(access, 42, &ids), Outcome::Undefined, "{reg:?}");
        }
    }

    #[test]
    fn sgis_are_written_only() {
        assert_eq!(access(ICC_SGI1R_EL1, true), Outcome::Sgi1(42));
        assert_eq!(access(reg::ICC_ASGI1R_EL1, true), Outcome::Sgi0(42));
        assert_eq!(access(reg::ICC_SGI0R_EL1, true), Outcome::Sgi0(42));
        assert_eq!(access(ICC_SGI1R_EL1, false), Outcome::Undefined);
    }

    #[test]
    fn a_trapped_deactivation_is_the_interrupt_controllers() {
        assert_eq!(access(reg::ICC_DIR_EL1, true), Outcome::Deactivate(42));
        assert_eq!(access(reg::ICC_DIR_EL1, false), Outcome::Undefined);
    }

    #[test]
    fn the_physical_timer_is_answered_and_its_counter_is_read_only() {
        for (reg, timer) in [
            (reg::CNTP_CTL_EL0, TimerReg::Control),
            (reg::CNTP_CVAL_EL0, TimerReg::CompareValue),
            (reg::CNTP_TVAL_EL0, TimerReg::TimerValue),
        ] {
            assert_eq!(access(reg, false), Outcome::TimerRead(timer));
            assert_eq!(access(reg, true), Outcome::TimerWrite(timer, 42));
        }
        for reg in [reg::CNTPCT_EL0, reg::CNTPCTSS_EL0] {
            assert_eq!(access(reg, false), Outcome::TimerRead(TimerReg::Counter));
            assert_eq!(access(reg, true), Outcome::Undefined);
        }
    }

    #[test]
    fn actlr_reads_zero_and_ignores_writes() {
        assert_eq!(access(reg::ACTLR_EL1, false), Outcome::Value(0));
        assert_eq!(access(reg::ACTLR_EL1, true), Outcome::Done);
    }

    #[test]
    fn of_all_encodings_only_the_named_ones_are_answered() {
        let (mut reads, mut writes) = (0, 0);
        let ids = ids();
        for packed in 0..1u32 << 16 {
            let field = |at: u32, mask: u32| packed >> at & mask;
            let reg =
                SysReg::new(field(14, 3), field(11, 7), field(7, 15), field(3, 15), field(0, 7));
            let outcome = |write| emulate(SysRegAccess::new(reg, 31, write), 0, &ids);
            reads += u32::from(outcome(false) != Outcome::Undefined);
            writes += u32::from(outcome(true) != Outcome::Undefined);
        }
        // The ID space, ACTLR, two counters, three timer registers; ACTLR, DIR, three SGIs, three timer registers.
        assert_eq!((reads, writes), (64 + 1 + 2 + 3, 1 + 1 + 3 + 3));
    }
}
