//! Starting other CPUs.
#![allow(unsafe_code, reason = "the entry point is a symbol of the start code")]

use core::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

use crate::machine::MAX_CPUS;
use crate::{Machine, psci, timer};

// SAFETY: defined in entry.s; never called, only its address is taken.
unsafe extern "C" {
    fn secondary_cpu();
}

/// What each CPU is to run, until it begins.
static WORK: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

/// Address at which a CPU starts into the run-time, for CPU_ON.
pub fn entry() -> u64 {
    secondary_cpu as *const () as u64
}

/// Starts CPU `number` of the machine with `work`; when that returns the CPU goes off. Gives CPU_ON's answer, once the
/// CPU takes interrupts and begins its work.
pub fn start(machine: &Machine, number: usize, work: fn(usize)) -> i64 {
    let Some(affinity) = machine.cpus().get(number) else { return psci::INVALID_PARAMETERS };
    let Some(place) = WORK.get(number) else { return psci::INVALID_PARAMETERS };
    place.store(work as usize, Release);
    let answer = psci::call(psci::CPU_ON, [*affinity, entry(), number as u64]);
    if answer == 0 {
        timer::comes(|| place.load(Acquire) == 0);
    }
    answer
}

/// Lets CPU `number` run `work` when it comes to [`entry`] by another way than [`start`].
pub fn prepare(number: usize, work: fn(usize)) {
    if let Some(place) = WORK.get(number) {
        place.store(work as usize, Release);
    }
}

/// Waits until CPU `number` is off.
pub fn wait_off(machine: &Machine, number: usize) -> bool {
    let Some(affinity) = machine.cpus().get(number) else { return false };
    timer::comes(|| psci::call(psci::AFFINITY_INFO, [*affinity, 0, 0]) == 1)
}

pub(crate) fn run(number: usize) -> ! {
    let work = WORK.get(number).map_or(0, |place| place.swap(0, AcqRel));
    if work != 0 {
        // SAFETY: only `start` and `prepare` write the table, and they write a `fn(usize)`.
        let work = unsafe { core::mem::transmute::<usize, fn(usize)>(work) };
        work(number);
    }
    psci::call(psci::CPU_OFF, [0; 3]);
    loop {
        crate::cpu::wfi();
    }
}
