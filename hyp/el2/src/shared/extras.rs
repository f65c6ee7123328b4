//! What guests seldom use, or cores seldom have: debug registers, performance monitors, SIMD and floating point, keys.
//!
//! Debug registers and performance monitors trap until the guest's vCPU uses them. A kernel that boots writes zero to all of
//! the former, which is what they have: that is no use.

use tessera_core::exit::{SysReg, SysRegAccess};

use super::debug::{self, Breakpoints, Monitors};
use super::fp::{self, Fp};
use crate::pointer_keys::{self, PointerKeys};
use crate::sysreg::{mrs, msr};
use crate::{barrier, el1, id};

/// What moves only with a vCPU that uses it.
#[derive(Default)]
pub struct Extras {
    fp: Fp,
    keys: PointerKeys,
    /// MDSCR_EL1, which also says whether EL0 may use the debug communications channel.
    debug_control: u64,
    /// Which of those below are to be moved.
    uses: u8,
    /// MDCR_EL2, with the traps that follow from this.
    traps: u64,
    debug: Breakpoints,
    monitors: Monitors,
}

/// Bits of what a vCPU uses.
const KEYS: u8 = 1 << 0;
const DEBUG: u8 = 1 << 1;
const MONITORS: u8 = 1 << 2;
/// Of a core that has VDISR_EL2, which is a guest's DISR_EL1.
const DEFERRED_ERROR: u8 = 1 << 3;

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
        self.uses = if pointer_keys::exist() { KEYS } else { 0 };
        if id::has_ras() {
            self.uses |= DEFERRED_ERROR;
            forget_deferred_error();
        }
        self.debug_control = 0;
        // The registers are at their reset, and nobody's: they are fetched at their first use as well.
        self.fp = Fp::default();
        self.trap_unused();
    }

    /// The vCPU is off: leaves those at their reset that others do not fetch.
    pub fn end(&self) {
        if self.uses & DEBUG != 0 {
            debug::forget_claims();
            el1::reset_debug();
        }
        if self.uses & MONITORS != 0 {
            el1::reset_pmu();
        }
    }

    /// Has the monitors' interrupt line down before their interrupt is made inactive.
    #[inline(always)]
    pub fn lower_lines(&mut self) {
        if self.uses & MONITORS != 0 {
            self.monitors.lower_line();
        }
    }

    /// Takes the registers from this core, and leaves those at their reset that others do not fetch.
    #[inline(always)]
    pub fn save(&mut self, with_fp: bool) {
        if with_fp {
            self.fp.save();
        }
        self.debug_control = mrs!("mdscr_el1");
        if self.uses != 0 {
            self.save_used();
        }
    }

    #[inline(never)]
    fn save_used(&mut self) {
        if self.uses & KEYS != 0 {
            self.keys.save();
        }
        if self.uses & DEBUG != 0 {
            self.debug.save();
        }
        if self.uses & MONITORS != 0 {
            self.monitors.save();
        }
        self.end();
    }

    /// Gives them to this core; SIMD and floating point trap unless they are `here` already.
    #[inline(always)]
    pub fn restore(&self, here: bool) {
        fp::set_trap(!here);
        msr!("mdscr_el1", self.debug_control);
        if self.uses != 0 {
            self.restore_used();
        }
        self.trap();
    }

    #[inline(never)]
    fn restore_used(&self) {
        if self.uses & KEYS != 0 {
            self.keys.restore();
        }
        if self.uses & DEBUG != 0 {
            self.debug.restore();
        }
        if self.uses & MONITORS != 0 {
            self.monitors.restore();
        }
        if self.uses & DEFERRED_ERROR != 0 {
            forget_deferred_error();
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
        if mrs!("mdcr_el2") != self.traps {
            msr!("mdcr_el2", self.traps);
        }
    }

    fn trap_unused(&mut self) {
        // The rest of it is alike on all cores.
        self.traps = mrs!("mdcr_el2") & !(TRAP_MONITORS | TRAP_DEBUG);
        if self.uses & DEBUG == 0 {
            self.traps |= TRAP_DEBUG;
        }
        if self.uses & MONITORS == 0 && id::has_pmu() {
            self.traps |= TRAP_MONITORS;
        }
        self.trap();
    }

    /// An access trapped that may be to a register that is not used yet. `value` is what a write writes.
    #[cold]
    #[inline(never)]
    pub fn first_use(&mut self, access: SysRegAccess, value: u64) -> FirstUse {
        let register = access.reg();
        if is_debug(register) && self.uses & DEBUG == 0 {
            if access.write() && (value == 0 || register == MDSCR_EL1 && value == TDCC) {
                if register == MDSCR_EL1 {
                    msr!("mdscr_el1", value);
                }
                return FirstUse::Done(0);
            }
            if register == MDSCR_EL1 && !access.write() {
                return FirstUse::Done(mrs!("mdscr_el1"));
            }
            self.uses |= DEBUG;
        } else if is_monitor(register) && self.uses & MONITORS == 0 && id::has_pmu() {
            self.uses |= MONITORS;
        } else {
            return FirstUse::None;
        }
        self.trap_unused();
        barrier::isb();
        FirstUse::Again
    }
}

/// What another guest left in DISR_EL1, where a guest may write. It is not kept for that one: guests are not told of FEAT_RAS.
/// VSESR_EL2 is out of their reach.
fn forget_deferred_error() {
    // VDISR_EL2.
    msr!("s3_4_c12_c1_1", 0);
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
