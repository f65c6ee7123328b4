//! The power button: a virtio device whose rings may hold anything.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::addr::{Ipa, Pa};
use crate::guest_mem::{Extent, GuestRam};
use crate::hw::Hw;
use crate::hw::fake::FakeHw;
use crate::virtio::input::PowerButton;
use crate::virtio::{desc, feature, reg, status};

/// The guest's RAM: a page, with the rings of both queues.
const RAM: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;
const BOARD: Pa = Pa(0x8000_0000);
const DESC: u64 = RAM;
const AVAIL: u64 = RAM + 0x200;
const USED: u64 = RAM + 0x300;
const EVENTS: u64 = RAM + 0x400;

struct Guest {
    hw: FakeHw,
    ram: GuestRam,
    button: PowerButton,
}

impl Guest {
    fn store(&mut self, offset: u64, size: u8, value: u64) {
        let _ = self.button.mmio_write(offset, size, value, &self.hw, &self.ram);
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.ram.write(&self.hw, Ipa(at), bytes);
    }

    /// What a driver does until it listens, with 16 buffers of 8 bytes.
    fn bring_up(&mut self) {
        for (offset, value) in [
            (reg::STATUS, 0),
            (reg::STATUS, u64::from(status::ACKNOWLEDGE | status::DRIVER)),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, feature::VERSION_1 >> 32),
            (reg::STATUS, 11),
            (reg::QUEUE_SEL, 0),
            (reg::QUEUE_NUM, 16),
            (reg::QUEUE_DESC, DESC),
            (reg::QUEUE_DRIVER, AVAIL),
            (reg::QUEUE_DEVICE, USED),
            (reg::QUEUE_READY, 1),
            (reg::STATUS, 15),
        ] {
            self.store(offset, 4, value);
        }
        for n in 0..16u64 {
            let high = 8 | u64::from(desc::WRITE) << 32;
            let descriptor = [(EVENTS + 8 * n).to_le_bytes(), high.to_le_bytes()].concat();
            self.write(DESC + 16 * n, &descriptor);
            self.write(AVAIL + 4 + 2 * n, &(n as u16).to_le_bytes());
        }
        self.write(AVAIL, &[0, 0, 16, 0]);
    }
}

/// A program: a driver that comes up, presses, stores, and bytes in the rings. Memory of others stays as it is. Returns how
/// many presses arrived whole.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let hw = FakeHw::new(BOARD, 4 * PAGE as usize);
    let Ok(ram) = GuestRam::new(vec![Extent { ipa: Ipa(RAM), pa: BOARD, len: PAGE }]) else {
        return 0;
    };
    let mut guest = Guest { hw, ram, button: PowerButton::new() };
    let mut arrived = 0;
    while !choices.is_over() {
        let what = choices.byte();
        match what & 7 {
            0 => guest.bring_up(),
            1 | 2 => {
                let _ = guest.button.press(&guest.hw, &guest.ram);
                assert!(guest.button.is_driven() || guest.button.is_waiting());
                arrived += usize::from(!guest.button.is_waiting());
            }
            3 => {
                let wild = what & 0x30 == 0;
                let offset = if wild { choices.below(0x200) } else { choices.pick(&reg::WRITTEN) };
                let size = if wild { 1 << choices.below(4) } else { 4 };
                let value = if what & 0x40 == 0 { choices.next() } else { choices.byte().into() };
                guest.store(offset, size, value);
            }
            4 => {
                let value = guest.button.mmio_read(choices.below(0x200), 1 << (what >> 3 & 3));
                assert!(what >> 3 & 3 == 3 || value < 1 << (8 << (what >> 3 & 3)));
            }
            5 => guest.store(reg::QUEUE_NOTIFY, 4, u64::from(what >> 3 & 3)),
            _ => {
                let at = RAM + choices.below(0x400);
                let value = choices.take::<2>();
                guest.write(at, &value);
            }
        }
        let _ = guest.button.take_fault();
    }
    let mut rest = [0; 3 * PAGE as usize];
    guest.hw.read(BOARD.offset(PAGE), &mut rest);
    assert!(rest.iter().all(|&byte| byte == 0), "memory of others was written");
    arrived
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0, 1, 5, 1, 1, 1], vec![1, 0, 5, 13], Random(1).bytes(200), Random(2).bytes(200)]
}
