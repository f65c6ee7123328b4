//! Questions to the Raspberry Pi's firmware: the property channel of its mailbox
//! (raspberrypi/firmware wiki, "Mailbox property interface"; Linux drivers/mailbox/bcm2835-mailbox.c).
//!
//! A message is a page of memory that both sides read; the firmware sees the first GiB at an address of its own, past
//! the caches. Asked at boot only, and never waited for long.

use core::sync::atomic::{AtomicU64, Ordering};

use tessera_core::addr::{PAGE_SIZE, Pa};
use tessera_core::hw::Hw;

use crate::hw::El2;
use crate::{barrier, cache, memory};

/// Its number of the clock that goes into EMMC2.
pub const EMMC2: u32 = 12;

const READ: u64 = 0x00;
const READ_STATUS: u64 = 0x18;
const WRITE: u64 = 0x20;
const WRITE_STATUS: u64 = 0x38;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;
/// The channel of properties, in the lower four bits of what is written and read.
const PROPERTIES: u32 = 8;
/// Where the firmware sees the first GiB without a cache.
const BUS: u32 = 0xc000_0000;
const REACH: u64 = 1 << 30;
/// The question for a clock's rate, and an answer that is one.
const GET_CLOCK_RATE: u32 = 0x0003_0002;
const ANSWERED: u32 = 1 << 31;
/// How long to wait, in milliseconds.
const PATIENCE: u64 = 100;

/// Where the registers are in EL2's address space; 0 where the board has none.
static MAILBOX: AtomicU64 = AtomicU64::new(0);

/// Remembers the registers, mapped.
pub fn init(registers: Pa) {
    MAILBOX.store(memory::direct(registers), Ordering::Relaxed);
}

/// The rate of clock `id` in kHz, or `None` where there is no firmware to ask, or it does not know.
pub fn clock_khz(id: u32) -> Option<u32> {
    let registers = MAILBOX.load(Ordering::Relaxed);
    if registers == 0 {
        return None;
    }
    let page = El2.take_frames(0)?;
    let rate = ask(registers, page, id);
    // Without an answer the page is lost: the firmware may write to it yet.
    if rate.is_some() {
        El2.give_frames(page, 0);
    }
    rate.map(|hz| hz / 1000).filter(|&khz| khz > 0)
}

fn ask(registers: u64, page: Pa, id: u32) -> Option<u32> {
    if page.0 + PAGE_SIZE > REACH {
        return None;
    }
    // Size, request; tag, bytes of its value, request; the clock, room for the rate; the end.
    let message = [32, 0, GET_CLOCK_RATE, 8, 0, id, 0, 0];
    for (n, word) in message.iter().enumerate() {
        El2.write(page.offset(4 * n as u64), &u32::to_le_bytes(*word));
    }
    cache::clean_invalidate(memory::direct(page), PAGE_SIZE);
    let address = BUS | page.0 as u32 | PROPERTIES;
    wait(|| (read(registers + WRITE_STATUS) & FULL == 0).then_some(()))?;
    // SAFETY: a register of the mailbox, mapped as a device. The firmware answers into the page, which is ours alone.
    unsafe { core::ptr::write_volatile((registers + WRITE) as *mut u32, address) };
    wait(|| {
        let there = read(registers + READ_STATUS) & EMPTY == 0;
        there.then(|| read(registers + READ)).filter(|&answer| answer == address)
    })?;
    barrier::dsb_sy();
    cache::clean_invalidate(memory::direct(page), PAGE_SIZE);
    let word = |n: u64| {
        let mut bytes = [0; 4];
        El2.read(page.offset(4 * n), &mut bytes);
        u32::from_le_bytes(bytes)
    };
    (word(1) == ANSWERED && word(5) == id).then(|| word(6))
}

fn read(at: u64) -> u32 {
    // SAFETY: a register of the mailbox, mapped as a device.
    unsafe { core::ptr::read_volatile(at as *const u32) }
}

fn wait<T>(mut until: impl FnMut() -> Option<T>) -> Option<T> {
    let end = El2.now().saturating_add(El2.counter_hz() / 1000 * PATIENCE);
    loop {
        if let Some(done) = until() {
            return Some(done);
        }
        if El2.now() > end {
            return None;
        }
    }
}
