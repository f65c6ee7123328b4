//! More than the terminal or a guest can take.

use super::*;

#[test]
fn a_full_back_log_loses_its_oldest_lines_and_says_so() {
    let mut c = Console::new(&["web", "db"], TINY);
    let mut printed = 0;
    for line in 0..1000 {
        let text = format!("line {line}\n");
        printed += text.len();
        print(&mut c, DB, text);
    }
    let text = shown(&mut c);
    let mut counted = 0;
    for line in text.lines() {
        let line = line.strip_prefix("db| ").expect("every line is labelled");
        match line.strip_prefix("... ").and_then(|l| l.strip_suffix(" bytes dropped")) {
            Some(count) => counted += count.parse::<usize>().unwrap(),
            None => counted += line.len() + 1,
        }
    }
    assert_eq!(counted, printed);
    assert!(text.contains("db| line 0\r\n") && text.ends_with("db| line 999\r\n"));
    assert_eq!(text.matches("dropped").count(), 1);
}

#[test]
fn the_focused_guest_is_asked_to_wait_while_the_terminal_is_slow() {
    let mut c = Console::new(&["web", "db"], TINY);
    assert_eq!(c.flow_change(), None);
    let mut printed = 0;
    while c.flow_change().is_none() {
        print(&mut c, WEB, "x");
        printed += 1;
    }
    assert_eq!((c.flow_change(), c.held), (None, Some(0)));
    print(&mut c, WEB, "sixteen in flight");
    let mut taken = 0;
    while c.flow_change().is_none() {
        taken += c.take_output(&mut [0; 1]);
    }
    assert_eq!(c.held, None);
    assert_eq!(taken + shown(&mut c).len(), printed + "sixteen in flight".len());
}

#[test]
fn a_guest_that_waits_goes_on_when_it_loses_the_focus() {
    let mut c = Console::new(&["web", "db"], TINY);
    while c.flow_change().is_none() {
        print(&mut c, WEB, "x");
    }
    press(&mut c, &[SWITCH]);
    assert_eq!(c.flow_change(), Some((WEB, false)));
}

#[test]
fn whoever_floods_the_terminal_silences_nobody() {
    let mut c = Console::new(&["web", "db"], TINY);
    for _ in 0..500 {
        print(&mut c, WEB, "flood\r\n");
        print(&mut c, DB, "flood\r\n");
    }
    c.log(format_args!("news"));
    print(&mut c, WEB, "last\r\n");
    let mut text = String::new();
    for _ in 0..400 {
        let mut buffer = [0; 16];
        let count = c.take_output(&mut buffer);
        text.push_str(str::from_utf8(&buffer[..count]).unwrap());
        print(&mut c, WEB, "w\r\n");
        print(&mut c, DB, "flood\r\n");
    }
    assert!(text.contains("tessera| news\r\n"));
    assert!(text.contains("\nlast\r\n") && text.matches("db| flood").count() > 10);
}

#[test]
fn pasted_text_waits_for_the_guest_and_what_is_too_much_is_said_once() {
    let mut c = Console::new(&["web", "db"], TINY);
    for byte in b"12345678" {
        assert_eq!(c.physical_input(*byte), Some(WEB));
    }
    assert_eq!(shown(&mut c), "");
    assert_eq!(c.physical_input(b'9'), Some(WEB));
    assert_eq!(c.physical_input(b'0'), Some(WEB));
    let said = "tessera| web does not read its input: what is typed is lost\r\n";
    assert_eq!(shown(&mut c), said);
    assert_eq!(input(&mut c, WEB), b"12345678");
}

#[test]
fn a_reset_of_a_guest_that_waits_lets_its_new_uart_be_told_again() {
    let mut c = Console::new(&["web"], TINY);
    while c.flow_change().is_none() {
        print(&mut c, WEB, "x");
    }
    c.reset_guest(WEB);
    assert_eq!(c.flow_change(), Some((WEB, true)));
}

#[test]
fn no_sequence_of_events_overruns_the_reserve() {
    let mut random = Random(0x7e55_e7a2);
    let mut c = Console::new(&["first", "second", "third"], TINY);
    for _ in 0..40_000 {
        let vm = VmId(random.below(4) as u8);
        match random.below(16) {
            0 => c.log(format_args!("{}", "long ".repeat(random.below(80) as usize))),
            1 => {
                let keys = [SWITCH, b'0', b'2', b'?', MONITOR_KEY, b'm', RS, b'\n'];
                let _ = c.physical_input(keys[random.below(8) as usize]);
            }
            2 => drop(c.physical_input(random.next() as u8)),
            3 => drop(c.take_input(vm)),
            4 if random.below(20) == 0 => c.reset_guest(vm),
            5 => drop(c.flow_change()),
            6 if random.below(2) == 0 => drop(c.monitor_text(&[b'm'; 300])),
            6 => drop(c.frame(&[b'{'; 700])),
            7 => drop(c.frame(b"}\n")),
            8..=10 => drop(c.take_output(&mut [0; 64])),
            _ => {
                let byte =
                    [b'\n', b'\r', 0x1b, 0x01, random.next() as u8][random.below(5) as usize];
                (0..random.below(300)).for_each(|_| c.guest_output(vm, byte));
            }
        }
        assert!(c.output.room() > 0, "the output ring was filled to its last byte");
        assert!(c.flow_change().is_none_or(|(vm, _)| vm.0 < 3));
    }
    shown(&mut c);
    c.frame(b"\n");
    shown(&mut c);
    assert!(c.sources.iter().all(|source| !source.has_line()));
}
