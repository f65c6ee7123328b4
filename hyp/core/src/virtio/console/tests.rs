//! A guest's driver in guest memory and the control port.

use alloc::string::String;
use alloc::{format, vec};

use super::*;
use crate::disk::model::Random;
use crate::hw::fake::FakeHw;
use crate::virtio::driver::{DATA, Device, Driver, RAM, RAM_SIZE};
use crate::virtio::status;

/// The port, and what the last store asked for.
struct Port {
    port: ControlPort,
    serve: bool,
}

impl Device for Port {
    fn load(&self, offset: u64, size: u8) -> u64 {
        self.port.mmio_read(offset, size)
    }
    fn store(&mut self, offset: u64, size: u8, value: u64, hw: &FakeHw, ram: &GuestRam) -> bool {
        let effect = self.port.mmio_write(offset, size, value, hw, ram);
        self.serve = effect.serve;
        effect.interrupt
    }
}

type Guest = Driver<Port>;

/// Buffers of each queue.
fn place(queue: u16, n: u16) -> u64 {
    DATA + u64::from(queue) * 0x8000 + u64::from(n) * 0x400
}

/// A guest whose driver has not begun.
fn guest() -> Guest {
    Driver::new(Port { port: ControlPort::new(), serve: false }, 4, F_MULTIPORT)
}

/// A guest with a program that has the port open.
fn open() -> Guest {
    let mut guest = guest();
    guest.bring_up();
    guest.give_buffers(queue::CONTROL_RECEIVE, 8, 64);
    guest.tell(0, 0, 1);
    guest.tell(0, 3, 1);
    guest.tell(0, 6, 1);
    guest.received(queue::CONTROL_RECEIVE);
    assert!(guest.device.port.is_open());
    guest.interrupts = 0;
    guest
}

impl Guest {
    /// Offers buffers for the device to write and notifies.
    fn give_buffers(&mut self, queue: u16, count: u16, len: u32) {
        for n in 0..count {
            self.offer(queue, n, &[(place(queue, n), len, true)]);
        }
        self.notify(queue);
    }

    /// What came, a buffer each.
    fn received(&mut self, queue: u16) -> Vec<Vec<u8>> {
        let used = self.used(queue);
        let bytes = |(head, len): (u32, u32)| self.read(place(queue, head as u16), len as usize);
        used.into_iter().map(bytes).collect()
    }

    /// The driver says something about a port.
    fn tell(&mut self, port: u32, event: u16, value: u16) {
        let raw = u64::from(port) | u64::from(event) << 32 | u64::from(value) << 48;
        let at = place(queue::CONTROL_TRANSMIT, 0);
        self.write(at, &raw.to_le_bytes());
        self.offer(queue::CONTROL_TRANSMIT, 0, &[(at, 8, false)]);
        self.notify(queue::CONTROL_TRANSMIT);
    }

    /// A program writes.
    fn send(&mut self, text: &[u8]) {
        let at = place(queue::TRANSMIT, 0);
        self.write(at, text);
        self.offer(queue::TRANSMIT, 0, &[(at, text.len() as u32, false)]);
        self.notify(queue::TRANSMIT);
    }

    fn take(&mut self) -> Taken {
        let (taken, interrupt) = self.device.port.take_request(&self.hw, &self.ram);
        self.interrupts += u32::from(interrupt);
        taken
    }

