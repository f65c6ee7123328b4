//! Addresses for random programs: what they write must not be the guest itself, or each would end at once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::Machine;
use tessera_rt::console::UART;

use crate::devices;
use crate::tally::Tally;

/// Bytes of RAM that programs do with as they like, and of these each CPU's own.
pub const SCRATCH: u64 = 4 << 20;
pub const OWN: u64 = SCRATCH / 8;

static AT: AtomicU64 = AtomicU64::new(0);

/// Finds a piece of RAM that nothing was loaded to.
pub fn find(machine: &Machine) {
    let free = |at: &u64| machine.loaded.iter().all(|(a, z)| at + SCRATCH <= *a || at > z);
    let mut all = (machine.ram_base..machine.ram_end() - SCRATCH).step_by(2 << 20);
    AT.store(all.find(free).expect("there is free RAM"), Relaxed);
}

/// The first byte of it.
pub fn scratch() -> u64 {
    AT.load(Relaxed)
}

/// The first byte of a CPU's own part.
pub fn own(cpu: usize) -> u64 {
    scratch() + cpu as u64 * OWN
}

/// An address that anything may be written to: scratch, a device's or nobody's. Not the UART's, which is the way to the
/// outside.
pub fn writable(machine: &Machine, dice: &mut Tally) -> u64 {
    match dice.below(8) {
        0..=3 => scratch() + dice.below(SCRATCH),
        4 => outside(machine, dice),
        5 => machine.ram_end() + dice.below(0x1000),
        6 => 0u64.wrapping_sub(dice.below(0x1000)),
        _ => {
            let [(first, bytes), (second, more)] = devices::controller(machine);
            if dice.below(2) == 0 { first + dice.below(bytes) } else { second + dice.below(more) }
        }
    }
}

/// An address that is not RAM nor the UART: 48 bits, mostly near to something.
pub fn outside(machine: &Machine, dice: &mut Tally) -> u64 {
    let near = [0, 0x0800_0000, 0x0a00_0000, 0x1000_0000, 0x3f00_0000, 0xfe00_0000, 0xff84_0000];
    let at = match dice.below(4) {
        0 => dice.random() >> (16 + dice.below(32)),
        1 => (1 << dice.below(48)) + dice.below(0x1_0000),
        _ => near[dice.below(near.len() as u64) as usize] + dice.below(0x20_0000),
    };
    let page = at & !0xfff;
    let taken = (machine.ram_base..machine.ram_end()).contains(&at) || page == UART;
    if taken { machine.ram_end() + (at & 0xffff) } else { at }
}

/// A number that is at some edge, or an address, or random. Never one in RAM that may not be written.
pub fn value(machine: &Machine, dice: &mut Tally) -> u64 {
    let value = match dice.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << dice.below(64),
        3 => (1 << dice.below(64)) - 1,
        4 => dice.random() >> dice.below(64),
        5 => writable(machine, dice),
        _ => dice.random(),
    };
    let in_ram = (machine.ram_base..machine.ram_end()).contains(&value);
    if in_ram { scratch() + value % SCRATCH } else { value }
}
