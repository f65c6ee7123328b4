//! All CPUs at the same program: its beginning and its end, and steps that are between them.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::machine::{Conduit, MAX_CPUS};
use tessera_rt::psci::{self, AFFINITY_INFO, CPU_OFF, CPU_ON, CPU_SUSPEND};
use tessera_rt::{Machine, cpu, gic, msr, smp, timer};

use super::{Player, code, play};
use crate::tally::Tally;
use crate::{calls, ends};

/// In the place of a CPU: all of them, or none.
pub const ALL: usize = usize::MAX;
/// CPU_SUSPEND's power state: power down rather than standby (DEN 0022 5.4.2).
const POWER_DOWN: u64 = 1 << 16;
/// Longest wait of a step, in microseconds, and longest where its timer does not end it.
const SHORT: u64 = 300;
const LATER: u64 = 20_000;

static SEED: AtomicU64 = AtomicU64::new(0);
/// The program to play and one more; 0 before the first.
static GO: AtomicU64 = AtomicU64::new(0);
/// The CPU that gets lost in this program.
static LOST: AtomicU64 = AtomicU64::new(ALL as u64);
/// The boot CPU is at its part.
static BUSY: AtomicU64 = AtomicU64::new(0);
/// The SGI that ends waits.
const WAKE: u32 = 1;
/// For each CPU the `GO` that it is done with.
static DONE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Lets the other CPUs play a program.
pub fn begin(machine: &'static Machine, seed: u64, number: u64, lost: usize) {
    THIS.call_once(|| machine);
    SEED.store(seed, SeqCst);
    LOST.store(lost as u64, SeqCst);
    BUSY.store(1, SeqCst);
    GO.store(number + 1, SeqCst);
    cpu::sev();
    for (number, affinity) in machine.cpus().iter().enumerate().skip(1) {
        smp::prepare(number, live);
        // Most are on; one that is about to go off is done with this program then.
        psci::call(CPU_ON, [*affinity, smp::entry(), number as u64]);
    }
}

/// Waits until the others are done: the first that is not, after a long time.
pub fn laggard(machine: &Machine) -> Option<usize> {
    BUSY.store(0, SeqCst);
    let late = || {
        let mut others = 1..machine.cpus().len().min(MAX_CPUS);
        others.find(|cpu| DONE[*cpu].load(SeqCst) != GO.load(SeqCst) && is_on(machine, *cpu))
    };
    let mut rounds = 0u64;
    timer::comes(|| {
        rounds += 1;
        if rounds.is_multiple_of(1000) {
            gic::broadcast_sgi(WAKE);
        }
        late().is_none()
    });
    late()
}

fn is_on(machine: &Machine, cpu: usize) -> bool {
    machine.cpus().get(cpu).is_some_and(|&id| psci::call(AFFINITY_INFO, [id, 0, 0]) != 1)
}

static THIS: spin::Once<&'static Machine> = spin::Once::new();

/// The life of a CPU but the first.
fn live(cpu: usize) {
    let Some(machine) = THIS.get() else { return };
    let mut idle = 0u64;
    loop {
        let go = GO.load(SeqCst);
        if DONE[cpu].load(SeqCst) == go {
            cpu::wfe();
            idle += 1;
            if idle.is_multiple_of(1000) && BUSY.load(SeqCst) != 0 {
                gic::broadcast_sgi(WAKE);
            }
            continue;
        }
        play(machine, SEED.load(SeqCst), go - 1, cpu);
        if LOST.load(SeqCst) == cpu as u64 {
            code::get_lost();
        }
        finish(cpu);
    }
}

fn finish(cpu: usize) {
    DONE[cpu].store(GO.load(SeqCst), SeqCst);
}

/// A firmware call with anything in the registers.
pub fn call(_: &Player, dice: &mut Tally) {
    let conduit = [Conduit::Hvc, Conduit::Smc][dice.below(2) as usize];
    let kind = dice.below(4) << 30;
    let function = match dice.below(4) {
        0 => dice.random() >> dice.below(48),
        1 => kind | 4 << 24 | dice.below(32),
        _ => kind | [0, 4, 5, 6][dice.below(4) as usize] << 24 | dice.below(0x60),
    };
    calls::try_call(dice, conduit, function);
}

/// Lets the virtual timer end a wait after `micros`, or the physical timer a little later. Another CPU can take both away:
/// then one that has nothing else to do ends it.
fn set_alarm(micros: u64) {
    gic::set_mask(gic::DEFAULT_MASK);
    gic::set_interface(true);
    gic::enable(timer::VIRTUAL);
    gic::enable(timer::PHYSICAL);
    timer::arm_at(timer::now() + timer::ticks(micros));
    msr!("cntp_tval_el0", timer::ticks(LATER));
    msr!("cntp_ctl_el0", 1);
}

/// Waits in one of the ways there are.
pub fn wait(_: &Player, dice: &mut Tally) {
    for _ in 0..1 + dice.below(8) {
        set_alarm(dice.below(SHORT));
        match dice.below(5) {
            0 => dice.step(cpu::wfe),
            1 => dice.step(|| psci::call(CPU_SUSPEND, [0, smp::entry(), 0])),
            2 => {
                cpu::sev();
                dice.step(cpu::wfe);
            }
            _ => dice.step(cpu::wfi),
        }
        if dice.below(2) == 0 {
            cpu::with_irqs(|| ());
        }
        timer::disarm();
        msr!("cntp_ctl_el0", 0);
    }
}

/// Switches another CPU on, or this one off, which is done with the program then.
pub fn power(player: &Player, dice: &mut Tally) {
    let cpus = player.machine.cpus();
    let target = dice.below(cpus.len() as u64) as usize;
    let leave = player.cpu != 0 && dice.below(8) == 0;
    if leave && dice.below(2) == 0 {
        finish(player.cpu);
        psci::call(CPU_OFF, [0; 3]);
    } else if leave {
        finish(player.cpu);
        smp::prepare(player.cpu, live);
        set_alarm(SHORT);
        psci::call(CPU_SUSPEND, [POWER_DOWN, smp::entry(), player.cpu as u64]);
    } else if target != 0 {
        smp::prepare(target, live);
        dice.step(|| psci::call(CPU_ON, [cpus[target], smp::entry(), target as u64]));
    } else {
        dice.step(|| psci::call(AFFINITY_INFO, [cpus[target], 0, 0]));
    }
}

/// Makes an interrupt pending, here or elsewhere, and takes what comes.
pub fn interrupt(_: &Player, dice: &mut Tally) {
    ends::one(dice);
}

/// The interrupt controller as no driver uses it.
pub fn interrupt_controller(_: &Player, dice: &mut Tally) {
    match dice.below(8) {
        0 | 1 => ends::pend(dice),
        2 => dice.step(gic::acknowledge),
        3 => {
            let garbage = ends::garbage(dice);
            dice.step(|| gic::end(garbage));
            dice.step(|| gic::deactivate(garbage));
        }
        4 | 5 => ends::interface(dice),
        _ => ends::change(dice),
    }
}
