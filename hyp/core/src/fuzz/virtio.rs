//! A guest's driver gone wild, on the virtio disk in front of a model of the board's disk.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::addr::Pa;
use crate::disk::model::*;
use crate::disk::{SECTOR_SIZE, Window};
use crate::hw::fake::FakeHw;
use crate::virtio::blk::Effect;
use crate::virtio::blk::request::kind;
use crate::virtio::reg;

/// Sectors of the board's disk, and those that are the guest's.
const SECTORS: u64 = 160;
const WINDOW: Window = Window { first: 40, sectors: 80, read_only: false };
/// Bytes of the machine: below, the guest's RAM and memory that is nobody's; above, what the disk's driver takes.
const MEMORY: usize = 2 << 20;

/// A program: requests, good and bad; bytes in rings and tables; stores to registers; a disk that is slow. Its first byte
/// says what kind of disk the board has. Nothing outside the guest's RAM or its partition changes, and a reset comes to
/// its end. Returns how many requests reached the disk.
pub fn blk(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let how = choices.byte();
    let make = [MODERN, LEGACY, POOR][usize::from(how % 3)];
    let window = Window { read_only: how & 0x30 == 0x30, ..WINDOW };
    let hw = FakeHw::new(Pa(0x8000_0000), MEMORY);
    let model = Model::new(&hw, make, SECTORS);
    let before = model.state.borrow().data.clone();
    let mut board = Board::of(&hw, &model, &[window]);
    board.bring_up(0);
    while !choices.is_over() {
        step(&mut choices, &mut board);
        assert!(board.guests[0].blk.in_flight() <= 128);
    }
    restart(&mut board);
    assert_eq!(board.guests[0].blk.in_flight(), 0);
    let state = model.state.borrow();
    let (first, end) = (window.first, window.first + window.sectors);
    for &(code, sector, sectors) in &state.log {
        let inside = sector >= first && sector + sectors <= end;
        assert!(code == kind::FLUSH || inside, "{code} {sector} {sectors}");
        assert!(!window.read_only || code == kind::IN || code == kind::FLUSH, "{code}");
    }
    let (from, to) = ((first * SECTOR_SIZE) as usize, (end * SECTOR_SIZE) as usize);
    assert!(state.data[..from] == before[..from] && state.data[to..] == before[to..]);
    let memory = hw.memory.borrow();
    let others = &memory[RAM_SIZE as usize..MEMORY / 2];
    assert!(*others == vec![0; others.len()], "memory of others was written");
    state.log.len()
}

fn step(choices: &mut Choices<'_>, board: &mut Board<'_>) {
    let what = choices.byte();
    match what & 15 {
        0..=3 => request(choices, board),
        4 | 5 => spoil(choices, board),
        6 => {
            let wild = what & 0x30 == 0;
            let offset = if wild { choices.below(0x200) } else { choices.pick(&reg::WRITTEN) };
            let values = [0, 1, 2, 15, 128, DESC, AVAIL, USED, RAM + RAM_SIZE - 16];
            let value = if what & 0x40 == 0 { choices.next() } else { choices.pick(&values) };
            let _ = board.store(0, offset, value);
        }
        7 => {
            let blk = &board.guests[0].blk;
            let _ = blk.mmio_read(choices.below(0x200), 1 << (what >> 4 & 3));
        }
        8 => board.model.state.borrow_mut().deferred = what & 16 != 0,
        9 => board.model.state.borrow_mut().status_to_give = (what & 16 != 0).then_some(what >> 5),
        10 => restart_and_go_on(board),
        _ => {
            let _ = board.notify(0);
            board.model.run(usize::from(what >> 4));
            board.irq();
        }
    }
}

fn request(choices: &mut Choices<'_>, board: &mut Board<'_>) {
    let code = choices.pick(&[0, 0, 1, 1, 4, 8, 11, 13, 2]);
    let (n, sector) = (choices.below(6) as u16, choices.below(WINDOW.sectors + 4));
    let len = choices.below(20) as u32;
    if code >= kind::DISCARD {
        board.range(0, n, code, (sector, len, u32::from(choices.byte() & 1)));
    } else {
        let half = RAM + RAM_SIZE / 2 - 256;
        let place = choices.pick(&[DATA + 0x1000, half]);
        board.request(0, n, code, sector, &[(DATA, 512), (place, len * 512)]);
    }
}

/// Writes something that is often a plausible part of a ring to where it may be taken for one.
fn spoil(choices: &mut Choices<'_>, board: &Board<'_>) {
    let at = match choices.below(8) {
        0 => AVAIL + choices.below(8),
        1 => AVAIL + choices.below(300),
        2 => FRAMES + choices.below(16) * 64 + choices.below(16),
        3..5 => DESC + choices.below(16) * 16 + choices.below(4) * 4,
        5..7 => TABLES + choices.below(64) * 16 + choices.below(4) * 4,
        _ => RAM + choices.below(RAM_SIZE - 8),
    };
    let value = match choices.below(6) {
        0 => choices.next(),
        1 => choices.below(16),
        2 => DATA + choices.below(0x1000),
        3 => TABLES + choices.below(256) * 16,
        4 => choices.below(2000),
        _ => RAM + RAM_SIZE - choices.below(32),
    };
    let len = 1 << choices.below(4);
    board.write(0, at, &value.to_le_bytes()[..len]);
}

/// Resets the device and lets the disk finish, after which the reset must be complete.
fn restart(board: &mut Board<'_>) {
    let _ = board.store(0, reg::STATUS, 0);
    let mut state = board.model.state.borrow_mut();
    (state.deferred, state.status_to_give) = (false, None);
    drop(state);
    board.model.run(usize::MAX);
    board.irq();
    assert_eq!(board.store(0, reg::STATUS, 0), Effect::default());
    assert_eq!(board.load(0, reg::STATUS), 0);
}

fn restart_and_go_on(board: &mut Board<'_>) {
    restart(board);
    board.write(0, RAM, &[0; 0x3000]);
    board.bring_up(0);
}

pub fn seeds() -> Vec<Vec<u8>> {
    // A read, a write and a flush, one after the other; then a slow disk and a reset.
    let one = |code: u8| vec![0, code, 1, 5, 2, 0, 0xfb];
    let fine = [vec![0], one(0), one(2), one(4), vec![0x18], one(0), vec![10]].concat();
    let mut all = vec![fine];
    all.extend((1..4).map(|seed| Random(seed).bytes(300)));
    all
}
