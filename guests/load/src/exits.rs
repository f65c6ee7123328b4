//! Exits of each class, as fast as they can be made.
//!
//! Each kind has its turn of `load.each` milliseconds (1000), one after the other, for ever, or those of `load.kind=KIND,KIND`. `EXITS KIND n=N` says
//! how many there were.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tessera_rt::gic::GICD;
use tessera_rt::mmio::{read32, write32};
use tessera_rt::{Machine, console, cpu, gic, mrs, println, psci, smp, timer, trap};

use crate::number;

/// SGI that is sent.
const SGI: u32 = 1;
/// Second word of the distributor's clear-enable registers; interrupt 60 is nobody's.
const ICENABLER1: u64 = 0x184;
/// Between the devices.
const NOWHERE: u64 = 0x0b00_0000;
/// How far ahead the timer of `wfi` is set, in microseconds.
const SOON: u64 = 5;

type Exit = fn(&Machine);

/// The kinds. Those that need another CPU do nothing where there is none.
const KINDS: [(&str, Exit); 13] = [
    ("hvc", |_| _ = psci::call(psci::VERSION, [0; 3])),
    ("sysreg", |_| _ = black_box(mrs!("id_aa64pfr0_el1"))),
    ("gicd-read", |_| _ = read32(GICD + gic::TYPER)),
    ("gicd-write", |_| write32(GICD + ICENABLER1, 1 << 28)),
    ("private", |_| gic::disable(20)),
    ("uart-read", |_| _ = read32(console::UART + console::FR)),
    ("uart-write", |_| write32(console::UART, b'.'.into())),
    ("nowhere", |_| _ = trap::attempt(|| read32(NOWHERE))),
    ("timer", |_| timer::arm_at(timer::now())),
    ("wfi", |_| sleep(SOON)),
    ("sgi-self", |_| gic::send_sgi(SGI, 1)),
    ("sgi-others", |machine| gic::send_sgi(SGI, others(machine))),
    ("cpu-on", on_and_off),
];

static SLEEPS: AtomicBool = AtomicBool::new(false);

/// Runs it.
pub fn run(machine: &Machine) {
    let each = timer::ticks(number(machine, "load.each", 1000) * 1000);
    trap::set_handler(SGI, |_| ());
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    let only = machine.arg("load.kind");
    let is_chosen = |name: &str| only.is_none_or(|only| only.split(',').any(|one| one == name));
    let chosen = || KINDS.iter().filter(|(name, _)| is_chosen(name));
    for (name, exit) in chosen().cycle() {
        let others = *name == "sgi-others" && machine.cpus().len() > 1;
        if others {
            SLEEPS.store(true, SeqCst);
            (1..machine.cpus().len()).for_each(|cpu| _ = smp::start(machine, cpu, asleep));
        }
        let count = cpu::with_irqs(|| turn(machine, *exit, each));
        if others {
            SLEEPS.store(false, SeqCst);
            gic::broadcast_sgi(SGI);
            (1..machine.cpus().len()).for_each(|cpu| _ = smp::wait_off(machine, cpu));
        }
        println!("\nEXITS {name} n={count}");
    }
}

/// Makes exits for so many ticks: how many they were.
fn turn(machine: &Machine, exit: Exit, ticks: u64) -> u64 {
    let end = timer::now() + ticks;
    let mut count = 0;
    while timer::now() < end {
        exit(machine);
        count += 1;
        // As with `meter::work`.
        cpu::give_way();
    }
    count
}

/// Sleeps for so many microseconds, or less.
fn sleep(micros: u64) {
    timer::arm_at(timer::now() + timer::ticks(micros));
    cpu::wfi();
}

/// The list of all CPUs but the first, for SGIs.
fn others(machine: &Machine) -> u16 {
    (1 << machine.cpus().len()) - 2
}

/// The life of another CPU: an SGI wakes it, and it sleeps again.
fn asleep(_: usize) {
    while SLEEPS.load(SeqCst) {
        cpu::wfi();
        cpu::with_irqs(|| ());
    }
}

/// Starts another CPU, which goes off at once.
fn on_and_off(machine: &Machine) {
    if machine.cpus().len() > 1 {
        smp::start(machine, 1, |_| ());
        smp::wait_off(machine, 1);
    }
}
