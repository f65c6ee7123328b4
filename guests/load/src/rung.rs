//! A CPU that computes while other members of its groups ring it, and asks at each interrupt who rang.
//!
//! For `load.seconds` seconds (3), from the first ring on, it counts the interrupts.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::abi::group::doorbell::PENDING;
use tessera_rt::abi::layout::{GROUP_INTID, MAX_GROUPS};
use tessera_rt::mmio::read32;
use tessera_rt::mmu::{self, Kind};
use tessera_rt::{Machine, cpu, gic, println, timer, trap};

use crate::meter::{Meter, nanos, work};
use crate::number;

/// The doorbells, for the handler: of each interrupt.
static DOORBELLS: [AtomicU64; MAX_GROUPS] = [const { AtomicU64::new(0) }; MAX_GROUPS];
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Runs it.
pub fn run(machine: &Machine) {
    if machine.groups().is_empty() {
        println!("not ok - there is no group");
        return;
    }
    for (group, doorbell) in machine.groups().iter().zip(&DOORBELLS) {
        doorbell.store(mmu::map(group.doorbell, Kind::Device, false), Relaxed);
        trap::set_handler(group.intid, |intid| {
            if let Some(doorbell) = DOORBELLS.get((intid - GROUP_INTID) as usize) {
                let _ = read32(doorbell.load(Relaxed) + PENDING);
                INTERRUPTS.fetch_add(1, Relaxed);
            }
        });
        gic::set_edge(group.intid, true);
        gic::route(group.intid, cpu::affinity());
        gic::enable(group.intid);
    }
    cpu::irq_unmask();
    while INTERRUPTS.load(Relaxed) == 0 {
        work();
    }
    let whole = timer::frequency() * number(machine, "load.seconds", 3);
    let (mut meter, before) = (Meter::begin(), INTERRUPTS.load(Relaxed));
    while meter.passed() < whole {
        work();
        meter.look();
    }
    let interrupts = INTERRUPTS.load(Relaxed) - before;
    machine.groups().iter().for_each(|group| gic::disable(group.intid));
    println!("LOAD rung interrupts={interrupts} passed_ns={}", nanos(meter.passed()));
}
