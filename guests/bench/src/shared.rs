//! What sharing a core costs: from one vCPU's last instruction to the other's next, and what a neighbour's exits take away.
//!
//! One vCPU works all the time, and wakes another on its core, which takes the core and sleeps again. What is counted, from
//! that one's read of the counter just before WFI to the worker's next, is the exit, the choice, the switch and the entry.
#![allow(unsafe_code, reason = "the instructions between two reads of the counter are counted")]

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use tessera_rt::{Machine, cpu, gic, println, smp, timer, trap};

use crate::neighbour::{KINDS, compute};
use crate::{calls, interrupts};

/// Switches.
const SWITCHES: usize = 100;
/// Of those the first, which do not count: a vCPU that was just started finds the SIMD registers its own.
const FIRST: usize = 5;
/// The SGI that wakes the other vCPU.
const WAKE: u32 = 2;
/// Ticks of the counter for which a kind of exit is made.
const MEASURED: u64 = 50_000_000;
/// Instructions between two looks at the time.
const ROUND: u64 = 1000;

/// When the other vCPU was about to sleep.
static BEFORE: AtomicU64 = AtomicU64::new(0);
/// SGIs that it took.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static WITH_FP: AtomicBool = AtomicBool::new(false);
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
            switch("vcpu_switch", machine, false);
            switch("vcpu_switch_fp", machine, true);
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
fn switch(name: &str, machine: &Machine, with_fp: bool) {
    WITH_FP.store(with_fp, SeqCst);
    TAKEN.store(0, SeqCst);
    smp::start(machine, 1, |_| sleeps());
    let least = goes_on(with_fp);
    smp::wait_off(machine, 1);
    println!("BENCH {name} {}", least.saturating_sub(calls::overhead()));
}

/// The boot CPU wakes the other one, which takes the core, and looks at the time until it has it back: the least time since the
/// other one was about to sleep.
fn goes_on(with_fp: bool) -> u64 {
    let (mut least, mut last) = (u64::MAX, 0);
    for n in 0..SWITCHES {
        gic::send_sgi(WAKE, 1 << 1);
        let took = loop {
            let (now, before) = look();
            if before != last {
                last = before;
                if TAKEN.load(SeqCst) > n {
                    // It may have the core back between its use of the SIMD registers and the counter: it uses them again.
                    let now = if with_fp { look().0 } else { now };
                    break now.checked_sub(before);
                }
            }
        };
        if n >= FIRST {
            least = least.min(took.unwrap_or(u64::MAX));
        }
    }
    least
}

/// The other vCPU's part: it sleeps, with interrupts masked, takes its SGI, and sleeps again.
fn sleeps() {
    for n in 0..SWITCHES {
        TAKEN.store(n, SeqCst);
        loop {
            sleep();
            let taken = gic::acknowledge();
            if taken < gic::SPURIOUS {
                gic::end(taken);
                break;
            }
        }
    }
    TAKEN.store(SWITCHES, SeqCst);
    // The last of what the other one waits for.
    BEFORE.fetch_add(1, SeqCst);
}

/// The instructions, with one before them that uses the SIMD registers where these are to be switched too.
macro_rules! counted {
    ($($instructions:literal),*; $($operands:tt)*) => {
        // SAFETY: they store to and load from the word that says when the other was about to sleep; `FMOV D0, XZR` changes a
        // register that Rust does not use here.
        unsafe {
            if WITH_FP.load(SeqCst) {
                asm!(".inst 0x9e6703e0", $($instructions,)* $($operands)*)
            } else {
                asm!($($instructions,)* $($operands)*)
            }
        }
    };
}

/// The time now, and when the other vCPU was about to sleep.
fn look() -> (u64, u64) {
    let (now, before);
    counted!("isb", "mrs {now}, cntvct_el0", "ldr {before}, [{at}]";
        now = out(reg) now, before = out(reg) before, at = in(reg) BEFORE.as_ptr());
    (now, before)
}

fn sleep() {
    counted!("isb", "mrs {now}, cntvct_el0", "str {now}, [{at}]", "wfi";
        now = out(reg) _, at = in(reg) BEFORE.as_ptr());
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
