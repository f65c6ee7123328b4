//! CPUs that work under a lock, in turns: a tenth of their work is inside.
//!
//! First CPU 0 does its part alone, then all CPUs do theirs at the same time. On one core the fair time of the latter is
//! the former times the number of CPUs; what is above it went into waiting for a CPU that was not running.
//!
//! The lock is a ticket lock as kernels have it. Who waits looks a while, by WFE until the holder's SEV, and then sleeps
//! (`load.wait=sleep`, the usual) until the holder wakes whose turn it is by an SGI, as kernels do where they know of a hypervisor; or
//! looks for ever (`load.wait=look`).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use tessera_rt::machine::MAX_CPUS;
use tessera_rt::{Machine, cpu, gic, println, smp, timer, trap};

use crate::meter::{nanos, work};
use crate::number;

/// Pieces of work inside the lock, of some hundred instructions each, and outside.
const INSIDE: u64 = 4;
const OUTSIDE: u64 = 36;
/// Looks before the one who waits goes to sleep.
const LOOKS: u32 = 50;
/// SGI that wakes whose turn it is.
const WAKE: u32 = 1;
/// Nobody sleeps for this ticket.
const NOBODY: u64 = 0;

static NEXT: AtomicU64 = AtomicU64::new(0);
static SERVED: AtomicU64 = AtomicU64::new(0);
/// Who sleeps for a ticket, by its number: CPU + 1.
static SLEEPERS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(NOBODY) }; MAX_CPUS];
static SLEEP: AtomicBool = AtomicBool::new(true);
/// What the lock guards: plain loads and stores, which would lose some without it.
static SECTIONS: AtomicU64 = AtomicU64::new(0);
/// How often each CPU was inside.
static SHARE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static TURNS: AtomicU64 = AtomicU64::new(0);
static GO: AtomicBool = AtomicBool::new(false);
static READY: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Runs it: `load.turns` (2000) of each CPU.
pub fn run(machine: &Machine) {
    let turns = number(machine, "load.turns", 2000);
    let cpus = machine.cpus().len().min(MAX_CPUS);
    TURNS.store(turns, SeqCst);
    SLEEP.store(machine.arg("load.wait") != Some("look"), SeqCst);
    trap::set_handler(WAKE, |_| ());
    let before = timer::now();
    part(0);
    let alone = timer::now() - before;
    for number in 1..cpus {
        smp::start(machine, number, other);
    }
    while READY.load(SeqCst) + 1 < cpus as u64 {
        cpu::give_way();
    }
    let before = timer::now();
    GO.store(true, SeqCst);
    cpu::sev();
    part(0);
    DONE.fetch_add(1, SeqCst);
    while DONE.load(SeqCst) < cpus as u64 {
        cpu::give_way();
    }
    let all = timer::now() - before;
    let parts = cpus as u64 + 1;
    let whole = SECTIONS.load(SeqCst) == turns * parts
        && SHARE.iter().take(cpus).skip(1).all(|share| share.load(SeqCst) == turns)
        && SHARE[0].load(SeqCst) == turns * 2;
    if !whole {
        println!("not ok - {} turns of {} are lost", SECTIONS.load(SeqCst), turns * parts);
    }
    println!(
        "LOAD locks cpus={cpus} turns={turns} whole={} alone_ns={} all_ns={} permille_of_fair={}",
        u8::from(whole),
        nanos(alone),
        nanos(all),
        all * 1000 / (alone * cpus as u64),
    );
}

fn other(_: usize) {
    READY.fetch_add(1, SeqCst);
    while !GO.load(SeqCst) {
        cpu::wfe();
    }
    part(cpu::this());
    DONE.fetch_add(1, SeqCst);
}

/// What one CPU has to do.
fn part(number: usize) {
    for _ in 0..TURNS.load(Relaxed) {
        (0..OUTSIDE).for_each(|_| work());
        lock(number);
        let before = SECTIONS.load(Relaxed);
        (0..INSIDE).for_each(|_| work());
        SECTIONS.store(before + 1, Relaxed);
        SHARE[number].fetch_add(1, Relaxed);
        unlock();
    }
}

fn place(ticket: u64) -> &'static AtomicU64 {
    &SLEEPERS[ticket as usize % MAX_CPUS]
}

fn lock(number: usize) {
    let ticket = NEXT.fetch_add(1, SeqCst);
    let mut looks = 0;
    while SERVED.load(SeqCst) != ticket {
        looks += 1;
        if looks < LOOKS || !SLEEP.load(Relaxed) {
            cpu::wfe();
            continue;
        }
        place(ticket).store(number as u64 + 1, SeqCst);
        // It may have been freed before that could be read.
        if SERVED.load(SeqCst) != ticket {
            cpu::wfi();
            cpu::with_irqs(|| ());
        }
    }
    place(ticket).store(NOBODY, SeqCst);
}

fn unlock() {
    let next = SERVED.load(Relaxed) + 1;
    SERVED.store(next, SeqCst);
    cpu::dsb();
    cpu::sev();
    let sleeper = place(next).load(SeqCst);
    if sleeper != NOBODY {
        gic::send_sgi(WAKE, 1 << (sleeper - 1));
    }
}
