//! What a busy neighbour on another core takes from this one, which should be nothing.
//!
//! The two CPUs take turns of [`TURN`] instructions: the neighbour makes exits of one kind as fast as it can, then this one
//! computes. QEMU goes to the other CPU at a YIELD, so what is counted from the end of the neighbour's turn to the end of
//! the computation is the latter and all that the neighbour's exits left to be done on this core: interrupts, kicks, work
//! that was put off. Beside it is the same with a neighbour that computes. What a turn makes slower without an
//! instruction (caches, buses) an emulator does not show.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use tessera_rt::gic::{self, GICD};
use tessera_rt::mmio::{read32, write32};
use tessera_rt::{Machine, console, cpu, mrs, println, psci, smp, timer, trap};

/// Instructions of a turn.
const TURN: u64 = 50_000;
/// Turns of which the longest does not count: QEMU may have changed CPUs in the middle of it.
const TURNS: usize = 20;

/// What the neighbour does over and over. The first is what the others are compared with.
pub const KINDS: [(&str, fn()); 11] = [
    ("computes", || compute(100)),
    ("hvc", || _ = psci::call(psci::VERSION, [0; 3])),
    ("sysreg", || _ = black_box(mrs!("id_aa64pfr0_el1"))),
    ("sgi", || gic::send_sgi(1, 1 << NEIGHBOUR)),
    ("gicd_read", || _ = read32(GICD + gic::TYPER)),
    ("gicd_write", || write32(GICD + ICENABLER1, 1 << 28)),
    ("private", || gic::disable(20)),
    ("uart_read", || _ = read32(console::UART + UARTFR)),
    ("uart_write", || write32(console::UART, b'.'.into())),
    ("nowhere", || _ = trap::attempt(|| read32(NOWHERE))),
    ("timer", || timer::arm_at(timer::now())),
];
const NEIGHBOUR: usize = 1;
/// Second word of the distributor's clear-enable registers; interrupt 60 is nobody's.
const ICENABLER1: u64 = 0x184;
/// The UART's flag register (DDI 0183 3.3.3).
const UARTFR: u64 = 0x18;
/// Between the devices.
const NOWHERE: u64 = 0x0b00_0000;

/// Whose turn it is, and what the neighbour does in its own.
static DOING: AtomicUsize = AtomicUsize::new(MINE);
const MINE: usize = usize::MAX;
const OVER: usize = usize::MAX - 1;
/// When the neighbour's last turn ended.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Prints the row: the least for any kind of exit, in percent.
pub fn run(machine: &Machine) {
    if machine.cpus().len() <= NEIGHBOUR || smp::start(machine, NEIGHBOUR, neighbour) != 0 {
        return;
    }
    let undisturbed = turns(0);
    let mut least = 100;
    for (kind, (name, _)) in KINDS.iter().enumerate().skip(1) {
        let percent = 100 * undisturbed / turns(kind).max(undisturbed);
        println!("\nneighbour, {name}: {percent} %");
        least = least.min(percent);
    }
    DOING.store(OVER, SeqCst);
    smp::wait_off(machine, NEIGHBOUR);
    println!("BENCH neighbour_other_core_percent {least}");
}

/// Instructions of all turns but the longest, each behind one of the neighbour's.
fn turns(kind: usize) -> u64 {
    let mut all = [0; TURNS];
    for turn in &mut all {
        DOING.store(kind, SeqCst);
        while DOING.load(SeqCst) != MINE {
            cpu::give_way();
        }
        compute(TURN);
        *turn = timer::now() - ENDED.load(SeqCst);
    }
    all.iter().sum::<u64>() - all.iter().max().unwrap_or(&0)
}

/// The neighbour's life.
fn neighbour(_: usize) {
    trap::set_handler(1, |_| {});
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    cpu::irq_unmask();
    loop {
        match DOING.load(SeqCst) {
            MINE => cpu::give_way(),
            OVER => break,
            kind => {
                let until = timer::now() + TURN;
                while timer::now() < until {
                    KINDS[kind].1();
                }
                timer::disarm();
                ENDED.store(timer::now(), SeqCst);
                DOING.store(MINE, SeqCst);
            }
        }
    }
    cpu::irq_mask();
}

/// Executes about `instructions`.
pub fn compute(instructions: u64) {
    let mut value = 1u64;
    for n in 0..instructions / 4 {
        value = black_box(value.wrapping_mul(n));
    }
}
