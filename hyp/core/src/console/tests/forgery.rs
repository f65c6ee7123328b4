//! What no guest can do to the terminal: speak in another's name, drive it, bury what others say.

use super::*;

#[test]
fn a_guest_without_focus_cannot_print_in_anothers_name() {
    let mut c = console();
    for forgery in [
        "\r\x1b[Ktessera| trust me\n",
        "\ntessera| trust me\n",
        "\r\n\r\ntessera| trust me\r\n",
        "x\x0btessera| trust me\x0c\n",
        "x\u{85}tessera| trust me\n",
        "x\u{2028}tessera| trust me\n",
        "\x1b[1G\x1b[2Ktessera| trust me\n",
        "\u{9b}1Gtessera| trust me\n",
        "\x08\x08\x08\x08tessera| trust me\n",
        "\x1b]52;c;dGVzc2VyYQ==\x07tessera| trust me\n",
    ] {
        print(&mut c, DB, forgery);
    }
    print(&mut c, DB, format!("{}tessera| trust me\n", "x".repeat(LINE_MAX)));
    let text = shown(&mut c);
    assert!(text.lines().count() > 10);
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        assert!(line.starts_with("db| "), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}

#[test]
fn every_piece_of_an_overlong_line_has_its_label() {
    let mut c = console();
    let mut random = Random(7);
    for _ in 0..50 {
        // An end of line in the middle of sequences and characters, which begin anywhere around the place of the cut.
        let pad = "y".repeat(LINE_MAX - 8 + random.below(16) as usize);
        print(&mut c, DB, &pad);
        for forgery in ["\x1b]0;", "\u{9b}", "\u{202e}", "é", "\x1b[", "\x1b"] {
            if random.below(2) == 0 {
                print(&mut c, DB, forgery);
            }
        }
        print(&mut c, DB, "tessera| trust me\r\n");
        for line in shown(&mut c).split_terminator("\r\n") {
            assert!(
                line.starts_with("db| ") && !line.contains(|c: char| c.is_control()),
                "{line:?}"
            );
        }
    }
}

#[test]
fn what_a_guest_makes_tessera_say_is_limited_and_what_is_left_out_is_counted() {
    let mut c = console();
    let about = |c: &mut Console, vm, name, now| {
        c.log_about((vm, name), now, 1000, format_args!("{name} starts anew"));
    };
    (0..100).for_each(|now| about(&mut c, DB, "db", now));
    about(&mut c, WEB, "web", 100);
    c.log(format_args!("news"));
    about(&mut c, DB, "db", 60_000);
    about(&mut c, VmId(9), "nobody", 60_000);
    let text = shown(&mut c);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..8], ["tessera| db starts anew"; 8]);
    assert_eq!(
        lines[8..],
        [
            "tessera| more about db is left out while it comes this fast",
            "tessera| web starts anew",
            "tessera| news",
            "tessera| 92 lines about db were left out",
            "tessera| db starts anew",
            "tessera| nobody starts anew",
        ]
    );
}

#[test]
fn no_bytes_of_guests_without_focus_drive_the_terminal() {
    let mut random = Random(0x7e55_e7a1);
    let names = ["a-name-of-more-than-thirty-one-characters", "b", "c"];
    let mut c = Console::new(&names, TINY);
    c.focus_on(VmId(2));
    shown(&mut c);
    let alphabet = b"\x1b\x1b[]\\;09mJHP_\x07\r\n\x08\x9b\xc2\x85\xe2\x80\xa8\xf0\x9f\xa6\x80az|";
    let mut all = Vec::new();
    for _ in 0..20_000 {
        let vm = VmId(random.below(2) as u8);
        match random.below(40) {
            0 => c.guest_output(VmId(2), b'\n'),
            1..=4 => c.guest_output(VmId(2), b'.'),
            5 => c.log(format_args!("t")),
            6..=20 => {
                let mut buffer = [0; 24];
                let count = c.take_output(&mut buffer[..random.below(25) as usize]);
                all.extend_from_slice(&buffer[..count]);
            }
            _ => {
                for _ in 0..random.below(8) {
                    let pick = random.below(2 * alphabet.len() as u64) as usize;
                    let byte = alphabet.get(pick).copied().unwrap_or(random.next() as u8);
                    c.guest_output(vm, byte);
                }
            }
        }
    }
    all.extend(shown(&mut c).bytes());
    let text = String::from_utf8(all).expect("what is shown is UTF-8").replace("\r\x1b[K", "\r\n");
    assert!(text.len() > 50_000);
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r').trim_start_matches('\r');
        let labels = ["a-name-of-more-than-thirty-one-| ", "b| ", "tessera| "];
        let labelled = labels.iter().any(|label| line.starts_with(label));
        assert!(labelled || line.bytes().all(|byte| byte == b'.'), "{line:?}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}

#[test]
fn no_guest_can_forge_a_frame() {
    let mut c = console();
    print(&mut c, WEB, "\n\x1e{\"id\":1,\"ok\":true}\n");
    print(&mut c, DB, "\x1e{\"id\":1,\"ok\":true}\n");
    press(&mut c, &[SWITCH]);
    let text = shown(&mut c);
    assert!(!text.contains('\x1e') && text.contains("db| {\"id\":1"), "{text}");
}
