//! The disk's queue, which all CPUs damage at once.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};

use tessera_rt::mmio::{write16, write32, write64};
use tessera_rt::virtio::blk::Blk;
use tessera_rt::virtio::queue::Desc;
use tessera_rt::virtio::{F_INDIRECT, F_VERSION_1, Transport, reg, status};
use tessera_rt::{Machine, cpu};

use super::{Player, places};
use crate::tally::Tally;

/// What the queue is made for when all is well.
pub const WANTED: u64 = F_VERSION_1 | F_INDIRECT;
const SIZE: u64 = 64;

static DISK: AtomicU64 = AtomicU64::new(0);
static AVAIL_IDX: AtomicU16 = AtomicU16::new(0);

/// Finds the disk.
pub fn find(machine: &Machine) {
    DISK.store(Blk::find(machine).map_or(0, |node| node.base), Relaxed);
}

/// Where the queue lies if it is at its place: behind the CPUs' own parts. Table, available and used ring, headers and
/// data, a page each.
fn page(n: u64) -> u64 {
    places::scratch() + places::SCRATCH - 0x8000 + n * 0x1000
}

/// Sets the queue up, mostly as it should be.
pub fn set_up(player: &Player, dice: &mut Tally) {
    let device = Transport { base: DISK.load(Relaxed) };
    if device.base == 0 {
        return;
    }
    let wanted =
        if dice.below(4) == 0 { dice.random() } else { WANTED | dice.random() & 0x2000_6230 };
    dice.step(|| device.negotiate(wanted));
    let size = match dice.below(8) {
        0 => dice.random() as u32,
        1 => 1 << dice.below(10),
        _ => SIZE as u32,
    };
    AVAIL_IDX.store(0, Relaxed);
    write16(page(1) + 2, 0);
    dice.step(|| device.write(reg::QUEUE_SEL, u32::from(size == 1)));
    dice.step(|| device.write(reg::QUEUE_NUM, size));
    for (part, register) in (0..).zip([reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE]) {
        let wrong = dice.below(12) == 0;
        let at = if wrong { places::writable(player.machine, dice) } else { page(part) };
        dice.step(|| device.write_address(register, at));
    }
    dice.step(|| device.write(reg::QUEUE_READY, 1));
    let live = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    dice.step(|| device.write(reg::STATUS, live));
}

/// Changes something in the rings or at the device, and lets it look.
pub fn damage(player: &Player, dice: &mut Tally) {
    let device = Transport { base: DISK.load(Relaxed) };
    if device.base == 0 {
        return;
    }
    match dice.below(10) {
        0..=2 => descriptor(player, dice),
        3 => header(dice),
        4..=6 => offer(device, dice),
        7 => dice.step(|| device.write(reg::QUEUE_NOTIFY, 0)),
        8 => {
            let bits = dice.random() as u32;
            dice.step(|| device.write(reg::INTERRUPT_ACK, bits));
        }
        _ => match dice.below(4) {
            0 => dice.step(|| device.write(reg::STATUS, 0)),
            1 => dice.step(|| device.write(reg::QUEUE_READY, 0)),
            2 => dice.step(|| device.write(reg::STATUS, status::FAILED)),
            _ => {
                let at = dice.below(0x200);
                dice.step(|| device.read(at & !3));
            }
        },
    }
}

fn descriptor(player: &Player, dice: &mut Tally) {
    let addr = match dice.below(8) {
        0 => places::writable(player.machine, dice),
        1 => page(dice.below(3)),
        2..=4 => page(3) + dice.below(16) * 16,
        _ => page(4) + dice.below(8) * 512,
    };
    let len = match dice.below(8) {
        0 => dice.random() as u32,
        1 => dice.below(0x1_0000) as u32,
        2 | 3 => 512 << dice.below(4),
        4 => 1,
        _ => 16,
    };
    let flags = if dice.below(16) == 0 { dice.random() as u16 } else { dice.below(8) as u16 };
    let next = if dice.below(16) == 0 { dice.random() } else { dice.below(SIZE) } as u16;
    // A table, or what an indirect descriptor may take for one.
    let table = [page(0), page(0), page(0), page(3)][dice.below(4) as usize];
    Desc { addr, len, flags, next }.put(table, dice.below(SIZE) as u16);
}

/// A request's first 16 bytes.
fn header(dice: &mut Tally) {
    let at = page(3) + dice.below(16) * 16;
    let kind = if dice.below(8) == 0 { dice.random() } else { dice.below(16) };
    write32(at, kind as u32);
    write32(at + 4, dice.random() as u32);
    write64(at + 8, if dice.below(2) == 0 { dice.below(0x8000) } else { dice.random() });
}

fn offer(device: Transport, dice: &mut Tally) {
    let head = if dice.below(16) == 0 { dice.random() } else { dice.below(SIZE) } as u16;
    let index = AVAIL_IDX.fetch_add(1, Relaxed);
    write16(page(1) + 4 + u64::from(index) % SIZE * 2, head);
    cpu::dsb();
    let jump = if dice.below(32) == 0 { dice.random() as u16 } else { 1 };
    write16(page(1) + 2, index.wrapping_add(jump));
    cpu::dsb();
    if dice.below(2) == 0 {
        dice.step(|| device.write(reg::QUEUE_NOTIFY, 0));
    }
}
