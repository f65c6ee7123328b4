//! Games with translation tables: a CPU goes over to tables that are right for the guest's image and devices and anything
//! for the rest, and touches that.

use tessera_rt::mmio::{read64, write64};
use tessera_rt::{exec, mmu, mrs, msr};

use super::{Player, places};
use crate::tally::Tally;

const ENTRIES: u64 = 512;
const GIB: u64 = 1 << 30;
/// Bytes of a block of level 2; scratch memory is aligned to it.
const BLOCK: u64 = 2 << 20;
/// Gigabytes that stay as they are: devices, RAM, and the window of [`mmu::map`].
const KEPT: [u64; 3] = [0, 1, 64];
/// Tables of a CPU, in its own part of the scratch memory: level 1, to which none points, since it has blocks of RAM, and
/// some that point to each other.
const TABLES: u64 = 4;
const TABLE: u64 = 0x1000;
/// Bits of TCR_EL1 that may be anything (DDI 0487 D24.2): how tables are cached, all of the upper half, ASIDs, tops of
/// addresses, hardware's updates of descriptors.
const TCR: u64 = 0x3f << 8 | 0xffff << 16 | 3 << 36 | 0xf << 37 | 3 << 41;
/// Bits of SCTLR_EL1 that take no memory away from the guest: traps of EL0, and cache instructions of its.
const SCTLR: u64 = 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26;
/// Attributes of MAIR_EL1 that the run-time does not use.
const MAIR: u64 = !0xff_ffff;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// AP[2]: not for writing.
const READ_ONLY: u64 = 1 << 7;

/// Makes such tables, uses them, and goes back.
pub fn game(player: &Player, dice: &mut Tally) {
    let tables = places::own(player.cpu) + places::OWN / 2;
    for entry in 0..TABLES * ENTRIES {
        let descriptor = descriptor(player, tables, entry, dice);
        write64(tables + entry * 8, descriptor);
    }
    for gigabyte in KEPT {
        write64(tables + gigabyte * 8, read64(mmu::root() + gigabyte * 8));
    }
    let before = (mrs!("ttbr0_el1"), mrs!("ttbr1_el1"), mrs!("tcr_el1"));
    let more = (mrs!("sctlr_el1"), mrs!("mair_el1"));
    msr!("mair_el1", more.1 & !MAIR | dice.random() & MAIR);
    msr!("sctlr_el1", more.0 & !SCTLR | dice.random() & SCTLR);
    msr!("tcr_el1", before.2 & !TCR | dice.random() & TCR);
    msr!("ttbr1_el1", upper(player, tables, dice));
    msr!("ttbr0_el1", tables | dice.below(1 << 16) << 48);
    if dice.below(4) != 0 {
        mmu::flush();
    }
    (0..16).for_each(|_| touch(player, tables, dice));
    msr!("ttbr0_el1", before.0);
    msr!("ttbr1_el1", before.1);
    msr!("tcr_el1", before.2);
    msr!("sctlr_el1", more.0);
    msr!("mair_el1", more.1);
    mmu::flush();
}

/// A descriptor: a block or page of what may be written, or of RAM for reading, a table, or anything else.
fn descriptor(player: &Player, tables: u64, entry: u64, dice: &mut Tally) -> u64 {
    let attributes = dice.random() & !ADDRESS & !3;
    match dice.below(4) {
        0 => 0,
        // A gigabyte has all of RAM in it.
        1 if entry < ENTRIES => {
            let at = if dice.below(2) == 0 { GIB } else { dice.random() & ADDRESS & !(GIB - 1) };
            at | attributes | READ_ONLY | 1
        }
        1 | 2 if entry >= ENTRIES => {
            let at = places::writable(player.machine, dice) & ADDRESS;
            let block = dice.below(2) == 0;
            attributes | if block { at & !(BLOCK - 1) | 1 } else { at | 3 }
        }
        _ => {
            let table = match dice.below(4) {
                0 => places::outside(player.machine, dice) & ADDRESS,
                _ => tables + (1 + dice.below(TABLES - 1)) * TABLE,
            };
            table | attributes | 3
        }
    }
}

/// Tables for the upper half.
fn upper(player: &Player, tables: u64, dice: &mut Tally) -> u64 {
    match dice.below(3) {
        0 => tables + (1 + dice.below(TABLES - 1)) * TABLE,
        1 => places::outside(player.machine, dice) & ADDRESS,
        _ => dice.random() & !(3 << 30) | 1 << 35,
    }
}

fn touch(player: &Player, tables: u64, dice: &mut Tally) {
    let gigabyte = 2 + dice.below(62) + dice.below(2) * 63;
    let below = dice.random() & (GIB - 1);
    let at = match dice.below(8) {
        0 => dice.random(),
        1 | 2 => !0 << dice.below(48).max(12) | below,
        _ => gigabyte << 30 | below,
    };
    match dice.below(6) {
        0 | 1 => dice.step(|| read64(at & !7)),
        2 | 3 => dice.step(|| write64(at & !7, at)),
        4 => dice.count(exec::call(at & !3, 0)),
        _ if dice.below(4) == 0 => {
            let entry = dice.below(TABLES * ENTRIES);
            if !KEPT.contains(&entry) {
                let changed = descriptor(player, tables, entry, dice);
                write64(tables + entry * 8, changed);
            }
        }
        _ => {
            let kind = dice.below(4) as u32;
            dice.count(exec::run(exec::msr_x0(1, 0, 7, 8, kind), at));
        }
    }
}
