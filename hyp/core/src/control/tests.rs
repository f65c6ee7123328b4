//! A guest's program, the port and the monitor, all together.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::addr::VmId;
use crate::disk::model::Random;
use crate::hw::fake::FakeHw;
use crate::life::State;
use crate::monitor::Event;
use crate::monitor::fake::Fake;
use crate::virtio::driver::{DATA, Device, Driver};

/// The port, and the board that it asks.
struct Port {
    control: Control,
    world: Fake,
    /// The store is to be executed again.
    more: bool,
}

impl Device for Port {
    fn load(&self, offset: u64, size: u8) -> u64 {
        self.control.port.lock().mmio_read(offset, size)
    }
    fn store(&mut self, offset: u64, size: u8, value: u64, hw: &FakeHw, ram: &GuestRam) -> bool {
        let effect = self.control.port.lock().mmio_write(offset, size, value, hw, ram);
        let mut served = Served::default();
        if effect.serve {
            served = self.control.serve(&self.world, hw, ram);
        }
        self.more = served.more;
        effect.interrupt | served.interrupt
    }
}

type Guest = Driver<Port>;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const CONTROL_TRANSMIT: u16 = 3;

fn place(queue: u16, n: u16) -> u64 {
    DATA + u64::from(queue) * 0x8000 + u64::from(n) * 0x400
}

/// A guest with a program that has the port open, and eight buffers for answers.
fn open() -> Guest {
    let port = Port { control: Control::new(), world: Fake::default(), more: false };
    let mut guest = Driver::new(port, 4, 1 << 1);
    guest.bring_up();
    guest.set_open(true);
    guest.give_buffers(8);
    guest
}

impl Guest {
    fn set_open(&mut self, open: bool) {
        let message = 6u64 << 32 | u64::from(open) << 48;
        self.write(place(CONTROL_TRANSMIT, 0), &message.to_le_bytes());
        self.offer(CONTROL_TRANSMIT, 0, &[(place(CONTROL_TRANSMIT, 0), 8, false)]);
        self.notify(CONTROL_TRANSMIT);
    }

    fn give_buffers(&mut self, count: u16) {
        for n in 0..count {
            self.offer(RECEIVE, n, &[(place(RECEIVE, n), 0x400, true)]);
        }
        self.again(RECEIVE);
    }

    /// Notifies as often as it takes.
    fn again(&mut self, queue: u16) {
        self.notify(queue);
        for _ in 0..100 {
            if !self.device.more {
                return;
            }
            self.notify(queue);
        }
        panic!("there is no end");
    }

    fn serve(&mut self) -> Served {
        let Port { control, world, .. } = &self.device;
        let served = control.serve(world, &self.hw, &self.ram);
        self.interrupts += u32::from(served.interrupt);
        served
    }

    fn write_request(&mut self, text: &str) {
        self.write(place(TRANSMIT, 0), text.as_bytes());
        self.offer(TRANSMIT, 0, &[(place(TRANSMIT, 0), text.len() as u32, false)]);
        self.again(TRANSMIT);
    }

    /// What came, by lines; the buffers are given back.
    fn lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        loop {
            let used = self.used(RECEIVE);
            if used.is_empty() {
                let text = String::from_utf8(text).unwrap();
                return text.lines().map(ToString::to_string).collect();
            }
            for &(head, len) in &used {
                text.extend(self.read(place(RECEIVE, head as u16), len as usize));
            }
            for &(head, _) in &used {
                let at = place(RECEIVE, head as u16);
                self.offer(RECEIVE, head as u16, &[(at, 0x400, true)]);
            }
            self.again(RECEIVE);
        }
    }
}

/// The state of a guest changes.
fn happens(guest: &Guest, state: State) {
    let event = Event { at: 7, guest: VmId(0), state, reason: None, left_out: 0 };
    guest.device.world.events.borrow_mut().add(event);
}

