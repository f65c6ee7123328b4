//! The hypervisor's own timer: EL2's physical timer, set to the earliest of a core's deadlines (DDI 0487 D12.2).

use tessera_core::deadlines::{Due, Slot};
use tessera_core::hw::Hw;

use crate::hw::El2;
use crate::sysreg::msr;
use crate::{barrier, cpu, gic};

/// CNTHP_CTL_EL2.ENABLE.
const ENABLE: u64 = 1;

/// How often a second a GIC is stirred that needs it.
const STIR_HZ: u64 = 20;

/// This core's timers, off, whatever firmware left.
pub fn reset() {
    msr!("cnthp_ctl_el2", 0);
    init();
}

/// The guest's virtual timer, off on this core.
pub fn init() {
    msr!("cntv_ctl_el0", 0);
    barrier::isb();
}

/// Interrupts this core once the physical counter has reached `at`, or not at all for this slot.
pub fn set(slot: Slot, at: Option<u64>) {
    if let Some(cpu) = cpu::current() {
        program(cpu.deadlines.set(slot, at));
    }
}

/// As [`set`], where what is set is another time.
#[inline(always)]
pub fn set_anew(slot: Slot, at: Option<u64>) {
    if let Some(cpu) = cpu::current()
        && let Some(earliest) = cpu.deadlines.set_anew(slot, at)
    {
        program(earliest);
    }
}

/// As [`set`], where that is earlier than what is set.
pub fn set_earlier(slot: Slot, at: u64) {
    if let Some(cpu) = cpu::current() {
        program(cpu.deadlines.set_earlier(slot, at));
    }
}

/// The slots of this core whose time has come; the timer goes on to the next.
pub fn take_due() -> Due {
    let Some(cpu) = cpu::current() else {
        program(None);
        return Due::NONE;
    };
    let due = cpu.deadlines.take_due(El2.now());
    program(cpu.deadlines.next());
    due
}

/// Sets the timer, to sooner where the GIC needs that.
#[inline]
fn program(at: Option<u64>) {
    match if gic::needs_stirring() { Some(stirring(at)) } else { at } {
        Some(at) => {
            msr!("cnthp_cval_el2", at);
            msr!("cnthp_ctl_el2", ENABLE);
        }
        None => msr!("cnthp_ctl_el2", 0),
    }
    barrier::isb();
}

#[cold]
fn stirring(at: Option<u64>) -> u64 {
    let next = El2.now().saturating_add(El2.counter_hz() / STIR_HZ);
    at.map_or(next, |at| at.min(next))
}
