//! What sharing a core costs: from one vCPU's last instruction to the other's first, and what a neighbour's exits take away.
//!
//! Two vCPUs on one core hand it to each other: one sends the other an SGI and sleeps. The sender goes on until its WFI, since it
//! has had the core for less than a turn; so what is counted, from its read of the counter just before WFI to the other's
//! just after, is the exit, the choice and the switch, and not the SGI.
#![allow(unsafe_code, reason = "the instructions between two reads of the counter are counted")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use tessera_rt::{Machine, cpu, gic, println, smp, timer, trap};

use crate::neighbour::{KINDS, compute};
use crate::{calls, interrupts};

/// Switches in each direction.
const SWITCHES: usize = 100;
/// Of those the first, which do not count: a vCPU that was just started finds the SIMD registers its own.
const FIRST: usize = 5;
/// The SGI by which one vCPU hands the core to the other.
const HAND_OVER: u32 = 2;
/// Ticks of the counter for which a kind of exit is made.
const MEASURED: u64 = 50_000_000;
/// Instructions between two looks at the time.
const ROUND: u64 = 1000;

/// When each vCPU was about to sleep.
static BEFORE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// What a switch to each of them took at least.
static LEAST: [AtomicU64; 2] = [const { AtomicU64::new(u64::MAX) }; 2];
static WITH_FP: AtomicU64 = AtomicU64::new(0);
/// The kind of exit that the neighbour makes, or that it is to go.
static DOING: AtomicUsize = AtomicUsize::new(0);
const OVER: usize = usize::MAX;

/// Prints the rows that `bench.shared` names; `false` where the guest owns its cores.
pub fn run(machine: &Machine) -> bool {
    match machine.arg("bench.shared") {
        None => return false,
        Some("wake") => interrupts::run_shared(machine),
        Some("exits") => {
            sleep_until(timer::frequency());
            calls::run();
            interrupts::run_alone();
        }
        Some(_) => {
            switch("vcpu_switch", machine, 0);
            switch("vcpu_switch_fp", machine, 1);
            neighbour(machine);
        }
    }
    true
}

/// Sleeps until the counter has this value: the board's other guests have come up by then.
fn sleep_until(at: u64) {
    gic::enable(timer::VIRTUAL);
    timer::arm_at(at);
    while timer::now() < at {
        cpu::wfi();
    }
    timer::disarm();
    gic::disable(timer::VIRTUAL);
}

/// Prints what a switch takes at least.
fn switch(name: &str, machine: &Machine, with_fp: u64) {
    WITH_FP.store(with_fp, SeqCst);
    LEAST.iter().for_each(|least| least.store(u64::MAX, SeqCst));
    smp::start(machine, 1, |_| hand_over(1));
    hand_over(0);
    smp::wait_off(machine, 1);
    let least = LEAST[0].load(SeqCst).min(LEAST[1].load(SeqCst));
    println!("BENCH {name} {}", least.saturating_sub(calls::overhead()));
}

/// One vCPU's part: the boot CPU begins, and the other one ends.
fn hand_over(this: usize) {
    let other = 1 - this;
    for n in 0..SWITCHES {
        if n > 0 || this == 0 {
            gic::send_sgi(HAND_OVER, 1 << other);
        }
        loop {
            let took = sleep(this, other);
            let taken = gic::acknowledge();
            if taken < gic::SPURIOUS {
                gic::end(taken);
                if n >= FIRST {
                    LEAST[this].fetch_min(took, SeqCst);
                }
                break;
            }
        }
    }
    if this == 1 {
        gic::send_sgi(HAND_OVER, 1);
    }
}

/// Sleeps, with interrupts masked, and gives the time since the other one was about to.
fn sleep(this: usize, other: usize) -> u64 {
    let (mine, others) = (BEFORE[this].as_ptr(), BEFORE[other].as_ptr());
    let (after, before): (u64, u64);
    macro_rules! handed_over {
        ($($first:literal),*) => {
            // SAFETY: it stores to the word that is this vCPU's; `FMOV D0, XZR` changes a register that Rust does not use here.
            unsafe {
                asm!("isb", "mrs {now}, cntvct_el0", "str {now}, [{mine}]", "wfi", $($first,)*
                    "isb", "mrs {now}, cntvct_el0", "ldr {before}, [{others}]",
                    now = out(reg) after, before = out(reg) before, mine = in(reg) mine, others = in(reg) others)
            }
        };
    }
    if WITH_FP.load(SeqCst) == 0 {
        handed_over!()
    } else {
        handed_over!(".inst 0x9e6703e0")
    }
    after - before
}

/// Prints how much of its half of the core a vCPU keeps beside one that makes exits: the least for any kind, in percent.
fn neighbour(machine: &Machine) {
    smp::start(machine, 1, |_| exits());
    let mut least = u64::MAX;
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        DOING.store(kind, SeqCst);
        let (mut work, mut shortest) = (0, u64::MAX);
        let began = timer::now();
        let mut last = began;
        while last - began < MEASURED {
            compute(ROUND);
            let now = timer::now();
            shortest = shortest.min(now - last);
            last = now;
            work += 1;
        }
        let percent = 200 * work * shortest / (last - began);
        println!("\nneighbour on the same core, {name}: {percent} %");
        least = least.min(percent);
    }
    DOING.store(OVER, SeqCst);
    smp::wait_off(machine, 1);
    println!("BENCH neighbour_same_core_percent {least}");
}

/// The other vCPU's life.
fn exits() {
    trap::set_handler(1, |_| {});
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    cpu::irq_unmask();
    while let Some((_, exit)) = KINDS.get(DOING.load(SeqCst)) {
        exit();
    }
    cpu::irq_mask();
    timer::disarm();
}
