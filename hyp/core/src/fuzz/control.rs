//! The control port: a program of a guest that asks anything, over rings that may hold anything.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::control::fake::{self, Guest, RECEIVE, TRANSMIT, place};
use crate::virtio::driver::RAM_SIZE;

const WORDS: [&[u8]; 24] = [
    b"1",
    b"2",
    b"99999999999",
    b"vm",
    b"list",
    b"show",
    b"stop",
    b"pause",
    b"web",
    b"db",
    b"top",
    b"log",
    b"mem",
    b"irq",
    b"disk",
    b"regs",
    b"trace",
    b"events",
    b"on",
    b"off",
    b"help",
    b"\n",
    b"\x1e",
    b"\xff",
];

/// A program: requests and pieces of them, buffers for answers, a port that is opened and closed, damage to rings and
/// registers. Each store is done after a bounded number of pieces, and memory of others stays as it is. Returns how often the
/// guest was told something.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let mut guest = fake::open();
    while !choices.is_over() {
        let what = choices.byte();
        match what & 7 {
            0..=2 => ask(&mut choices, &mut guest),
            3 | 4 => give(&mut guest, u16::from(what >> 4), 1 << (what >> 3 & 7)),
            5 => guest.set_open(what & 8 != 0),
            6 => {
                let now = guest.device.control.waits_until();
                guest.device.world.clock.set(now.unwrap_or_else(|| choices.word().into()));
                let _ = guest.serve();
            }
            _ if what & 0x30 == 0x30 => guest.bring_up(),
            _ => guest.spoil(&mut Random(choices.next())),
        }
        let _ = guest.device.control.port.lock().take_fault();
    }
    let memory = guest.hw.memory.borrow();
    let others = &memory[RAM_SIZE as usize..];
    assert!(*others == vec![0; others.len()], "memory of others was written");
    guest.interrupts as usize
}

/// Writes words and lets them be served, as often as it takes.
fn ask(choices: &mut Choices<'_>, guest: &mut Guest) {
    let words: Vec<&[u8]> = (0..1 + choices.below(5)).map(|_| choices.pick(&WORDS)).collect();
    let mut text = words.join(&b" "[..]);
    text.push(if choices.byte() & 3 == 0 { b' ' } else { b'\n' });
    guest.write(place(TRANSMIT, 0), &text);
    guest.offer(TRANSMIT, 0, &[(place(TRANSMIT, 0), text.len() as u32, false)]);
    guest.notify(TRANSMIT);
    // A spoiled ring may hold as many requests again.
    for _ in 0..64 {
        if !guest.device.more {
            return;
        }
        guest.notify(TRANSMIT);
    }
}

/// Gives buffers for answers.
fn give(guest: &mut Guest, count: u16, len: u32) {
    for n in 0..count {
        guest.offer(RECEIVE, n, &[(place(RECEIVE, n), 8 * len, true)]);
    }
    guest.notify(RECEIVE);
}

pub fn seeds() -> Vec<Vec<u8>> {
    // `1 help`, and buffers to read the answer with.
    let mut fine = vec![0, 1, 0, 20, 1];
    fine.extend([0xfc; 8]);
    let mut all = vec![fine];
    all.extend((1..4).map(|seed| Random(seed).bytes(200)));
    all
}
