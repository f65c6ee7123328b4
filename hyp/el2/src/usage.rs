//! Whether somebody looks at how busy vCPUs are, and what their cores do differently meanwhile: a guest's WFI traps, and
//! the core waits in its place (`main_loop`). Nobody looks most of the time, and then a guest's WFI is its core's own.

use tessera_core::hw::Hw;
use tessera_core::usage::{Sampling, Usage};

use crate::hw::El2;
use crate::{barrier, cpu, el1};

static SAMPLING: Sampling = Sampling::new();

/// Idle time is to be seen for `ticks` from now on: to call again while somebody looks. It is from when each core has
/// taken note, which is soon.
pub fn sample(ticks: u64) {
    let now = El2.now();
    if SAMPLING.until(now.saturating_add(ticks), now) {
        El2.kick(cpu::current_id());
        cpu::others_online().for_each(|core| El2.kick(core));
    }
}

/// Takes note of [`sample`] on the core of the vCPU that `usage` is of: when it is kicked.
#[inline(always)]
pub fn kicked(usage: &Usage) {
    if SAMPLING.was_ever_on() {
        follow(usage);
    }
}

/// Makes the vCPU's WFI trap while somebody looks, and no longer.
#[cold]
#[inline(never)]
pub fn follow(usage: &Usage) {
    let now = El2.now();
    let on = SAMPLING.is_on(now);
    if on != usage.is_sampled() {
        el1::trap_wfi(on);
        usage.sampled(on.then_some(now));
    }
}

/// This core begins to run the vCPU.
pub fn begin(usage: &Usage) {
    usage.begin(El2.now());
    kicked(usage);
}

/// This core has left the vCPU.
pub fn end(usage: &Usage) {
    el1::trap_wfi(false);
    usage.end(El2.now());
}

/// Waits for an interrupt in place of the vCPU.
pub fn wait(usage: &Usage) {
    usage.waits(El2.now());
    barrier::dsb_sy();
    barrier::wfi();
    usage.woke(El2.now());
    kicked(usage);
}
