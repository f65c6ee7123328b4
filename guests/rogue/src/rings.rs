//! The disk's queue, lied to.
//!
//! After each lie the device may do nothing, fail the request or ask for a reset; then it is reset, and at the end a
//! proper read must work.

use tessera_rt::mmio::{write16, write32, write64};
use tessera_rt::virtio::blk::{Blk, Op};
use tessera_rt::virtio::queue::{Desc, INDIRECT, NEXT, WRITE};
use tessera_rt::virtio::{F_INDIRECT, F_VERSION_1, reg, status};
use tessera_rt::{Machine, dma, timer};

use crate::tally::Tally;

const WANTED: u64 = F_VERSION_1 | F_INDIRECT;
const RANDOM_REQUESTS: u64 = 300;

fn disk(machine: &Machine) -> Option<Blk> {
    Blk::find(machine).and_then(|node| Blk::open(&node, WANTED).ok())
}

/// Tells the device to look, waits a little and starts again.
fn provoke(disk: &mut Blk, tally: &mut Tally) {
    tally.step(|| disk.device.write(reg::QUEUE_NOTIFY, 0));
    timer::sleep(200);
    if disk.reopen(WANTED).is_err() {
        tally.complain("the disk does not come back from a reset", disk.device.base, 0);
    }
}

/// The disk still does what it should.
fn check(disk: &mut Blk, tally: &mut Tally) {
    let page = dma::pages(1);
    if disk.run(Op::Read, 0, &[(page, 4096)]).is_err() {
        tally.complain("the disk does not read any more", disk.device.base, 0);
    }
}

/// Attack 11.
pub fn chains(machine: &Machine, tally: &mut Tally) {
    let Some(mut disk) = disk(machine) else { return };
    let memory = dma::pages(3);
    let (header, data, table) = (memory, memory + 0x1000, memory + 0x2000);
    let read = Desc { addr: header, len: 16, flags: NEXT, next: 1 };
    let into = Desc { addr: data, len: 512, flags: NEXT | WRITE, next: 2 };
    let done = Desc { addr: header + 16, len: 1, flags: WRITE, next: 0 };
    let end = machine.ram_end();
    let indirect = |addr, len, flags| Desc { addr, len, flags: flags | INDIRECT, next: 1 };
    let lies: [[Desc; 3]; 34] = [
        [Desc { next: 0, ..read }, into, done],
        [read, Desc { next: 0, ..into }, done],
        [read, Desc { next: 1, ..into }, done],
        [read, into, Desc { flags: WRITE | NEXT, next: 0, ..done }],
        [Desc { next: 0xffff, ..read }, into, done],
        [Desc { next: disk.queue.size, ..read }, into, done],
        [Desc { addr: 0, ..read }, into, done],
        [Desc { addr: 0x0900_0000, ..read }, into, done],
        [Desc { addr: u64::MAX - 8, ..read }, into, done],
        [Desc { addr: end - 8, ..read }, into, done],
        [Desc { addr: end, ..read }, into, done],
        [Desc { len: 0, ..read }, into, done],
        [Desc { len: 15, ..read }, into, done],
        [Desc { len: u32::MAX, ..read }, into, done],
        [Desc { flags: NEXT | WRITE, ..read }, into, done],
        [Desc { flags: 0, ..read }, into, done],
        [read, Desc { addr: 0x0800_0000, ..into }, done],
        [read, Desc { addr: end - 256, ..into }, done],
        [read, Desc { addr: u64::MAX - 511, ..into }, done],
        [read, Desc { addr: (1 << 63) | data, ..into }, done],
        [read, Desc { len: u32::MAX, ..into }, done],
        [read, Desc { len: !511, addr: 0x4000_0000, ..into }, done],
        [read, Desc { len: 0, ..into }, done],
        [read, Desc { flags: NEXT, ..into }, done],
        [read, into, Desc { flags: 0, ..done }],
        [read, into, Desc { len: 0, ..done }],
        [read, into, Desc { addr: end, ..done }],
        [read, into, Desc { addr: 0x0900_0000, ..done }],
        [indirect(disk.queue.desc, 48, 0), into, done],
        [indirect(table, 0, 0), into, done],
        [indirect(table, 17, 0), into, done],
        [indirect(table, !15, 0), into, done],
        [indirect(end - 16, 48, 0), into, done],
        [indirect(table, 48, NEXT | WRITE), into, done],
    ];
    for lie in lies {
        for (index, desc) in (0..).zip(lie) {
            desc.put(disk.queue.desc, index);
        }
        disk.queue.offer(0);
        provoke(&mut disk, tally);
    }
    nested(&mut disk, table, tally);
    indices(&mut disk, tally);
    check(&mut disk, tally);
}

/// Indirect tables that point to themselves, to each other, and on and on.
fn nested(disk: &mut Blk, table: u64, tally: &mut Tally) {
    let itself = Desc { addr: table, len: 4096, flags: INDIRECT, next: 0 };
    for flags in [INDIRECT, INDIRECT | NEXT, NEXT] {
        itself.put(disk.queue.desc, 0);
        for index in 0..256 {
            Desc { flags, next: (index + 1) % 256, ..itself }.put(table, index);
        }
        disk.queue.offer(0);
        provoke(disk, tally);
    }
}

