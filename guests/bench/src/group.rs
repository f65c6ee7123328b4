//! From a ring of a member of a group to its handler: one that runs on a core of its own, by a call and by a store to the doorbell
//! page, and one that sleeps on a shared core.
//!
//! The handler has YIELD behind its write, as the loop of whoever waits for that: QEMU, which runs one CPU after the other here,
//! goes to the next one there, so that nothing is counted that the member does afterwards. The members are other guests with this
//! same program, which write to the region what they did.
#![allow(unsafe_code, reason = "the instructions between two reads of the counter are counted")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::abi::group::doorbell;
use tessera_rt::abi::group::membership::{LIVES_SHIFT, State, WORDS};
use tessera_rt::abi::hypercall::RING;
use tessera_rt::mmio::{read64, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::{GroupNode, Machine, cpu, gic, trap};

use crate::calls::ticks;
use crate::least;

/// In the region: the handler was there.
const HEARD: u64 = 0;
/// In the region: the member waits for the next ring.
const READY: u64 = 0x40;

/// The region, for the handler.
static REGION: AtomicU64 = AtomicU64::new(0);

/// Does what `bench.group` says; `false` where it says nothing.
pub fn run(machine: &Machine) -> bool {
    match machine.arg("bench.group") {
        None => return false,
        Some("ring") => {
            let [running, blocked, ..] = machine.groups() else { return true };
            by_call("doorbell_running", running);
            by_call("doorbell_blocked", blocked);
            by_page("doorbell_page", running);
        }
        Some(how) => {
            if let Some(group) = machine.groups().first() {
                listen(group, how == "wait");
            }
        }
    }
    true
}

/// By [`RING`].
fn by_call(name: &str, group: &GroupNode) {
    measure(name, group, |flag| {
        ticks!("dsb ishst", "hvc #{ring}", "1:", "yield", "ldar {v}, [{flag}]", "cbz {v}, 1b";
            ring = const RING, inout("x0") u64::from(group.number) => _, in("x1") u64::from(1 - group.index),
            flag = in(reg) flag, v = out(reg) _)
    });
}

/// By a store to the doorbell.
fn by_page(name: &str, group: &GroupNode) {
    let doorbell = mmu::map(group.doorbell, Kind::Device, false);
    measure(name, group, |flag| {
        ticks!("dsb ishst", "str {whom:w}, [{at}]", "1:", "yield", "ldar {v}, [{flag}]", "cbz {v}, 1b";
            whom = in(reg) 1 - group.index, at = in(reg) doorbell + doorbell::RING, flag = in(reg) flag, v = out(reg) _)
    });
}

/// From a ring until this CPU sees what the handler of the other wrote.
fn measure(name: &str, group: &GroupNode, ring: impl Fn(u64) -> u64) {
    let region = mmu::map_gigabyte(group.region.0);
    least(name, || {
        while read64(region + READY) == 0 {
            yields();
        }
        write64(region + READY, 0);
        write64(region + HEARD, 0);
        // Long enough for the other to be in its loop, or in its sleep.
        (0..2000).for_each(|_| yields());
        ring(region + HEARD)
    });
}

fn yields() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack)) };
}

/// Takes rings until the first member is gone.
fn listen(group: &GroupNode, asleep: bool) {
    let page = mmu::map(group.membership, Kind::Normal, false);
    let region = mmu::map_gigabyte(group.region.0);
    REGION.store(region, SeqCst);
    trap::set_handler(group.intid, |_| {
        write64(REGION.load(SeqCst) + HEARD, 1);
        yields();
    });
    gic::set_edge(group.intid, true);
    gic::route(group.intid, cpu::affinity());
    gic::enable(group.intid);
    loop {
        let _ = group.take();
        write64(region + READY, 1);
        while read64(region + HEARD) == 0 || read64(region + READY) == 1 {
            cpu::irq_unmask();
            if asleep {
                cpu::wfi();
            } else {
                yields();
            }
            cpu::irq_mask();
            let word = read64(page + WORDS);
            if word >> LIVES_SHIFT > 0 && word & 0xff != State::Up as u64 {
                return;
            }
        }
    }
}
