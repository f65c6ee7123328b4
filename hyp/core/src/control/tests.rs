//! A guest's program, the port and the monitor, all together.

use alloc::string::String;
use alloc::vec::Vec;

use super::fake::*;
use super::*;
use crate::addr::VmId;
use crate::disk::model::Random;
use crate::life::State;
use crate::monitor::Event;

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
fn a_line_that_is_longer_than_all_others_together_arrives_whole() {
    let mut guest = open();
    guest.device.world.guests[0].config.bootargs = "\u{e9}".repeat(1023);
    guest.write_request("1 help\n2 vm show web\n3 vm show web\n");
    // It reads late, and a little at a time.
    let lines = guest.lines();
    assert!(lines.iter().all(|line| !line.contains("lost")), "{lines:?}");
    let long = lines.iter().filter(|line| line.len() > 6000 && line.ends_with('}')).count();
    assert_eq!(long, 2);
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
