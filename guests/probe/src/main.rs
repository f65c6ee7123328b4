//! "It works": each promise of the architecture, and of Tessera to its guests, checked one by one.
//!
//! Without a hypervisor the same lines pass on QEMU's `virt`, but for those marked as Tessera's alone: so a test that
//! fails under Tessera has found something. `probe.mode=echo` on the command line makes it answer typed lines instead, `watch` and
//! `region` tell of its group, and `probe.only=gic,timer` picks sections.
#![no_std]
#![no_main]

mod aborts;
mod console;
mod debug;
mod disk;
mod fp;
mod gic;
mod groups;
mod ids;
mod irqs;
mod memory;
mod pmu;
mod psci;
mod seen;
mod senders;
mod sgi;
mod smccc;
mod steal;
mod timer;
mod undefined;

use tessera_rt::{Machine, guest, println, report};

guest!(main);

type Section = (&'static str, fn(&Machine));

/// The sections, in the order in which they run.
const SECTIONS: [Section; 18] = [
    ("ids", ids::run),
    ("undefined", undefined::run),
    ("memory", memory::run),
    ("aborts", aborts::run),
    ("psci", psci::run),
    ("smccc", smccc::run),
    ("steal", steal::run),
    ("gic", gic::run),
    ("irqs", irqs::run),
    ("sgi", sgi::run),
    ("senders", senders::run),
    ("timer", timer::run),
    ("fp", fp::run),
    ("debug", debug::run),
    ("pmu", pmu::run),
    ("console", console::run),
    ("disk", disk::run),
    ("groups", groups::run),
];

fn main(machine: &'static Machine) {
    report::begin("probe", machine);
    if machine.arg("probe.mode") == Some("echo") {
        return console::echo();
    }
    if machine.arg("probe.mode") == Some("watch") {
        groups::watch(machine);
    }
    if machine.arg("probe.mode") == Some("region") {
        return groups::region(machine);
    }
    let only = machine.arg("probe.only");
    for (name, section) in SECTIONS {
        if only.is_none_or(|only| only.split(',').any(|one| one == name)) {
            println!("# {name}");
            section(machine);
        }
    }
    report::done();
}
