//! The interrupt controller as no driver uses it: ends of what was never taken, registers changed under what is active,
//! and all CPUs at it at once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::gic::v2::{
    ABPR, AEOIR, AIAR, APR, BPR, CPENDSGIR, DIR, EOIR, GICC, IAR, ITARGETSR, PMR, SGIR, SPENDSGIR,
};
use tessera_rt::gic::{
    CTLR, GICD, ICACTIVER, ICENABLER, ICPENDR, IGROUPR, ISACTIVER, ISENABLER, ISPENDR,
};
use tessera_rt::machine::MAX_CPUS;
use tessera_rt::mmio::{read32, write8, write32};
use tessera_rt::{Machine, cpu, exec, gic, smp};

use crate::storms::{self, SENDER_0};
use crate::tally::Tally;

const ROUNDS: u64 = 20_000;
const STORM: u64 = 4_000;
/// INTIDs that a guest has under Tessera, and the UART's: a level that nobody here would end.
const INTIDS: u64 = 64;
const UART_INTID: u64 = 33;
/// The interface's registers of one word that anything may be written to.
const INTERFACE: [u64; 9] = [CTLR, PMR, BPR, ABPR, APR, EOIR, AEOIR, DIR, IAR];
/// The same in a GICv3, as op0, op1, CRn, CRm, op2: PMR, BPR0, BPR1, AP0R0, AP1R0, EOIR0, EOIR1, DIR, CTLR.
const SYSTEM: [(u32, u32, u32, u32, u32); 9] = [
    (3, 0, 4, 6, 0),
    (3, 0, 12, 8, 3),
    (3, 0, 12, 12, 3),
    (3, 0, 12, 8, 4),
    (3, 0, 12, 9, 0),
    (3, 0, 12, 8, 1),
    (3, 0, 12, 12, 1),
    (3, 0, 12, 11, 1),
    (3, 0, 12, 12, 4),
];
/// Of these, the binary points: 3 bits. QEMU 10 compares all bits with the least value, keeps 3, and dies of 0.
const BINARY_POINTS: core::ops::RangeInclusive<usize> = 1..=2;
/// Arrays of a bit for each interrupt.
const BITS: [u64; 7] = [IGROUPR, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER];

/// Attack 16.
pub fn run(machine: &Machine, tally: &mut Tally) {
    if !machine.tessera && !gic::is_v2() {
        return; // QEMU's own GICv3 dies of it.
    }
    storms::take_all();
    prepare();
    let mut taken = [0; 8];
    for round in 0..ROUNDS {
        match tally.below(8) {
            0 | 1 => pend(tally),
            2 => {
                let place = tally.below(8) as usize;
                tally.step(gic::acknowledge);
                taken[place] = gic::acknowledge();
            }
            3 => {
                let some = taken[tally.below(8) as usize];
                tally.step(|| gic::end(some));
                tally.step(|| gic::deactivate(some));
            }
            4 => {
                let garbage = garbage(tally);
                tally.step(|| gic::end(garbage));
                tally.step(|| gic::deactivate(garbage));
            }
            5 => interface(tally),
            _ => change(tally),
        }
        if round % 256 == 0 {
            prepare();
        }
    }
    storms::still_works(tally);
}

/// What is needed for interrupts to come at all.
fn prepare() {
    gic::init_cpu();
    gic::init_distributor();
    write32(GICD + ISENABLER + 4, !(1 << (UART_INTID % 32)));
}

/// An INTID with a sender, near to or far from what there is.
pub fn garbage(tally: &mut Tally) -> u32 {
    match tally.below(3) {
        0 => tally.below(INTIDS) as u32 | (tally.below(8) as u32) << 10,
        1 => tally.below(1 << 13) as u32,
        _ => tally.random() as u32,
    }
}

/// Makes something pending in one of the ways there are.
pub fn pend(tally: &mut Tally) {
    let some = tally.random() as u32;
    if tally.below(2) == 0 {
        tally.step(|| write32(GICD + ISPENDR + 4, some & !(1 << (UART_INTID % 32))));
    } else if gic::is_v2() {
        tally.step(|| write32(GICD + SPENDSGIR + u64::from(some & 12), some | SENDER_0));
        tally.step(|| write32(GICD + SGIR, some));
    } else {
        tally.step(|| gic::send_sgi(some & 15, 1));
        tally.step(|| write32(gic::frame(0) + ISPENDR, some));
    }
}

