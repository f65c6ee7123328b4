//! A CPU that computes while other members of its groups ring it, and asks at each interrupt who rang.
//!
//! Problem: an emulator that runs one core after the other counts the time of all, and who rings takes another part of it than
//! who does not, so work under a storm says nothing beside work without one. Idea: the first two members do the same and are
//! stormed in turns, so that all else on the board is alike at all times. What each gets done while it is stormed itself is held
//! against what it gets done while the other one is.
//!
//! The first member counts the turns, in each region at [`TURN`]: it is itself rung while the number is even, the second one
//! while it is odd. After a turn in which all come up, `load.turns` (6) of `load.millis` milliseconds (100) count.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::abi::group::doorbell::PENDING;
use tessera_rt::abi::layout::{GROUP_INTID, MAX_GROUPS};
use tessera_rt::mmio::{read32, read64, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::{GroupNode, Machine, cpu, gic, println, timer, trap};

use crate::meter::{compute, nanos, ppm};
use crate::number;

/// In a region, the number of the turn.
const TURN: u64 = 0;
/// In a region: the second member is there.
const READY: u64 = 8;

/// The doorbells, for the handler: of each interrupt.
static DOORBELLS: [AtomicU64; MAX_GROUPS] = [const { AtomicU64::new(0) }; MAX_GROUPS];
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// What came of turns.
#[derive(Clone, Copy, Default)]
struct Done {
    pieces: u64,
    interrupts: u64,
    ticks: u64,
}

/// Runs it.
pub fn run(machine: &Machine) {
    let groups = machine.groups();
    let Some(me) = groups.first().map(|group| group.index) else {
        println!("not ok - there is no group");
        return;
    };
    let turns = number(machine, "load.turns", 6);
    let ticks = timer::ticks(1000 * number(machine, "load.millis", 100));
    listen(groups);
    if me == 0 {
        while INTERRUPTS.load(Relaxed) == 0 || groups.iter().any(|group| read(group, READY) == 0) {
            compute();
        }
    } else {
        groups.iter().for_each(|group| write64(group.region.0 + READY, 1));
    }
    let mut done = [Done::default(); 2];
    for turn in 0..=turns {
        let one = take(groups, turn, if me == 0 { ticks } else { u64::MAX });
        if turn > 0 {
            let sum = &mut done[usize::from(turn % 2 == u64::from(me))];
            sum.pieces += one.pieces;
            sum.interrupts += one.interrupts;
            sum.ticks += one.ticks;
        }
    }
    groups.iter().for_each(|group| gic::disable(group.intid));
    let [others, own] = done;
    // Pieces a tick, in both.
    let kept = ppm(own.pieces * others.ticks, others.pieces * own.ticks);
    println!(
        "LOAD rung kept_ppm={kept} pieces={} interrupts={} passed_ns={} others={}",
        own.pieces,
        own.interrupts,
        nanos(own.ticks),
        others.interrupts,
    );
}

/// Takes the interrupts of the groups.
fn listen(groups: &[GroupNode]) {
    for (group, doorbell) in groups.iter().zip(&DOORBELLS) {
        mmu::map_gigabyte(group.region.0);
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
}

fn read(group: &GroupNode, at: u64) -> u64 {
    read64(group.region.0 + at)
}

/// Computes in this turn, which it ends itself after so many ticks.
fn take(groups: &[GroupNode], turn: u64, ticks: u64) -> Done {
    let (began, before) = (timer::now(), INTERRUPTS.load(Relaxed));
    let mut pieces = 0;
    while groups.first().is_some_and(|group| read(group, TURN) == turn) {
        compute();
        pieces += 1;
        if timer::now() - began >= ticks {
            groups.iter().for_each(|group| write64(group.region.0 + TURN, turn + 1));
        }
    }
    let interrupts = INTERRUPTS.load(Relaxed) - before;
    Done { pieces, interrupts, ticks: timer::now() - began }
}
