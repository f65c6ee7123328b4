//! The disk (VIRTIO 1.3 5.2): every kind of request, several at once, and what is beyond it.
//!
//! It writes to the first and last sectors: give it a disk that nobody needs.

use tessera_rt::mmio::{read8, read64};
use tessera_rt::report::{check, equal, same, skip};
use tessera_rt::virtio::blk::{
    Blk, F_DISCARD, F_FLUSH, F_RO, F_WRITE_ZEROES, IOERR, Op, SECTOR, UNSUPP,
};
use tessera_rt::virtio::{F_EVENT_IDX, F_INDIRECT, F_VERSION_1, INTERRUPTS, reg, status};
use tessera_rt::{Machine, cpu, dma, timer};

use core::sync::atomic::Ordering::SeqCst;

const BLOCK: u32 = 4096;
/// Sectors of a block.
const STEP: u64 = BLOCK as u64 / SECTOR;
/// Requests in flight at once.
const MANY: u64 = 8;

/// Runs the tests.
pub fn run(machine: &Machine) {
    let Some(node) = Blk::find(machine) else { return skip("disk", "none here") };
    let mut disk = match Blk::open(&node, u64::MAX) {
        Ok(disk) => disk,
        Err(why) => return same("the disk can be opened", Err(why), Ok(())),
    };
    check("version 1, indirect, event index", has(&disk, F_VERSION_1 | F_INDIRECT | F_EVENT_IDX));
    check("it is not in need of a reset", disk.device.read(reg::STATUS) & status::NEEDS_RESET == 0);
    capacity(machine, &disk);
    if has(&disk, F_RO) {
        return read_only(&mut disk);
    }
    for wanted in [u64::MAX, F_INDIRECT, F_EVENT_IDX, 0] {
        let agreed = disk.device.features() & (wanted | F_VERSION_1 | F_FLUSH);
        same("it can be reset and opened otherwise", disk.reopen(agreed & known()), Ok(()));
        transfers(&mut disk);
        in_flight(&mut disk);
    }
    same("and in full again", disk.reopen(disk.device.features() & known()), Ok(()));
    scattered(&mut disk);
    identity(&mut disk);
    zeroes(&mut disk);
    beyond(&mut disk);
    interrupt(&mut disk);
}

fn known() -> u64 {
    F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_RO | F_FLUSH | F_DISCARD | F_WRITE_ZEROES
}

fn has(disk: &Blk, features: u64) -> bool {
    disk.features & features == features
}

fn capacity(machine: &Machine, disk: &Blk) {
    match machine.arg("probe.sectors").and_then(|text| text.parse().ok()) {
        Some(sectors) => equal("the capacity is the partition's", disk.capacity(), sectors),
        None => check("the disk has a capacity", disk.capacity() > 16 * STEP),
    }
}

fn read_only(disk: &mut Blk) {
    let page = dma::pages(1);
    check("a read-only disk can be read", disk.run(Op::Read, 0, &[(page, BLOCK)]).is_ok());
    same("but not written", disk.run(Op::Write, 0, &[(page, BLOCK)]), Err(IOERR));
}

fn transfers(disk: &mut Blk) {
    let page = dma::pages(1);
    let last = disk.capacity() - STEP;
    for (seed, sector) in [(3, 0), (5, last)] {
        dma::fill(page, BLOCK as usize, seed);
        same("a block can be written", disk.run(Op::Write, sector, &[(page, BLOCK)]), Ok(1));
        dma::fill(page, BLOCK as usize, 0);
        let got = disk.run(Op::Read, sector, &[(page, BLOCK)]);
        same("and read, with its length told", got, Ok(BLOCK + 1));
        check("it is what was written", (0..u64::from(BLOCK)).all(|at| read8(page + at) == seed));
    }
    if has(disk, F_FLUSH) {
        same("the disk can be flushed", disk.run(Op::Flush, 0, &[]), Ok(1));
    }
}

fn in_flight(disk: &mut Blk) {
    let pages = dma::pages(MANY as usize);
    let page = |n| pages + n * dma::PAGE;
    let all = |disk: &mut Blk, op| {
        let slots: [usize; MANY as usize] =
            core::array::from_fn(|n| disk.prepare(op, n as u64 * STEP, &[(page(n as u64), BLOCK)]));
        disk.kick(MANY as u16);
        slots.iter().all(|slot| disk.wait(*slot).is_ok())
    };
    (0..MANY).for_each(|n| dma::fill(page(n), BLOCK as usize, 0x40 + n as u8));
    check("eight writes in flight are all done", all(disk, Op::Write));
    dma::fill(pages, (MANY * dma::PAGE) as usize, 0);
    check("eight reads in flight are all done", all(disk, Op::Read));
    let whole =
        |n: u64| read8(page(n)) == 0x40 + n as u8 && read8(page(n) + 4095) == 0x40 + n as u8;
    check("each has its own data", (0..MANY).all(whole));
}

