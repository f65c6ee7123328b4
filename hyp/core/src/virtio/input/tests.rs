//! A guest's driver in guest memory and the button.

use alloc::vec::Vec;

use super::*;
use crate::disk::model::Random;
use crate::hw::fake::FakeHw;
use crate::virtio::driver::{DATA, Device, Driver, RAM, RAM_SIZE, SIZE};
use crate::virtio::status;

impl Device for PowerButton {
    fn load(&self, offset: u64, size: u8) -> u64 {
        self.mmio_read(offset, size)
    }
    fn store(&mut self, offset: u64, size: u8, value: u64, hw: &FakeHw, ram: &GuestRam) -> bool {
        self.mmio_write(offset, size, value, hw, ram)
    }
}

type Guest = Driver<PowerButton>;

/// A guest whose driver has not begun.
fn guest() -> Guest {
    Driver::new(PowerButton::new(), 2, 0)
}

fn ready() -> Guest {
    let mut guest = guest();
    guest.bring_up();
    guest
}

impl Guest {
    fn press(&mut self) {
        self.interrupts += u32::from(self.device.press(&self.hw, &self.ram));
    }

    /// Offers buffers for `count` events and notifies.
    fn give_buffers(&mut self, count: u16) {
        for n in 0..count {
            self.offer(queue::EVENT, n, &[(DATA + 8 * u64::from(n), 8, true)]);
        }
        self.notify(queue::EVENT);
    }

    /// The events (type, code, value) that came.
    fn events(&mut self) -> Vec<(u16, u16, u32)> {
        let used = self.used(queue::EVENT);
        let event = |(head, len): (u32, u32)| {
            assert_eq!(len, 8);
            let raw = self.read(DATA + 8 * u64::from(head), 8);
            let raw = u64::from_le_bytes(raw.try_into().unwrap());
            (raw as u16, (raw >> 16) as u16, (raw >> 32) as u32)
        };
        used.into_iter().map(event).collect()
    }

    /// What the configuration answers to a question.
    fn ask(&mut self, select: u8, subsel: u8) -> Vec<u8> {
        self.store_sized(reg::CONFIG, 1, select.into());
        self.store_sized(reg::CONFIG + 1, 1, subsel.into());
        let size = self.device.mmio_read(reg::CONFIG + 2, 1);
        (0..size).map(|at| self.device.mmio_read(reg::CONFIG + 8 + at, 1) as u8).collect()
    }
}

const DOWN_AND_UP: [(u16, u16, u32); 4] = [(1, 116, 1), (0, 0, 0), (1, 116, 0), (0, 0, 0)];

