//! "It works": each promise of the architecture, and of Tessera to its guests, checked one by one.
#![no_std]
#![no_main]

mod gic;
mod psci;
mod timer;

use tessera_rt::{Machine, guest, report};

guest!(main);

fn main(machine: &'static Machine) {
    report::begin("probe", machine);
    psci::run(machine);
    gic::run(machine);
    timer::run(machine);
    report::done();
}