/// One request of many pieces that are not pages.
fn scattered(disk: &mut Blk) {
    let page = dma::pages(1);
    let into = dma::pages(1);
    for at in 0..8 {
        dma::fill(page + at * SECTOR, SECTOR as usize, 0x80 + at as u8);
    }
    same("a block to be taken apart", disk.run(Op::Write, 0, &[(page, BLOCK)]), Ok(1));
    // Eight pieces, last first in memory, each with an odd place.
    let pieces: [(u64, u32); 8] =
        core::array::from_fn(|n| (into + (7 - n as u64) * SECTOR, SECTOR as u32));
    same("a read into eight pieces", disk.run(Op::Read, 0, &pieces), Ok(BLOCK + 1));
    let right = (0..8u64).all(|n| read8(into + (7 - n) * SECTOR + 9) == 0x80 + n as u8);
    check("each piece has its data", right);
    let odd = [(into + 1, 511), (into + 1024, 1)];
    same("a sector in pieces of odd size", disk.run(Op::Read, 1, &odd), Ok(513));
    check("has its data", read8(into + 1) == 0x81 && read8(into + 1024) == 0x81);
}

fn identity(disk: &mut Blk) {
    let page = dma::pages(1);
    dma::fill(page, 64, 0xee);
    same("the disk has an id", disk.run(Op::GetId, 0, &[(page, 20)]).is_ok(), true);
    check("of no more than 20 bytes", read8(page + 20) == 0xee);
    same(
        "an unknown request is unsupported",
        disk.run(Op::Unknown, 0, &[(page, 512)]),
        Err(UNSUPP),
    );
}

/// `struct virtio_blk_discard_write_zeroes`: sector, sectors, flags.
fn range(page: u64, sector: u64, sectors: u32) -> [(u64, u32); 1] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sector.to_le_bytes());
    bytes[8..12].copy_from_slice(&sectors.to_le_bytes());
    dma::store(page, &bytes);
    [(page, 16)]
}

fn zeroes(disk: &mut Blk) {
    let (page, request) = (dma::pages(1), dma::pages(1));
    let last = disk.capacity() - STEP;
    dma::fill(page, BLOCK as usize, 0xa5);
    if !has(disk, F_WRITE_ZEROES) {
        skip("write-zeroes", "not offered");
    } else {
        let _ = disk.run(Op::Write, last, &[(page, BLOCK)]);
        let got = disk.run(Op::WriteZeroes, 0, &range(request, last, STEP as u32 - 1));
        same("zeroes can be written", got, Ok(1));
        let _ = disk.run(Op::Read, last, &[(page, BLOCK)]);
        let zero = (0..u64::from(BLOCK) - SECTOR).step_by(8).all(|at| read64(page + at) == 0);
        check("they are there", zero);
        check("and not beyond", read8(page + u64::from(BLOCK) - SECTOR) == 0xa5);
        let got = disk.run(Op::WriteZeroes, 0, &range(request, last, STEP as u32 + 1));
        same("zeroes beyond the end fail", got, Err(IOERR));
    }
    if !has(disk, F_DISCARD) {
        return skip("discard", "not offered");
    }
    same(
        "blocks can be discarded",
        disk.run(Op::Discard, 0, &range(request, last, STEP as u32)),
        Ok(1),
    );
    let got = disk.run(Op::Discard, 0, &range(request, u64::MAX - 3, 8));
    same("a discard beyond the end fails", got, Err(IOERR));
}

fn beyond(disk: &mut Blk) {
    let page = dma::pages(1);
    let end = disk.capacity();
    for sector in [end, end - STEP + 1, end * 2, u64::MAX, u64::MAX / SECTOR, u64::MAX - STEP + 1] {
        same(
            "a read beyond the end fails",
            disk.run(Op::Read, sector, &[(page, BLOCK)]),
            Err(IOERR),
        );
        same(
            "a write beyond the end fails",
            disk.run(Op::Write, sector, &[(page, BLOCK)]),
            Err(IOERR),
        );
    }
    same("half a sector fails", disk.run(Op::Read, 0, &[(page, 100)]), Err(IOERR));
    check("the disk goes on", disk.run(Op::Read, 0, &[(page, BLOCK)]).is_ok());
}

fn interrupt(disk: &mut Blk) {
    let page = dma::pages(1);
    let before = INTERRUPTS.load(SeqCst);
    let done = (0..20).all(|n| {
        let slot = disk.submit(Op::Read, n * STEP % disk.capacity(), &[(page, BLOCK)]);
        disk.wait_with(slot, cpu::wfi).is_ok()
    });
    check("completions end wfi", done);
    let interrupted = || timer::comes(|| INTERRUPTS.load(SeqCst) > before);
    check("by interrupts", cpu::with_irqs(interrupted));
}
