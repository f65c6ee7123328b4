//! Work that no hypervisor should be seen in: touching memory, and none.
#![allow(unsafe_code, reason = "counted instructions")]

use tessera_rt::Machine;

use crate::calls::ticks;
use crate::least;

/// Bytes walked through, a page at a time: more than a TLB holds.
const WALK: u64 = 8 << 20;
/// Where the walk begins in RAM; it only reads.
const WALK_FROM: u64 = 16 << 20;

/// Prints the rows.
pub fn run(machine: &Machine) {
    let start = machine.ram_base + WALK_FROM.min(machine.ram_size.saturating_sub(WALK));
    least("walk", || {
        ticks!("1:", "ldr {v}, [{a}]", "add {a}, {a}, #1, lsl #12", "cmp {a}, {end}", "b.lo 1b";
            a = inout(reg) start => _, end = in(reg) start + WALK, v = out(reg) _)
    });
    least("compute", || {
        ticks!("1:", "madd {v}, {v}, {n}, {n}", "ror {v}, {v}, #7", "subs {n}, {n}, #1", "b.ne 1b";
            v = inout(reg) 1u64 => _, n = inout(reg) 25_000u64 => _)
    });
}