#[test]
fn a_driver_finds_a_keyboard_whose_only_key_is_the_power_key() {
    let mut guest = guest();
    assert_eq!(guest.load(reg::DEVICE_ID), 18);
    assert_eq!(guest.ask(0x01, 0), b"Tessera power button");
    assert_eq!(guest.ask(0x02, 0), b"", "no serial number");
    assert_eq!(guest.ask(0x03, 0), [6, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(guest.ask(0x10, 0), b"", "no properties");
    let keys = guest.ask(0x11, 1);
    let pressed = |key: &usize| keys[key / 8] >> (key % 8) & 1 != 0;
    assert_eq!((0..keys.len() * 8).filter(pressed).collect::<Vec<_>>(), [116]);
    for kind in [0, 2, 3, 4, 5, 0x11, 0x12, 0x14, 0xff] {
        assert_eq!(guest.ask(0x11, kind), b"", "no event of type {kind}, nor repetition");
    }
    assert_eq!(guest.ask(0x77, 0), b"");
    // Both fields at once are as good; the others cannot be written.
    guest.store(reg::CONFIG, 0xffff_0111);
    assert_eq!(guest.load(reg::CONFIG), 0x000f_0111);
}

#[test]
fn a_press_is_key_down_and_key_up_with_an_interrupt() {
    let mut guest = ready();
    guest.give_buffers(8);
    assert!(guest.device.is_driven() && !guest.device.is_waiting());
    assert_eq!((guest.events(), guest.interrupts), ([].into(), 0));
    for presses in 1..=2 {
        guest.press();
        assert_eq!((guest.events(), guest.interrupts), (DOWN_AND_UP.into(), presses));
        assert_eq!(guest.load(reg::INTERRUPT_STATUS), 1);
    }
    guest.press();
    assert!(guest.device.is_waiting(), "the buffers are used up");
    guest.give_buffers(8);
    assert_eq!((guest.events(), guest.interrupts), (DOWN_AND_UP.into(), 3));
}

#[test]
fn a_press_before_the_driver_waits_for_it_and_others_meanwhile_are_the_same() {
    let mut guest = guest();
    assert!(!guest.device.is_driven());
    for _ in 0..3 {
        guest.press();
    }
    assert!(guest.device.is_waiting());
    // A driver begins with a reset.
    guest.bring_up();
    assert_eq!(guest.interrupts, 0);
    guest.give_buffers(SIZE);
    assert_eq!((guest.events(), guest.interrupts), (DOWN_AND_UP.into(), 1));
    assert!(!guest.device.is_waiting());
}

#[test]
fn events_wait_one_by_one_for_buffers_and_begin_anew_with_a_new_driver() {
    let mut guest = ready();
    guest.press();
    guest.give_buffers(1);
    assert_eq!(guest.events(), DOWN_AND_UP[..1]);
    guest.press();
    guest.give_buffers(2);
    assert_eq!(guest.events(), DOWN_AND_UP[1..3], "a button that is down cannot be pressed");
    guest.bring_up();
    guest.give_buffers(8);
    assert_eq!(guest.events(), DOWN_AND_UP);
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none_and_one_that_stops_the_queue_no_events() {
    let mut guest = ready();
    let [_, avail, _] = Guest::areas(queue::EVENT);
    guest.write(avail, &1u16.to_le_bytes());
    guest.give_buffers(4);
    guest.press();
    assert_eq!((guest.events(), guest.interrupts), (DOWN_AND_UP.into(), 0));
    guest.store(reg::QUEUE_SEL, queue::EVENT.into());
    guest.store(reg::QUEUE_READY, 0);
    assert!(!guest.device.is_driven());
    guest.press();
    assert!(guest.device.is_waiting());
}

#[test]
fn what_the_driver_says_is_taken_and_ignored() {
    let mut guest = ready();
    for n in 0..3 {
        guest.offer(queue::STATUS, n, &[(DATA, 8, false)]);
    }
    guest.notify(queue::STATUS);
    assert_eq!(guest.used(queue::STATUS), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!(guest.interrupts, 1);
    guest.notify(7);
    assert_eq!(guest.load(reg::STATUS), 15, "there is no queue 7");
}

#[test]
fn a_buffer_that_takes_no_event_breaks_the_device_and_a_reset_heals_it() {
    for bad in
        [(DATA, 7, true), (DATA, 8, false), (RAM - 8, 8, true), (RAM + RAM_SIZE - 4, 8, true)]
    {
        let mut guest = ready();
        guest.offer(queue::EVENT, 0, &[bad]);
        guest.press();
        assert_ne!(guest.load(reg::STATUS) as u32 & status::NEEDS_RESET, 0, "{bad:x?}");
        assert_eq!(guest.interrupts, 1, "it is told");
        assert!(guest.device.take_fault().is_some() && !guest.device.is_driven());
        guest.bring_up();
        guest.give_buffers(4);
        assert_eq!(guest.events(), DOWN_AND_UP, "the press was not lost");
    }
    // In pieces is as good as whole.
    let mut guest = ready();
    guest.offer(queue::EVENT, 0, &[(DATA, 3, true), (DATA + 3, 0, true), (DATA + 3, 9, true)]);
    guest.press();
    assert_eq!(guest.events(), DOWN_AND_UP[..1]);
}

#[test]
fn no_bytes_in_rings_or_registers_lead_to_a_panic_or_a_write_outside_ram() {
    let (mut pressed, mut broken) = (0, 0);
    for seed in 0..64 {
        let (mut random, mut guest) = (Random(seed), ready());
        for _ in 0..200 {
            guest.give_buffers(random.below(9) as u16);
            guest.offer(queue::STATUS, random.below(16) as u16, &[(DATA, 8, false)]);
            for _ in 0..random.below(4) {
                guest.spoil(&mut random);
            }
            guest.press();
            guest.notify(random.below(3) as u16);
            pressed += u32::from(!guest.device.is_waiting());
            let healthy = guest.device.is_driven();
            if !healthy && random.below(2) == 0 {
                broken += 1;
                guest.bring_up();
            }
        }
        let memory = guest.hw.memory.borrow();
        assert!(memory[RAM_SIZE as usize..].iter().all(|&byte| byte == 0));
    }
    assert!(pressed > 1000 && broken > 900, "both were tried: {pressed} {broken}");
}
