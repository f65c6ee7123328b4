//! Performance monitors (DDI 0487 D13), as perf needs them.

use tessera_rt::gic::{ISPENDR, get};
use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, mrs, msr, timer, trap};

use crate::seen;

/// Overflow interrupt.
const PMU: u32 = 23;
/// PMCR_EL0: on, event counters to 0, cycle counter to 0, cycle counter is 64 bits long.
const ON: u64 = 1;
const RESET: u64 = 1 << 1 | 1 << 2;
const LONG: u64 = 1 << 6;
/// Bit of the cycle counter.
const CYCLES: u64 = 1 << 31;
/// Event: written to PMSWINC_EL0.
const SW_INCR: u64 = 0;

/// Runs the tests.
pub fn run(_: &Machine) {
    let pmcr = mrs!("pmcr_el0");
    let counters = pmcr >> 11 & 0x1f;
    check("there are event counters", counters > 0);
    msr!("pmcntenclr_el0", u64::from(u32::MAX));
    msr!("pmintenclr_el1", u64::from(u32::MAX));
    msr!("pmovsclr_el0", u64::from(u32::MAX));
    msr!("pmcr_el0", ON | RESET | LONG);
    equal("it is on", mrs!("pmcr_el0") & (ON | LONG), ON | LONG);
    cycles();
    events(counters);
    overflow();
    msr!("pmcr_el0", RESET);
}

fn cycles() {
    msr!("pmccfiltr_el0", 0);
    msr!("pmcntenset_el0", CYCLES);
    let before = mrs!("pmccntr_el0");
    timer::sleep(1000);
    let counted = mrs!("pmccntr_el0").wrapping_sub(before);
    check("the cycle counter counts", counted > 0 && counted < 1 << 40);
    msr!("pmcntenclr_el0", CYCLES);
    let stopped = mrs!("pmccntr_el0");
    timer::sleep(100);
    equal("disabled it stands still", mrs!("pmccntr_el0"), stopped);
}

fn events(counters: u64) {
    msr!("pmselr_el0", 0);
    msr!("pmxevtyper_el0", SW_INCR);
    msr!("pmevcntr0_el0", 0);
    msr!("pmcntenset_el0", 1);
    for _ in 0..5 {
        msr!("pmswinc_el0", 1);
    }
    equal("an event counter counts software increments", mrs!("pmevcntr0_el0"), 5);
    msr!("pmcntenclr_el0", 1);
    let last = counters - 1;
    msr!("pmselr_el0", last);
    msr!("pmxevcntr_el0", 77);
    equal("the last event counter keeps its value", mrs!("pmxevcntr_el0"), 77);
}

fn overflow() {
    seen::watch(PMU);
    trap::set_handler(PMU, |intid| {
        seen::note(intid);
        msr!("pmovsclr_el0", CYCLES);
        msr!("pmcntenclr_el0", CYCLES);
    });
    gic::enable(PMU);
    msr!("pmccntr_el0", u64::MAX - 50_000);
    msr!("pmintenset_el1", CYCLES);
    msr!("pmcntenset_el0", CYCLES);
    cpu::isb();
    equal("an overflow interrupts", seen::wait(0, PMU, 1), 1);
    equal("once", seen::after_a_while(0, PMU), 1);
    check("the counter went on from 0", mrs!("pmccntr_el0") < u64::MAX / 2);
    gic::disable(PMU);
    not_taken();
    msr!("pmintenclr_el1", u64::from(u32::MAX));
}

/// The line is a level: cleared before the interrupt is taken, it does not come.
fn not_taken() {
    msr!("pmccntr_el0", u64::MAX - 5_000);
    msr!("pmcntenset_el0", CYCLES);
    check("an overflow pends", timer::comes(|| get(ISPENDR, PMU)));
    msr!("pmovsclr_el0", CYCLES);
    check("cleared it does not", timer::comes(|| !get(ISPENDR, PMU)));
    gic::enable(PMU);
    equal("and does not come", seen::after_a_while(0, PMU), 1);
    gic::disable(PMU);
    msr!("pmcntenclr_el0", CYCLES);
}
