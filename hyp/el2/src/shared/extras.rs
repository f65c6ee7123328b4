//! What guests seldom use, or cores seldom have: debug registers, performance monitors, SIMD and floating point, keys.
//!
//! Debug registers and performance monitors trap until the guest's vCPU uses them. A kernel that boots writes zero to all of
//! the former, which is what they have: that is no use.

use tessera_core::exit::{SysReg, SysRegAccess};

use super::debug::{Breakpoints, Monitors};
use super::fp::{self, Fp};
use crate::pointer_keys::PointerKeys;
use crate::sysreg::{mrs, msr};
use crate::{barrier, el1, id};

/// What moves only with a vCPU that uses it.
#[derive(Default)]
pub struct Extras {
    fp: Fp,
    keys: PointerKeys,
    /// MDSCR_EL1, which also says whether EL0 may use the debug communications channel.
    debug_control: u64,
    uses_debug: bool,
    uses_monitors: bool,
    /// The core has VDISR_EL2, which is a guest's DISR_EL1.
    defers_errors: bool,
    /// MDCR_EL2's traps that follow from this.
    traps: u64,
    debug: Breakpoints,
    monitors: Monitors,
}

/// MDCR_EL2: performance monitors trap (TPM, TPMCR), and debug registers (TDA, TDOSA, TDRA).
const TRAP_MONITORS: u64 = 1 << 6 | 1 << 5;
const TRAP_DEBUG: u64 = 1 << 9 | 1 << 10 | 1 << 11;

/// MDSCR_EL1 (DDI 0487 D24.3.20).
const MDSCR_EL1: SysReg = SysReg::new(2, 0, 0, 2, 2);
/// MDSCR_EL1.TDCC: EL0's use of the debug communications channel traps.
const TDCC: u64 = 1 << 12;

/// What to do about an access to a register that traps until it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FirstUse {
    /// It is no such register.
    None,
    /// It does not trap any more: run the instruction again.
    Again,
    /// It is done: a read gives this.
    Done(u64),
}

impl Extras {
    /// The vCPU is at its reset, as are the core's registers.
    pub fn begin(&mut self) {
        self.uses_debug = false;
        self.uses_monitors = false;
        self.debug_control = 0;
        self.defers_errors = id::has_ras();
        self.forget_deferred_error();
        self.trap_unused();
    }

    /// The vCPU is off: leaves those at their reset that others do not fetch.
    pub fn end(&self) {
        if self.uses_debug {
            el1::reset_debug();
        }
        if self.uses_monitors {
            el1::reset_pmu();
        }
    }

    /// Takes the registers from this core, and leaves those at their reset that others do not fetch.
    #[inline(always)]
    pub fn save(&mut self, with_fp: bool) {
        if with_fp {
            self.fp.save();
        }
        self.keys.save();
        self.debug_control = mrs!("mdscr_el1");
        if self.uses_debug {
            self.debug.save();
            el1::reset_debug();
        }
        if self.uses_monitors {
            self.monitors.save();
            el1::reset_pmu();
        }
    }

    /// Gives them to this core; SIMD and floating point trap unless they are `here` already.
    #[inline(always)]
    pub fn restore(&self, here: bool) {
        fp::set_trap(!here);
        self.keys.restore();
        msr!("mdscr_el1", self.debug_control);
        self.forget_deferred_error();
        if self.uses_debug {
            self.debug.restore();
        }
        if self.uses_monitors {
            self.monitors.restore();
        }
        self.trap();
    }

    /// What another guest left in DISR_EL1, where a guest may write. It is not kept for that one: guests are not told of FEAT_RAS.
    /// VSESR_EL2 is out of their reach.
    #[inline(always)]
    fn forget_deferred_error(&self) {
        if self.defers_errors {
            // VDISR_EL2.
            msr!("s3_4_c12_c1_1", 0);
        }
    }

    /// Fetches SIMD and floating point, which trapped.
    pub fn fetch_fp(&self) {
        fp::allow();
        self.fp.load();
    }

    /// Has this core trap what the vCPU does not use.
    #[inline(always)]
    fn trap(&self) {
        let before = mrs!("mdcr_el2");
        if before & (TRAP_MONITORS | TRAP_DEBUG) != self.traps {
            msr!("mdcr_el2", before & !(TRAP_MONITORS | TRAP_DEBUG) | self.traps);
        }
    }

    fn trap_unused(&mut self) {
        self.traps = if self.uses_debug { 0 } else { TRAP_DEBUG };
        if !self.uses_monitors && id::has_pmu() {
            self.traps |= TRAP_MONITORS;
        }
        self.trap();
    }

    /// An access trapped that may be to a register that is not used yet. `value` is what a write writes.
    #[cold]
    #[inline(never)]
    pub fn first_use(&mut self, access: SysRegAccess, value: u64) -> FirstUse {
        let register = access.reg();
        if is_debug(register) && !self.uses_debug {
            if access.write() && (value == 0 || register == MDSCR_EL1 && value == TDCC) {
                if register == MDSCR_EL1 {
                    msr!("mdscr_el1", value);
                }
                return FirstUse::Done(0);
            }
            if register == MDSCR_EL1 && !access.write() {
                return FirstUse::Done(mrs!("mdscr_el1"));
            }
            self.uses_debug = true;
        } else if is_monitor(register) && !self.uses_monitors && id::has_pmu() {
            self.uses_monitors = true;
        } else {
            return FirstUse::None;
        }
        self.trap_unused();
        barrier::isb();
        FirstUse::Again
    }
}

/// Breakpoints, watchpoints, their control, the OS lock and the debug communications channel (DDI 0487 D24.3).
fn is_debug(register: SysReg) -> bool {
    register.op0() == 2 && matches!(register.op1(), 0 | 3)
}

/// PMCR_EL0 and what is beside it, the counters and their types (DDI 0487 D24.5).
fn is_monitor(register: SysReg) -> bool {
    register.op0() == 3
        && (register.crn() == 9 && matches!(register.crm(), 12..=14)
            || register.crn() == 14 && matches!(register.crm(), 8..=15) && register.op1() == 3)
}
