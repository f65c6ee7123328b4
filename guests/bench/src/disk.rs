//! A 4 KiB read from the disk.

use tessera_rt::virtio::blk::{Blk, Op};
use tessera_rt::{Machine, cpu, dma, println, timer};

use crate::ROUNDS;

/// Prints the row, where there is a disk.
pub fn run(machine: &Machine) {
    let Some(Ok(mut disk)) = Blk::find(machine).map(|node| Blk::open(&node, u64::MAX)) else {
        return println!("no disk");
    };
    let buffer = dma::pages(1);
    let mut least = u64::MAX;
    for round in 0..ROUNDS as u64 {
        let before = timer::now();
        let slot = disk.submit(Op::Read, round * 8, &[(buffer, 4096)]);
        let done = disk.wait_with(slot, cpu::wfi);
        let after = timer::now();
        if done.is_ok() {
            least = least.min(after - before);
        }
    }
    println!("BENCH blk_4k {least}");
}