#[test]
fn a_guest_asks_and_is_answered_one_request_after_the_other() {
    let mut guest = open();
    guest.write_request("1 vm show web\n2 vm stop db\n3 vm stop wbe\n");
    let lines = guest.lines();
    let first = "{\"id\":1,\"record\":\"config\",\"name\":\"web\"";
    assert!(lines[0].starts_with(first), "{lines:?}");
    assert!(lines.contains(&"{\"id\":1,\"ok\":true}".into()), "{lines:?}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("{\"id\":3,\"ok\":false"), "{last}");
    assert!(guest.interrupts > 0);
}

#[test]
fn a_guest_cannot_ask_for_what_the_boards_terminal_alone_may() {
    let mut guest = open();
    guest.write_request("1 console web\n");
    let lines = guest.lines();
    assert!(lines[0].starts_with("{\"id\":1,\"ok\":false"), "{lines:?}");
    assert!(guest.device.world.done.borrow().is_empty());
}

#[test]
fn an_answer_waits_for_buffers_and_nothing_of_it_is_lost() {
    let mut guest = open();
    guest.write_request("1 help\n");
    let at_leisure = guest.lines();
    assert!(at_leisure.len() > 10, "{at_leisure:?}");

    let mut guest = open();
    let mut few = Vec::new();
    // Buffers of a few bytes each, and long pauses.
    guest.used(RECEIVE);
    guest.bring_up();
    guest.set_open(true);
    guest.write_request("1 help\n");
    for _ in 0..2000 {
        guest.offer(RECEIVE, 0, &[(place(RECEIVE, 0), 7, true)]);
        guest.again(RECEIVE);
        let Some(&(_, len)) = guest.used(RECEIVE).first() else { break };
        few.extend(guest.read(place(RECEIVE, 0), len as usize));
    }
    let few = String::from_utf8(few).unwrap();
    assert_eq!(few.lines().collect::<Vec<_>>(), at_leisure);
}

#[test]
fn who_follows_events_is_told_until_the_port_is_closed() {
    let mut guest = open();
    guest.write_request("1 events on\n");
    assert_eq!(guest.lines(), ["{\"id\":1,\"ok\":true}"]);
    assert!(guest.device.control.wants_events());
    happens(&guest, State::Stopped);
    let served = guest.serve();
    assert_eq!(served, Served { interrupt: true, more: false });
    assert!(guest.lines()[0].contains("\"state\":\"stopped\""));
    guest.set_open(false);
    assert!(!guest.device.control.wants_events(), "the next program has not asked");
    guest.set_open(true);
    happens(&guest, State::Running);
    let served = guest.serve();
    assert_eq!((served, guest.lines()), (Served::default(), [].into()));
}

#[test]
fn an_answer_that_goes_on_by_the_clock_says_when() {
    let mut guest = open();
    assert_eq!(guest.device.control.waits_until(), None);
    guest.write_request("1 top\n");
    let until = guest.device.control.waits_until().unwrap();
    assert!(
        until > guest.device.world.clock.get()
            && until <= guest.device.world.clock.get() + 2 * guest.device.world.counter_hz()
    );
    let mut lines = Vec::new();
    while lines.is_empty() {
        let until = guest.device.control.waits_until().unwrap();
        guest.device.world.clock.set(until);
        let _ = guest.serve();
        lines = guest.lines();
    }
    assert!(lines[0].starts_with("{\"id\":1,\"record\":"), "{lines:?}");
}

#[test]
fn no_requests_lead_to_a_panic_or_to_work_without_an_end() {
    let words = [
        "1", "2", "vm", "list", "show", "web", "db", "top", "log", "mem", "irq", "events", "on",
        "help", "\u{e9}", "regs", "trace", "disk",
    ];
    let mut answered = 0;
    for seed in 0..40 {
        let (mut random, mut guest) = (Random(seed), open());
        for _ in 0..60 {
            let count = random.below(5);
            let mut text: Vec<&str> =
                (0..count).map(|_| words[random.below(words.len() as u64) as usize]).collect();
            text.push(if random.below(6) == 0 { "" } else { "\n" });
            guest.write_request(&text.join(" "));
            if random.below(3) != 0 {
                answered += guest.lines().len();
            }
            if random.below(10) == 0 {
                guest.set_open(random.below(3) != 0);
            }
        }
    }
    assert!(answered > 500, "{answered}");
}