    /// The next request, which is whole.
    fn request(&mut self) -> Option<String> {
        match self.take() {
            Taken::Request(line) => Some(String::from_utf8(line).unwrap()),
            Taken::Nothing => None,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, line: &str) {
        let interrupt = self.device.port.answer(line.as_bytes(), &self.hw, &self.ram);
        self.interrupts += u32::from(interrupt);
    }

    /// The lines that came.
    fn lines(&mut self) -> String {
        String::from_utf8(self.received(queue::RECEIVE).concat()).unwrap()
    }
}

#[test]
fn a_driver_finds_a_device_with_one_port_and_is_told_its_name() {
    let mut guest = guest();
    assert_eq!(guest.load(reg::DEVICE_ID), 3);
    assert_eq!(guest.load(reg::DEVICE_FEATURES) & F_MULTIPORT, F_MULTIPORT);
    assert_eq!(guest.load(reg::CONFIG + 4), 1);
    guest.bring_up();
    guest.tell(0, 0, 1);
    assert_eq!(guest.interrupts, 1, "for what the driver said; there is no buffer for the rest");
    guest.give_buffers(queue::CONTROL_RECEIVE, 8, 64);
    assert_eq!(guest.received(queue::CONTROL_RECEIVE), [[0, 0, 0, 0, 1, 0, 1, 0]]);
    guest.tell(0, 3, 1);
    let said = guest.received(queue::CONTROL_RECEIVE);
    assert_eq!(said[0], b"\0\0\0\0\x07\0\x01\0org.tessera.control");
    assert_eq!(said[1..], [[0, 0, 0, 0, 6, 0, 1, 0]], "somebody is there");
    assert!(!guest.device.port.is_open());
    guest.tell(0, 6, 1);
    assert!(guest.device.port.is_open());
    guest.tell(0, 6, 0);
    assert!(!guest.device.port.is_open());
    assert_eq!(guest.used(queue::CONTROL_TRANSMIT), [(0, 0); 4]);
}

#[test]
fn messages_about_other_ports_and_of_other_kinds_mean_nothing() {
    let mut guest = guest();
    guest.bring_up();
    guest.give_buffers(queue::CONTROL_RECEIVE, 8, 64);
    for (port, event, value) in [(1, 3, 1), (1, 6, 1), (0, 0, 0), (0, 3, 0), (0, 99, 1), (0, 7, 1)]
    {
        guest.tell(port, event, value);
    }
    guest.offer(queue::CONTROL_TRANSMIT, 0, &[(DATA, 7, false)]);
    guest.notify(queue::CONTROL_TRANSMIT);
    assert_eq!(guest.used(queue::CONTROL_TRANSMIT).len(), 7, "all are taken");
    assert_eq!(guest.received(queue::CONTROL_RECEIVE), [[0; 0]; 0]);
    assert!(!guest.device.port.is_open());
}

#[test]
fn requests_are_lines_however_they_are_cut_into_buffers() {
    let mut guest = open();
    guest.send(b"1 vm list\n2 vm sh");
    assert!(guest.device.serve);
    assert_eq!(guest.request().as_deref(), Some("1 vm list"));
    assert_eq!((guest.request(), guest.used(queue::TRANSMIT)), (None, vec![(0, 0)]));
    guest.send(b"ow ");
    assert_eq!(guest.request(), None);
    let at = place(queue::TRANSMIT, 1);
    guest.write(at, b"web\n\n3 mem\n");
    let pieces = [(at, 1, false), (at + 1, 0, false), (at + 1, 4, false), (at + 5, 6, false)];
    guest.offer(queue::TRANSMIT, 1, &pieces);
    guest.notify(queue::TRANSMIT);
    assert_eq!(guest.request().as_deref(), Some("2 vm show web"));
    assert_eq!(guest.request().as_deref(), Some(""));
    assert_eq!(guest.used(queue::TRANSMIT), [(0, 0)], "a chain goes back when all of it was read");
    assert_eq!(guest.request().as_deref(), Some("3 mem"));
    assert_eq!((guest.request(), guest.used(queue::TRANSMIT)), (None, vec![(1, 0)]));
}

#[test]
fn a_request_that_is_too_long_is_cut_and_costs_no_other() {
    let mut guest = open();
    let longest = "x".repeat(MAX_REQUEST);
    guest.send(format!("{longest}\n").as_bytes());
    assert_eq!(guest.request().as_ref(), Some(&longest));
    assert_eq!(guest.request(), None);
    guest.send(format!("{longest}y and more\nnext\n").as_bytes());
    assert_eq!(guest.request().as_ref(), Some(&longest));
    assert_eq!(guest.request().as_deref(), Some("next"));
    assert_eq!(guest.request(), None);
    // A flood without an end is looked at a part at a time, and nothing of it is kept.
    let all = (RAM_SIZE - (DATA - RAM)) as u32;
    guest.write(DATA, &vec![b'z'; all as usize]);
    guest.offer(queue::TRANSMIT, 0, &[(DATA, all, false)]);
    guest.notify(queue::TRANSMIT);
    let mut rounds = 0;
    while guest.take() == Taken::Later {
        rounds += 1;
    }
    assert_eq!((rounds, guest.used(queue::TRANSMIT).len()), (all / 256 / 32, 3));
    guest.send(b"\n");
    assert_eq!(guest.request().map(|line| line.len()), Some(MAX_REQUEST));
}

#[test]
fn answers_are_lines_in_the_guests_buffers_with_an_interrupt() {
    let mut guest = open();
    guest.give_buffers(queue::RECEIVE, 4, 16);
    guest.answer("{\"ok\":true}");
    assert_eq!((guest.lines().as_str(), guest.interrupts), ("{\"ok\":true}\n", 1));
    guest.answer("a line that is longer than one buffer");
    assert_eq!(guest.lines(), "a line that is longer than one buffer\n");
    guest.answer("waits");
    assert_eq!((guest.lines().as_str(), guest.interrupts), ("", 2));
    guest.give_buffers(queue::RECEIVE, 1, 3);
    assert_eq!(guest.lines(), "wai");
    guest.give_buffers(queue::RECEIVE, 1, 3);
    assert_eq!(guest.lines(), "ts\n");
}

#[test]
fn a_line_of_any_length_waits_until_the_guest_has_read_all_of_it() {
    let mut guest = open();
    let line = "x".repeat(9999);
    assert!(guest.device.port.is_clear());
    guest.answer(&line);
    let mut read = String::new();
    for _ in 0..10 {
        assert!(!guest.device.port.is_clear());
        guest.give_buffers(queue::RECEIVE, 1, 1000);
        read += &guest.lines();
    }
    assert!(guest.device.port.is_clear());
    assert_eq!(read, line + "\n");
}

#[test]
fn the_next_program_gets_nothing_of_the_last_and_without_one_all_is_dropped() {
    let mut guest = open();
    guest.answer("for the first");
    guest.send(b"9 half a requ");
    assert_eq!(guest.request(), None);
    guest.tell(0, 6, 0);
    guest.answer("for nobody");
    guest.send(b"est\nfrom nobody\n");
    assert_eq!(guest.request(), None);
    assert_eq!(guest.used(queue::TRANSMIT).len(), 2);
    guest.tell(0, 6, 1);
    guest.give_buffers(queue::RECEIVE, 2, 64);
    guest.send(b"1 vm list\n");
    assert_eq!(guest.request().as_deref(), Some("1 vm list"));
    guest.answer("for the second");
    assert_eq!(guest.lines(), "for the second\n");
}

#[test]
fn a_reset_closes_the_port_and_forgets_what_waits() {
    let mut guest = open();
    guest.answer("waits");
    guest.send(b"1 half\n2 of");
    assert_eq!(guest.request().as_deref(), Some("1 half"));
    guest.bring_up();
    assert!(!guest.device.port.is_open());
    guest.give_buffers(queue::RECEIVE, 2, 64);
    guest.give_buffers(queue::CONTROL_RECEIVE, 2, 64);
    assert_eq!((guest.lines().as_str(), guest.request()), ("", None));
    assert_eq!(guest.received(queue::CONTROL_RECEIVE), [[0; 0]; 0]);
}

#[test]
fn a_driver_that_knows_no_ports_gets_no_service() {
    let mut guest = guest();
    guest.features &= !F_MULTIPORT;
    guest.bring_up();
    guest.give_buffers(queue::RECEIVE, 4, 64);
    guest.send(b"1 vm list\n");
    assert_eq!((guest.request(), guest.used(queue::TRANSMIT)), (None, vec![(0, 0)]));
    guest.answer("x");
    assert_eq!(guest.lines(), "");
}

#[test]
fn buffers_that_take_nothing_break_the_device_and_a_reset_heals_it() {
    let broken = |guest: &Guest| guest.load(reg::STATUS) as u32 & status::NEEDS_RESET != 0;
    for bad in [(DATA, 0, true), (DATA, 8, false), (RAM - 8, 8, true)] {
        let mut guest = open();
        guest.offer(queue::RECEIVE, 0, &[bad]);
        guest.answer("x");
        assert!(broken(&guest) && guest.device.port.take_fault().is_some(), "{bad:x?}");
        assert_eq!(guest.interrupts, 1, "it is told");
        guest.bring_up();
        assert!(!broken(&guest));
    }
    let mut guest = open();
    guest.offer(queue::TRANSMIT, 0, &[(RAM + RAM_SIZE - 4, 8, false)]);
    guest.notify(queue::TRANSMIT);
    assert_eq!((guest.take(), broken(&guest)), (Taken::Nothing, true));
    let mut guest = open();
    guest.give_buffers(queue::CONTROL_RECEIVE, 1, 7);
    guest.used(queue::CONTROL_RECEIVE);
    for _ in 0..9 {
        guest.tell(0, 0, 1);
    }
    assert!(broken(&guest), "a message has no room in 7 bytes");
}

#[test]
fn no_bytes_in_rings_or_registers_lead_to_a_panic_or_a_write_outside_ram() {
    let (mut requests, mut answers, mut broken) = (0, 0, 0);
    for seed in 0..48 {
        let (mut random, mut guest) = (Random(seed), open());
        for round in 0..200 {
            match random.below(4) {
                0 => guest.give_buffers(queue::RECEIVE, random.below(9) as u16, 16),
                1 => guest.give_buffers(queue::CONTROL_RECEIVE, random.below(5) as u16, 32),
                2 => guest.tell(0, [0, 3, 6][random.below(3) as usize], random.below(4) as u16),
                _ => guest.send(b"1 vm list\n2 mem\n"),
            }
            for _ in 0..random.below(3) {
                guest.spoil(&mut random);
            }
            if guest.device.port.is_clear() {
                guest.answer(&"a".repeat(random.below(300) as usize));
            }
            for _ in 0..3 {
                match guest.take() {
                    Taken::Request(line) => {
                        assert!(line.len() <= MAX_REQUEST);
                        requests += 1;
                    }
                    Taken::Later => {}
                    Taken::Nothing => break,
                }
            }
            assert!(guest.device.port.waiting.len() <= 300);
            answers += guest.used(queue::RECEIVE).len();
            if guest.load(reg::STATUS) != 15 || round % 64 == 0 {
                broken += u32::from(guest.load(reg::STATUS) != 15);
                guest.bring_up();
                guest.tell(0, 6, 1);
            }
        }
        let memory = guest.hw.memory.borrow();
        assert!(memory[RAM_SIZE as usize..].iter().all(|&byte| byte == 0));
    }
    assert!(
        requests > 500 && answers > 500 && broken > 200,
        "all were tried: {requests} {answers} {broken}"
    );
}
