//! A 4 KiB read from the disk, without the wait for it and without what the guest makes of its interrupt.
//!
//! How long the disk takes depends on the host, and with it what this CPU executes meanwhile. So the wait is a loop whose
//! turns all have the same length, and of it only that counts which interrupted it.

use tessera_rt::virtio::blk::{Blk, Op};
use tessera_rt::{Machine, cpu, dma, println, timer};

use crate::ROUNDS;

/// Prints the row, where there is a disk.
pub fn run(machine: &Machine) {
    let Some(Ok(mut disk)) = Blk::find(machine).map(|node| Blk::open(&node, u64::MAX)) else {
        return println!("no disk");
    };
    let buffer = dma::pages(1);
    let mut rounds = [0; ROUNDS];
    for (round, ticks) in (0..).zip(&mut rounds) {
        *ticks = read(&mut disk, round * 8, buffer).unwrap_or(u64::MAX);
    }
    println!("BENCH blk_4k {}", middle(&rounds));
}

/// The middle one. Not the least: the host's thread that serves the disk may come between two reads of the counter.
fn middle(rounds: &[u64]) -> u64 {
    let is_it = |&&ticks: &&u64| {
        let below = rounds.iter().filter(|&&other| other < ticks).count();
        let above = rounds.iter().filter(|&&other| other > ticks).count();
        below <= rounds.len() / 2 && above <= rounds.len() / 2
    };
    rounds.iter().find(is_it).copied().unwrap_or(0)
}

/// What a read takes; nothing where it fails.
fn read(disk: &mut Blk, sector: u64, buffer: u64) -> Option<u64> {
    let before = timer::now();
    let slot = disk.prepare(Op::Read, sector, &[(buffer, 4096)]);
    let prepared = timer::now() - before;
    // The disk does not know of it yet: this is the loop alone, whose first turn is another than those that follow.
    let [one, two] = [1, 2].map(|most| (0..ROUNDS).map(|_| wait(disk, slot, most).1).min());
    let (one, two) = (one?, two?);
    let before = timer::now();
    disk.kick(1);
    let kicked = timer::now() - before;
    let (turns, waited) = wait(disk, slot, u64::MAX);
    let alone = one + (turns - 1) * (two - one);
    // So that the next one's interrupt finds none before it.
    cpu::with_irqs(|| ());
    disk.wait(slot).ok().map(|_| prepared + kicked + (waited - alone))
}

/// Waits for a request, `most` turns at most: how many they were, and their ticks.
#[inline(never)]
fn wait(disk: &mut Blk, slot: usize, most: u64) -> (u64, u64) {
    let first = timer::now();
    let mut turns = 0;
    loop {
        turns += 1;
        let busy = disk.is_busy(slot);
        // After the look: what ended the wait came before it.
        let now = timer::now();
        if !busy || turns == most {
            return (turns, now - first);
        }
    }
}
