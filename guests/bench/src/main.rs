//! "How fast": what a guest's usual dealings with its machine cost, in ticks of the virtual counter.
//!
//! On QEMU with `-icount shift=0` and a counter of 1 GHz a tick is an instruction executed on the machine, by whatever
//! level and CPU, so the numbers are exact and repeat. Each is the least of many rounds, less the cost of reading the
//! counter twice. Lines are `BENCH name value`, the last one is `BENCH-DONE`.
#![no_std]
#![no_main]

mod calls;
mod disk;
mod group;
mod interrupts;
mod memory;
mod neighbour;
mod ring;
mod shared;

use tessera_rt::{Machine, guest, println, psci, report};

guest!(main);

/// Rounds of which the least counts.
const ROUNDS: usize = 100;

fn main(machine: &'static Machine) {
    report::begin("bench", machine);
    if machine.arg("restart").is_some() {
        psci::reset();
    }
    if shared::run(machine) || ring::run(machine) || group::run(machine) {
        return println!("BENCH-DONE");
    }
    println!("BENCH reset_to_guest {}", machine.entered_at);
    calls::run();
    memory::run(machine);
    interrupts::run(machine);
    disk::run(machine);
    neighbour::run(machine);
    println!("BENCH-DONE");
}

/// Prints the least of many rounds of `round`, without what an empty measurement takes.
fn least(name: &str, round: impl FnMut() -> u64) {
    println!("BENCH {name} {}", least_of(round).saturating_sub(calls::overhead()));
}

/// The least of many rounds.
fn least_of(mut round: impl FnMut() -> u64) -> u64 {
    (0..ROUNDS).map(|_| round()).min().unwrap_or(0)
}
