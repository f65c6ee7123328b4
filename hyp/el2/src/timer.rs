//! The hypervisor's own timer: EL2's physical timer, one deadline a core (DDI 0487 D12.2).

use crate::barrier;
use crate::sysreg::msr;

/// CNTHP_CTL_EL2.ENABLE.
const ENABLE: u64 = 1;

/// This core's timers, off.
pub fn init() {
    msr!("cnthp_ctl_el2", 0);
    msr!("cntv_ctl_el0", 0);
    barrier::isb();
}

/// Interrupts this core once the physical counter has reached `at`, or not at all.
pub fn set_deadline(at: Option<u64>) {
    match at {
        Some(at) => {
            msr!("cnthp_cval_el2", at);
            msr!("cnthp_ctl_el2", ENABLE);
        }
        None => msr!("cnthp_ctl_el2", 0),
    }
    barrier::isb();
}
