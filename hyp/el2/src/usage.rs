//! Whether somebody looks at how busy vCPUs are, and what their cores do differently meanwhile: a guest's WFI traps, and
//! the core waits in its place (`main_loop`). Nobody looks most of the time, and then a guest's WFI is its core's own.

use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::usage::{Sampling, Usage};
use tessera_core::vcpu::Vcpu;
use tessera_core::vm::Vm;

use crate::hw::El2;
use crate::{barrier, el1, guests};

static SAMPLING: Sampling = Sampling::new();

/// Idle time is to be seen for `ticks` from now on: to call again while somebody looks. It is from when each core has
/// taken note, which is soon.
pub fn sample(ticks: u64) {
    let now = El2.now();
    if SAMPLING.until(now.saturating_add(ticks), now) {
        // How busy a vCPU is that shares its core is known at any time.
        let owners =
            guests::all().unwrap_or_default().iter().filter(|guest| guest.config.sharing.is_none());
        for vm in owners.filter_map(Guest::vm) {
            vm.attention.mind_usage(vm.vcpus_on());
            vm.kick_all(&El2);
        }
    }
}

/// Takes note of [`sample`], where a vCPU's core is kicked.
pub fn kicked(vm: &Vm, vcpu: &Vcpu) {
    if vm.attention.take_usage(vcpu.id()) {
        follow(&vcpu.observed.usage);
    }
}

/// Makes the WFI of the vCPU that `usage` is of trap while somebody looks, and no longer.
#[cold]
#[inline(never)]
fn follow(usage: &Usage) {
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
    if SAMPLING.was_ever_on() {
        follow(usage);
    }
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
    follow(usage);
}
