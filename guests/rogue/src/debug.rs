//! Debug registers, instructions that stop, and waits.
#![allow(unsafe_code, reason = "PSTATE.D is changed")]

use core::arch::asm;

use tessera_rt::{Machine, cpu, exec, gic, msr, timer};

use crate::tally::Tally;

/// Attack 21.
pub fn run(_: &Machine, tally: &mut Tally) {
    msr!("oslar_el1", 0);
    for _ in 0..200 {
        for number in 0..16 {
            for op2 in 4..8 {
                let value = tally.random();
                tally.count(exec::run(exec::msr_x0(2, 0, 0, number, op2), value));
            }
        }
        // Debug masked, then not: garbage may hit.
        let enables = tally.random() & 0xa001;
        msr!("mdscr_el1", enables & !1);
        tally.step(|| {
            // SAFETY: lets debug exceptions come, which end this step.
            unsafe { asm!("msr daifclr, #8", "isb", "nop", "msr daifset, #8", options(nostack)) }
        });
        msr!("mdscr_el1", 0);
    }
    for number in 0..16 {
        tally.count(exec::run(exec::msr_x0(2, 0, 0, number, 5), 0));
        tally.count(exec::run(exec::msr_x0(2, 0, 0, number, 7), 0));
    }
    for immediate in (0..=0xffff).step_by(0x111) {
        tally.count(exec::run(0xd420_0000 | immediate << 5, 0)); // BRK
        tally.count(exec::run(0xd440_0000 | immediate << 5, 0)); // HLT
        tally.count(exec::run(0xd4a0_0001 | immediate << 5, 0)); // DCPS1
        tally.count(exec::run(0xd4a0_0002 | immediate << 5, 0)); // DCPS2
        tally.count(exec::run(0xd4a0_0003 | immediate << 5, 0)); // DCPS3
    }
    tally.count(exec::run(0xd6bf_03e0, 0)); // DRPS
    waits(tally);
}

fn waits(tally: &mut Tally) {
    for _ in 0..1_000 {
        tally.step(cpu::sev);
        tally.step(cpu::wfe);
    }
    gic::enable(timer::VIRTUAL);
    for _ in 0..200 {
        timer::arm_at(timer::now());
        tally.step(cpu::wfi);
        tally.step(cpu::wfi);
    }
    timer::disarm();
}
