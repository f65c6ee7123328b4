//! "Fair": loads that show, by their own counters, what a guest is given of a core that it shares.
//!
//! A guest sees no scheduler, but its counter goes on while others run. So a gap between two looks at the counter is time
//! that it did not have ([`meter`]), and a timer's interrupt that comes behind its time says how long the guest waited for
//! its core. Whatever EL2's own accounts say is held against that.
//!
//! `load=KIND` on the command line says what the guest is; the other words are said with each kind. Results are lines
//! `LOAD kind key=value …`, complaints are lines `not ok …`. What comes after is `load.then`: `spin` (the CPU is busy for
//! ever), `wait` (it sleeps for ever), or `off` (the machine goes off).
#![no_std]
#![no_main]

mod beat;
mod clock;
mod exits;
mod hog;
mod interactive;
mod locks;
mod meter;
mod nodes;
mod rung;
mod state;

use tessera_rt::{Machine, cpu, guest, println, report};

guest!(main);

fn main(machine: &'static Machine) {
    report::begin("load", machine);
    match machine.arg("load").unwrap_or("") {
        "beat" => beat::run(machine),
        "hog" => hog::run(machine),
        "interactive" => interactive::run(machine),
        "locks" => locks::run(machine),
        "clock" => clock::run(machine),
        "exits" => exits::run(machine),
        "nodes" => nodes::run(machine),
        "rung" => rung::run(machine),
        "state" => state::run(machine),
        other => println!("not ok - there is no load `{other}`"),
    }
    match machine.arg("load.then").unwrap_or("wait") {
        "spin" => loop {
            meter::work();
        },
        "off" => {}
        _ => loop {
            cpu::wfi();
        },
    }
}

/// The number `name=N` of the command line, or what it is usually.
fn number(machine: &Machine, name: &str, usual: u64) -> u64 {
    machine.arg(name).and_then(|word| word.parse().ok()).unwrap_or(usual)
}
