//! "It cannot harm": a guest that attacks what is around it.
//!
//! Each attack prints `attack N name` and, when the guest is still there, `survived N faults=F answers=A`: how often it
//! got an exception and how often an answer. Where an answer came although Tessera promises a fault, the line is
//! `broken N …` with what and where. The last line is `ROGUE-DONE attacks=N broken=M`.
//!
//! Command line: `rogue.only=7,8` picks attacks, `rogue.loops=N` repeats them all, `rogue.reset` resets the machine at
//! the end, which makes a loop of it, `rogue.seed=N` varies the random ones, and `rogue.end` says how it ends ([`ending`]).
//! `rogue.fuzz=SEED` runs random programs instead ([`fuzz`]).
#![no_std]
#![no_main]

mod barriers;
mod calls;
mod debug;
mod devices;
mod ending;
mod ends;
mod fuzz;
mod groups;
mod outside;
mod registers;
mod rings;
mod storms;
mod tally;

use tessera_rt::virtio::Transport;
use tessera_rt::{Machine, cpu, dma, gic, guest, println, psci, report};

use tally::Tally;

guest!(main);

type Attack = (&'static str, fn(&Machine, &mut Tally));

/// The attacks by number, from 1. The last one loses the second CPU to garbage, which on a QEMU with one thread for all
/// takes its time slices from what comes after.
const ATTACKS: [Attack; 24] = [
    ("reads outside ram", outside::reads),
    ("writes outside ram", outside::writes),
    ("addresses beyond any bus", outside::huge),
    ("jumps to nowhere", outside::jumps),
    ("page tables that point outside", outside::tables),
    ("calls with garbage in all registers", calls::garbage),
    ("reads of every system register", registers::reads),
    ("writes to every system register", registers::writes),
    ("device accesses of every size and alignment", devices::sizes),
    ("device accesses by odd instructions", devices::odd),
    ("rings with loops and lies", rings::chains),
    ("queues in places that are none", rings::places),
    ("disk requests of random bytes", rings::requests),
    ("storms of interrupts", storms::interrupts),
    ("random writes to the interrupt controller", devices::interrupt_controller),
    ("ends of what was not taken", ends::run),
    ("storms of all cpus on one interrupt controller", ends::all_cpus),
    ("timers that are always over", storms::timers),
    ("floods of the console", storms::console),
    ("cache, tlb and translation instructions", registers::maintenance),
    ("debug registers, halts and waits", debug::run),
    ("memory, doorbells and pages of groups", groups::run),
    ("barriers left in the middle", barriers::run),
    ("cpus started and stopped wrongly", calls::cpus),
];

fn main(machine: &'static Machine) {
    report::begin("rogue", machine);
    let number_of = |name, usual| machine.arg(name).and_then(|n| n.parse().ok()).unwrap_or(usual);
    let loops: u64 = number_of("rogue.loops", 1);
    let seed: u64 = number_of("rogue.seed", 1);
    let (mut attacks, mut broken) = (0u64, 0);
    // What an earlier life of this guest did to it must be gone.
    if let Some(register) = machine.gic_not_reset {
        println!("broken 0 the interrupt controller was not reset at {register:#x}");
        broken += 1;
    }
    if let Some(seed) = machine.arg("rogue.fuzz").and_then(|n| n.parse().ok()) {
        return fuzz::run(machine, seed);
    }
    if machine.arg("rogue.rings").is_some() {
        groups::storm(machine);
    }
    for round in 0..loops {
        for (number, (name, attack)) in (1u32..).zip(ATTACKS) {
            if !chosen(machine, number) {
                continue;
            }
            println!("attack {number} {name}");
            let mut tally = Tally::new(number, seed.wrapping_add(round), machine.tessera);
            attack(machine, &mut tally);
            recover(machine);
            tally.end();
            attacks += 1;
            broken += tally.broken;
        }
    }
    println!("ROGUE-DONE attacks={attacks} broken={broken}");
    if machine.arg("rogue.reset").is_some() {
        psci::reset();
    }
    ending::run(machine);
}

fn chosen(machine: &Machine, number: u32) -> bool {
    let picked = |list: &str| list.split(',').any(|one| one.parse() == Ok(number));
    machine.arg("rogue.only").is_none_or(picked)
}

/// Puts the devices that an attack may have left anyhow into a state in which the next can begin.
fn recover(machine: &Machine) {
    machine.virtio().iter().filter_map(Transport::probe).for_each(|device| device.reset());
    dma::reuse();
    tessera_rt::timer::disarm();
    tessera_rt::console::init();
    gic::init_distributor();
    gic::init_cpu();
    while gic::acknowledge() < gic::SPURIOUS {}
    cpu::isb();
}
