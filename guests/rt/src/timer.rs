//! The generic timer as EL1 has it.

use crate::{cpu, mrs, msr};

/// Interrupt of the virtual timer.
pub const VIRTUAL: u32 = 27;
/// Interrupt of the physical timer.
pub const PHYSICAL: u32 = 30;

/// Ticks a second.
pub fn frequency() -> u64 {
    mrs!("cntfrq_el0")
}

/// The virtual counter, not read early.
pub fn now() -> u64 {
    cpu::isb();
    mrs!("cntvct_el0")
}

/// Ticks of so many microseconds.
pub fn ticks(micros: u64) -> u64 {
    frequency() * micros / 1_000_000
}

/// Arms the virtual timer for the counter value `at`.
pub fn arm_at(at: u64) {
    msr!("cntv_cval_el0", at);
    msr!("cntv_ctl_el0", 1);
}

/// Turns the virtual timer off.
pub fn disarm() {
    msr!("cntv_ctl_el0", 0);
}

/// Waits until `done` or so many microseconds are over, and says whether it was `done`. For what need not come: see
/// [`comes`].
pub fn wait_for(micros: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = now() + ticks(micros);
    loop {
        if done() {
            return true;
        }
        if now() >= end {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// How long [`comes`] waits, in microseconds: half a minute. A guest cannot tell what is late from what is lost, and on a
/// host whose cores are shared or stolen a CPU may be late by seconds through nobody's fault.
const PATIENCE: u64 = 30_000_000;

/// Waits for what has to come, and says whether it came. Where it does not, that takes its time.
pub fn comes(done: impl FnMut() -> bool) -> bool {
    wait_for(PATIENCE, done)
}

/// Waits.
pub fn sleep(micros: u64) {
    wait_for(micros, || false);
}