/// Writes anything to a register of the CPU interface.
pub fn interface(tally: &mut Tally) {
    let which = tally.below(9) as usize;
    let value = if tally.below(2) == 0 { garbage(tally) } else { tally.random() as u32 };
    if gic::is_v2() {
        tally.step(|| write32(GICC + INTERFACE[which], value));
        tally.step(|| read32(GICC + AIAR));
    } else {
        let (op0, op1, crn, crm, op2) = SYSTEM[which];
        let value = if BINARY_POINTS.contains(&which) { value & 7 } else { value };
        tally.count(exec::run(exec::msr_x0(op0, op1, crn, crm, op2), u64::from(value)));
    }
}

/// Changes an interrupt, active or not, in the distributor.
pub fn change(tally: &mut Tally) {
    let intid = tally.below(INTIDS) as u32;
    let value = tally.random();
    if u64::from(intid) == UART_INTID {
        return;
    }
    match tally.below(6) {
        0 => tally.step(|| gic::set_priority(intid, value as u8)),
        1 => tally.step(|| gic::set_edge(intid, value & 1 != 0)),
        2 if intid >= 32 => tally.step(|| gic::route(intid, value & 15)),
        2 if gic::is_v2() => {
            let pending = if value & 1 == 0 { CPENDSGIR } else { SPENDSGIR };
            tally.step(|| write8(GICD + pending + u64::from(intid & 15), (value >> 8) as u8 | 1));
        }
        _ => {
            let array = BITS[tally.below(7) as usize];
            tally.step(|| gic::set(array, intid));
        }
    }
}

static STOP: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Attack 17: each CPU sends to all, from all, changes what the others take, and takes what comes.
pub fn all_cpus(machine: &Machine, tally: &mut Tally) {
    storms::take_all();
    prepare();
    STOP.store(0, Relaxed);
    SEED.store(tally.random(), Relaxed);
    let count = machine.cpus().len().min(MAX_CPUS);
    let started: u32 =
        (1..count).filter(|n| smp::start(machine, *n, storm) == 0).map(|n| 1 << n).sum();
    storm_with(tally);
    STOP.store(1, Relaxed);
    for number in (1..count).filter(|n| started & 1 << n != 0) {
        if !smp::wait_off(machine, number) {
            tally.complain("a cpu is gone", number as u64, storms::taken());
        }
    }
    storms::still_works(tally);
}

fn storm(number: usize) {
    let mut tally = Tally::new(0, SEED.load(Relaxed) ^ number as u64, false);
    while STOP.load(Relaxed) == 0 {
        one(&mut tally);
    }
    // What may wait for this CPU must not keep another storm's beginning from it.
    gic::init_cpu();
}

fn storm_with(tally: &mut Tally) {
    (0..STORM).for_each(|_| {
        tally.step(|| ());
        one(tally);
    });
}

/// One step of a storm, no longer than a few interrupts.
pub fn one(tally: &mut Tally) {
    let value = tally.random() as u32;
    let intid = 32 + tally.below(32) as u32;
    match tally.below(6) {
        0 => gic::send_sgi(value & 15, (value >> 16) as u16),
        1 if gic::is_v2() => write32(GICD + SGIR, value),
        1 => gic::broadcast_sgi(value & 15),
        2 if gic::is_v2() => write32(GICD + SPENDSGIR + u64::from(value & 12), value | SENDER_0),
        2 | 3 => write32(GICD + ISPENDR + 4, value & !(1 << (UART_INTID % 32))),
        4 if gic::is_v2() => write8(GICD + ITARGETSR + u64::from(intid), value as u8),
        4 => gic::route(intid, u64::from(value & 7)),
        _ => gic::set_priority(intid, value as u8 & 0x7f),
    }
    cpu::with_irqs(|| ());
}