/// Available indices and heads that cannot be.
fn indices(disk: &mut Blk, tally: &mut Tally) {
    let size = disk.queue.size;
    for jump in [size + 1, size * 2, 0x7fff, 0x8000, 0xffff] {
        disk.queue.set_avail_idx(jump);
        provoke(disk, tally);
    }
    for head in [size, size + 1, 0x8000, 0xffff] {
        disk.queue.offer(head);
        provoke(disk, tally);
    }
    for place in 0..u64::from(size) {
        write16(disk.queue.avail + 4 + place * 2, 0);
    }
    disk.queue.set_avail_idx(size);
    provoke(disk, tally);
}

/// Attack 12: the queue itself lies where no queue can be.
pub fn places(machine: &Machine, tally: &mut Tally) {
    let Some(mut disk) = disk(machine) else { return };
    let end = machine.ram_end();
    let good = disk.queue.desc;
    let nowhere = [
        0,
        0x0800_0000,
        0x0900_0000,
        0x0a00_0000,
        end,
        end - 8,
        end - 0x800,
        u64::MAX - 15,
        u64::MAX,
        1 << 47,
        good + 1,
        good + 8,
        good,
    ];
    for at in nowhere {
        for part in [reg::QUEUE_DESC, reg::QUEUE_DRIVER, reg::QUEUE_DEVICE] {
            for size in [1, 64, 3, 0, 0xffff, u32::MAX] {
                begin(&disk);
                disk.device.write(reg::QUEUE_NUM, size);
                disk.device.write_address(reg::QUEUE_DESC, good);
                disk.device.write_address(reg::QUEUE_DRIVER, good + 0x1000);
                disk.device.write_address(reg::QUEUE_DEVICE, good + 0x2000);
                disk.device.write_address(part, at);
                tally.step(|| disk.device.write(reg::QUEUE_READY, 1));
                disk.device.go();
                write16(good + 0x1002, 1);
                tally.step(|| disk.device.write(reg::QUEUE_NOTIFY, 0));
            }
        }
    }
    disorder(&disk, tally);
    same_again(&mut disk, tally);
    check(&mut disk, tally);
}

fn begin(disk: &Blk) {
    let _ = disk.device.negotiate(WANTED);
    disk.device.write(reg::QUEUE_SEL, 0);
}

/// Registers in orders that the specification forbids.
fn disorder(disk: &Blk, tally: &mut Tally) {
    let device = disk.device;
    for _ in 0..2_000 {
        let register = tally.below(0x140) & !3;
        let value = match tally.below(4) {
            0 => tally.random() as u32,
            1 => status::DRIVER_OK | status::FEATURES_OK | status::DRIVER | status::ACKNOWLEDGE,
            2 => tally.below(8) as u32,
            _ => 0,
        };
        // Addresses stay above all memory, so that a queue that does come to life writes nowhere.
        let high = matches!(register, 0x84 | 0x94 | 0xa4);
        tally.step(|| device.write(register, if high { value | 1 << 20 } else { value }));
        tally.step(|| device.read(register));
    }
    for queue in [1, 2, 0x7fff_ffff, u32::MAX] {
        device.write(reg::QUEUE_SEL, queue);
        tally.step(|| device.read(reg::QUEUE_NUM_MAX));
        tally.step(|| device.write(reg::QUEUE_READY, 1));
        tally.step(|| device.write(reg::QUEUE_NOTIFY, queue));
    }
}

fn same_again(disk: &mut Blk, tally: &mut Tally) {
    for _ in 0..100 {
        disk.device.reset();
        disk.device.write(reg::QUEUE_NOTIFY, 0);
    }
    if disk.reopen(WANTED).is_err() {
        tally.complain("the disk does not come back from a reset", disk.device.base, 0);
    }
}

/// Attack 13: well-formed chains whose headers are anything.
pub fn requests(machine: &Machine, tally: &mut Tally) {
    let Some(mut disk) = disk(machine) else { return };
    let page = dma::pages(2);
    for _ in 0..RANDOM_REQUESTS {
        let kind = if tally.below(2) == 0 { tally.below(20) } else { tally.random() };
        write32(page, kind as u32);
        write32(page + 4, tally.random() as u32);
        write64(page + 8, tally.random() >> tally.below(64));
        let length = (tally.random() >> tally.below(32)) as u32 % 0x1000;
        let flags = NEXT | if tally.below(2) == 0 { WRITE } else { 0 };
        Desc { addr: page, len: 16, flags: NEXT, next: 1 }.put(disk.queue.desc, 0);
        Desc { addr: page + 0x1000, len: length, flags, next: 2 }.put(disk.queue.desc, 1);
        Desc { addr: page + 16, len: 1, flags: WRITE, next: 0 }.put(disk.queue.desc, 2);
        disk.queue.offer(0);
        provoke(&mut disk, tally);
    }
    check(&mut disk, tally);
}
