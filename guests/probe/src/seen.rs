//! Which CPU has taken which interrupt how often.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::{cpu, timer, trap};

const INTIDS: usize = 64;
static COUNT: [[AtomicU32; INTIDS]; 2] = [const { [const { AtomicU32::new(0) }; INTIDS] }; 2];

/// Counts `intid` from now on, from 0.
pub fn watch(intid: u32) {
    for counts in &COUNT {
        counts[intid as usize].store(0, SeqCst);
    }
    trap::set_handler(intid, note);
}

/// A handler that counts only.
pub fn note(intid: u32) {
    COUNT[cpu::this() & 1][intid as usize].fetch_add(1, SeqCst);
}

/// How often a CPU has taken it.
pub fn count(number: usize, intid: u32) -> u32 {
    COUNT[number & 1][intid as usize].load(SeqCst)
}

/// Takes interrupts on this CPU until `number` has taken `intid` `wanted` times, or it does not come; gives the count.
pub fn wait(number: usize, intid: u32, wanted: u32) -> u32 {
    cpu::with_irqs(|| timer::comes(|| count(number, intid) >= wanted));
    count(number, intid)
}

/// Takes interrupts on this CPU for 2 ms; gives how often this one has taken `intid`.
pub fn after_a_while(number: usize, intid: u32) -> u32 {
    cpu::with_irqs(|| timer::sleep(2_000));
    count(number, intid)
}
