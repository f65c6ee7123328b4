//! A CPU that sleeps most of the time and wants to be awake in time: 100 µs of work, then WFI until the next of the virtual
//! timer's deadlines, which are 10 ms apart.
//!
//! `load.wakes` (1000) times. What counts is how far behind its deadline the timer's handler is.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::{Machine, cpu, gic, println, timer, trap};

use crate::meter::{nanos, work_for};
use crate::number;

const WORK_MICROS: u64 = 100;
const PERIOD_MICROS: u64 = 10_000;
/// Most wake-ups that are kept.
const MOST: usize = 4096;
/// No handler ran yet.
const NEVER: u64 = u64::MAX;

static DEADLINE: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(NEVER);

/// Runs it.
pub fn run(machine: &Machine) {
    let wakes = (number(machine, "load.wakes", 1000) as usize).clamp(1, MOST);
    let mut all = [0u32; MOST];
    trap::set_handler(timer::VIRTUAL, |_| {
        LATE.store(timer::now().wrapping_sub(DEADLINE.load(Relaxed)), Relaxed);
        timer::disarm();
    });
    gic::enable(timer::VIRTUAL);
    let mut deadline = timer::now();
    for late in &mut all[..wakes] {
        deadline += timer::ticks(PERIOD_MICROS);
        *late = wait(deadline) as u32;
        work_for(timer::ticks(WORK_MICROS));
    }
    gic::disable(timer::VIRTUAL);
    let all = &mut all[..wakes];
    all.sort_unstable();
    let at = |percent: usize| nanos(u64::from(all[(wakes - 1) * percent / 100]));
    println!(
        "LOAD interactive wakes={wakes} p50_ns={} p99_ns={} max_ns={}",
        at(50),
        at(99),
        at(100)
    );
}

/// Sleeps until the timer's handler has run, and gives how many ticks behind the deadline that was.
fn wait(deadline: u64) -> u64 {
    DEADLINE.store(deadline, Relaxed);
    LATE.store(NEVER, Relaxed);
    timer::arm_at(deadline);
    while LATE.load(Relaxed) == NEVER {
        // Masked, so that it does not come between the look and the sleep.
        cpu::wfi();
        cpu::with_irqs(|| ());
    }
    LATE.load(Relaxed)
}
