//! Loads, stores and fetches, of devices and of anything.

use tessera_rt::console::{self, UART};
use tessera_rt::exec;
use tessera_rt::mmio::{read8, read16, read32, read64, write8, write16, write32, write64};
use tessera_rt::mmu::{self, Kind};

use super::{Player, places};
use crate::devices::{self, BLANK, ODD};
use crate::tally::Tally;

/// A register of a device, or what lies between them. Not of the UART.
fn register(player: &Player, dice: &mut Tally) -> u64 {
    let (base, bytes) = devices::any(player.machine, dice);
    let offset = match dice.below(4) {
        0 => dice.below(bytes),
        1 => dice.below(bytes) & !0xffff | dice.below(0x1000),
        _ => dice.below(bytes.min(0x1000)),
    };
    let offset = if dice.below(8) == 0 { offset } else { offset & !3 };
    // Where a disk's queue is, is chosen elsewhere, and other devices get none, or they would write to the guest itself.
    let virtio = player.machine.virtio().iter().any(|node| node.base == base);
    let queue = virtio && (0x80..0xb0).contains(&offset);
    if queue { base + 0x70 } else { base + offset }
}

/// An access of any size.
pub fn device(player: &Player, dice: &mut Tally) {
    let at = register(player, dice);
    let value = places::value(player.machine, dice);
    access(at, value, dice);
}

fn access(at: u64, value: u64, dice: &mut Tally) {
    match dice.below(12) {
        0 => dice.step(|| read8(at)),
        1 => dice.step(|| read16(at)),
        2..=4 => dice.step(|| read32(at)),
        5 => dice.step(|| read64(at)),
        6 => dice.step(|| write8(at, value as u8)),
        7 => dice.step(|| write16(at, value as u16)),
        8..=10 => dice.step(|| write32(at, value as u32)),
        _ => dice.step(|| write64(at, value)),
    }
}

/// An instruction that a syndrome does not describe.
pub fn device_oddly(player: &Player, dice: &mut Tally) {
    let at = register(player, dice);
    let kind = [Kind::Device, Kind::NonCacheable, Kind::Normal][dice.below(3) as usize];
    let va = mmu::map(at, kind, false);
    let instruction = ODD[dice.below(ODD.len() as u64) as usize];
    dice.count(exec::run(instruction, va));
}

/// An access where perhaps nothing is, or a jump there.
pub fn anywhere(player: &Player, dice: &mut Tally) {
    let pa = places::outside(player.machine, dice);
    let kind = [Kind::Device, Kind::NonCacheable, Kind::Normal][dice.below(3) as usize];
    let va = mmu::map(pa, kind, true);
    if dice.below(4) == 0 {
        return dice.count(exec::call(va & !3, 0));
    }
    let value = places::value(player.machine, dice);
    access(va, value, dice);
}

/// The UART, as data a space or what disturbs no reader of the console.
pub fn uart(_: &Player, dice: &mut Tally) {
    if dice.below(4) == 0 {
        let byte = [b'.', 0, 7, 8, 9, 0x7f, 0x80, 0xff][dice.below(8) as usize];
        return dice.step(|| console::put(byte));
    }
    let offset = if dice.below(2) == 0 { dice.below(0x50) & !3 } else { dice.below(0x1000) };
    let value = if offset < 4 { BLANK } else { dice.random() };
    access(UART + offset, value, dice);
}
