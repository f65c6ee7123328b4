use super::*;
use std::format;
use std::string::String;
use std::vec::Vec;

const WEB: VmId = VmId(0);
const DB: VmId = VmId(1);
const SWITCH: u8 = 0x1d;
const MONITOR_KEY: u8 = 0x1c;
const TINY: Sizes = Sizes { output: 0, backlog: 1024, input: 8 };

fn console() -> Console {
    Console::new(&["web", "db"], Sizes::default())
}

fn print(c: &mut Console, vm: VmId, text: impl AsRef<[u8]>) {
    text.as_ref().iter().for_each(|&byte| c.guest_output(vm, byte));
}

fn press(c: &mut Console, keys: &[u8]) {
    for &key in keys {
        assert_eq!(c.physical_input(key), None);
    }
}

fn input(c: &mut Console, vm: VmId) -> Vec<u8> {
    core::iter::from_fn(|| c.take_input(vm)).collect()
}

/// What comes out, in pieces of `piece` bytes.
fn shown_by(c: &mut Console, piece: usize) -> String {
    let mut all = Vec::new();
    let mut buffer = std::vec![0; piece];
    loop {
        let count = c.take_output(&mut buffer);
        if count == 0 {
            assert!(!c.has_output());
            return String::from_utf8_lossy(&all).into_owned();
        }
        all.extend_from_slice(&buffer[..count]);
    }
}

fn shown(c: &mut Console) -> String {
    shown_by(c, 16)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn the_focused_guest_has_the_terminal_raw_both_ways() {
    let mut c = console();
    print(&mut c, WEB, b"\x1b[31mred\x1b[0m\x07\xff\r\n$ ");
    let mut buffer = [0; 64];
    let count = c.take_output(&mut buffer);
    assert_eq!(&buffer[..count], b"\x1b[31mred\x1b[0m\x07\xff\r\n$ ");
    for byte in [b'a', 0, 0x1b, 0xff, 3] {
        assert_eq!(c.physical_input(byte), Some(WEB));
    }
    assert_eq!(input(&mut c, WEB), [b'a', 0, 0x1b, 0xff, 3]);
    assert_eq!(input(&mut c, DB), []);
}

#[test]
fn lines_of_others_are_labelled_once_they_are_whole() {
    let mut c = console();
    print(&mut c, DB, "starting");
    assert_eq!(shown(&mut c), "");
    print(&mut c, DB, " up\r\nnext\n\nrest");
    c.log(format_args!("{} is up", "db"));
    assert_eq!(shown(&mut c), "db| starting up\r\ndb| next\r\ndb| \r\ntessera| db is up\r\n");
}

#[test]
fn a_prompt_is_taken_off_the_screen_and_shown_again_below_other_lines() {
    let mut c = console();
    print(&mut c, WEB, "hello\r\nweb# ls");
    assert_eq!(shown(&mut c), "hello\r\nweb# ls");
    print(&mut c, DB, "one\ntwo\n");
    assert_eq!(shown(&mut c), "\r\x1b[Kdb| one\r\nweb# ls\r\x1b[Kdb| two\r\nweb# ls");
    print(&mut c, WEB, "\r\n");
    c.log(format_args!("quiet"));
    assert_eq!(shown(&mut c), "\r\ntessera| quiet\r\n");
}

#[test]
fn several_lines_that_waited_share_one_redraw() {
    let mut c = Console::new(&["web", "db"], TINY);
    print(&mut c, WEB, "# ");
    while c.output.room() > RESERVE {
        print(&mut c, WEB, "\n# ");
    }
    print(&mut c, DB, "one\ntwo\n");
    let text = shown_by(&mut c, 10_000);
    assert!(text.ends_with("\n# \r\x1b[Kdb| one\r\ndb| two\r\n# "), "{text:?}");
}

#[test]
fn a_coloured_or_concealed_prompt_does_not_colour_other_lines() {
    let mut c = console();
    print(&mut c, WEB, "\x1b[8m");
    c.log(format_args!("seen"));
    assert_eq!(shown(&mut c), "\x1b[8m\x1b\\\x1b[0m\r\x1b[Ktessera| seen\r\n\x1b[8m");
}

#[test]
fn a_question_to_the_terminal_is_not_asked_again_with_the_prompt() {
    let mut c = console();
    print(&mut c, WEB, "web:~# \x1b[6n");
    assert_eq!(shown(&mut c), "web:~# \x1b[6n");
    print(&mut c, DB, "up\n");
    let out = shown(&mut c);
    assert!(!out.contains("\x1b[6n") && out.ends_with("web:~# "), "{out:?}");
}

#[test]
fn a_line_too_long_to_be_shown_again_is_left_where_it_is() {
    let mut c = console();
    let long = "x".repeat(400);
    print(&mut c, WEB, &long);
    print(&mut c, DB, "one\n");
    print(&mut c, WEB, "more");
    assert_eq!(shown(&mut c), format!("{long}\r\ndb| one\r\nmore"));
}

#[test]
fn a_progress_display_that_overwrites_itself_is_shown_again_as_it_stands() {
    let mut c = console();
    print(&mut c, WEB, "10%\r20%\r");
    shown(&mut c);
    c.log(format_args!("x"));
    assert_eq!(shown(&mut c), "\r\x1b[Ktessera| x\r\n20%\r");
}

#[test]
fn a_line_feed_without_return_does_not_indent_the_labels() {
    let mut c = console();
    print(&mut c, WEB, "bare\n");
    c.log(format_args!("x"));
    assert_eq!(shown(&mut c), "bare\n\rtessera| x\r\n");
}

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
    print(&mut c, DB, format!("{}tessera| trust me\n", "x".repeat(LINE_MAX_FOR_TEST)));
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
        let pad = "y".repeat(LINE_MAX_FOR_TEST - 8 + random.below(16) as usize);
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

const LINE_MAX_FOR_TEST: usize = super::source::LINE_MAX;

#[test]
fn long_lines_are_cut_between_characters() {
    let mut c = console();
    let text = "é".repeat(300);
    print(&mut c, DB, format!("a{text}\n"));
    let lines = shown(&mut c);
    let joined: String =
        lines.split_terminator("\r\n").map(|l| l.strip_prefix("db| ").unwrap()).collect();
    assert_eq!(joined, format!("a{text}"));
    assert_eq!(lines.lines().count(), 3);
}

#[test]
fn a_line_that_just_fits_is_not_followed_by_an_empty_one() {
    let mut c = console();
    let line = "x".repeat(LINE_MAX_FOR_TEST);
    print(&mut c, DB, format!("{line}\r\nnext\n"));
    assert_eq!(shown(&mut c), format!("db| {line}\r\ndb| next\r\n"));
}

#[test]
fn the_switch_key_goes_round_and_the_prompt_of_the_new_guest_is_seen() {
    let mut c = console();
    print(&mut c, WEB, "web# ");
    print(&mut c, DB, "hello\ndb# ");
    shown(&mut c);
    press(&mut c, &[SWITCH]);
    assert_eq!(c.focus(), Some(DB));
    assert_eq!(shown(&mut c), "\r\n--- db (Ctrl-] switches) ---\r\ndb# ");
    assert_eq!(c.physical_input(b'x'), Some(DB));
    press(&mut c, &[SWITCH]);
    assert_eq!(shown(&mut c), "\r\n--- web (Ctrl-] switches) ---\r\nweb# ");
    assert_eq!(c.physical_input(b'y'), Some(WEB));
    assert_eq!((input(&mut c, WEB), input(&mut c, DB)), (b"y".to_vec(), b"x".to_vec()));
}

#[test]
fn a_line_begun_with_focus_and_ended_without_is_shown_whole() {
    let mut c = console();
    print(&mut c, WEB, "halt");
    press(&mut c, &[SWITCH]);
    shown(&mut c);
    print(&mut c, WEB, "ed\r\n");
    assert_eq!(shown(&mut c), "web| halted\r\n");
}

#[test]
fn the_modes_that_a_guest_set_do_not_outlast_its_focus() {
    let mut c = console();
    print(&mut c, WEB, "\x1b[?25l\r\n");
    shown(&mut c);
    press(&mut c, &[SWITCH]);
    assert_eq!(shown(&mut c), "\x1b\\\x1b[0m\x1b[!p--- db (Ctrl-] switches) ---\r\n");
    press(&mut c, &[SWITCH]);
    assert_eq!(shown(&mut c), "--- web (Ctrl-] switches) ---\r\n");
}

#[test]
fn a_digit_after_the_switch_key_picks_a_guest() {
    let mut c = Console::new(&["a", "b", "c"], Sizes::default());
    press(&mut c, &[SWITCH, b'3']);
    assert_eq!(c.focus(), Some(VmId(2)));
    press(&mut c, &[SWITCH, b'1']);
    assert_eq!(c.focus(), Some(VmId(0)));
    press(&mut c, &[SWITCH]);
    assert_eq!(c.physical_input(b'4'), Some(VmId(1)), "there is no guest 4: it is input");
    assert_eq!(c.physical_input(b'1'), Some(VmId(1)), "only the next key is a command");
    press(&mut c, &[SWITCH; 4]);
    assert_eq!(c.focus(), Some(VmId(2)));
}

#[test]
fn a_guest_without_a_console_has_no_place_in_the_round() {
    let mut c = Console::new(&["", "a", "", "b"], Sizes::default());
    assert_eq!(c.focus(), Some(VmId(1)));
    press(&mut c, &[SWITCH]);
    assert_eq!(c.focus(), Some(VmId(3)));
    press(&mut c, &[SWITCH]);
    assert_eq!(c.focus(), Some(VmId(1)));
    press(&mut c, &[SWITCH, b'1', SWITCH]);
    assert_eq!(c.focus(), Some(VmId(1)));
    shown(&mut c);
    print(&mut c, VmId(0), "nothing\n");
    c.reset_guest(VmId(0));
    assert_eq!(shown(&mut c), "");
    assert_eq!(Console::new(&["", ""], TINY).physical_input(b'x'), None);
}

#[test]
fn the_switch_key_itself_can_be_sent() {
    let mut c = console();
    press(&mut c, &[SWITCH]);
    assert_eq!(c.physical_input(b'0'), Some(WEB));
    assert_eq!(c.focus(), Some(WEB));
    assert_eq!(input(&mut c, WEB), [SWITCH]);
}

#[test]
fn the_keys_are_explained_without_a_change_of_focus() {
    let mut c = console();
    press(&mut c, &[SWITCH, b'?']);
    assert_eq!(c.focus(), Some(WEB));
    let text = shown(&mut c);
    assert!(text.contains("tessera| Ctrl-] goes to the next guest"));
    assert!(text.contains("tessera|   2 db\r\n"));
}

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
fn a_reset_ends_the_line_and_forgets_the_input() {
    let mut c = console();
    print(&mut c, WEB, "Rebooting");
    print(&mut c, DB, "Rebooting");
    c.physical_input(b'x');
    c.reset_guest(WEB);
    c.reset_guest(DB);
    c.reset_guest(VmId(9));
    print(&mut c, WEB, "Booting");
    assert_eq!(input(&mut c, WEB), []);
    let text = shown(&mut c);
    assert!(text.starts_with("Rebooting\r\n"), "{text:?}");
    assert!(text.contains("db| Rebooting\r\n") && text.ends_with("Booting"), "{text:?}");
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
fn a_panic_gets_everything_out_and_a_line_of_its_own() {
    use core::fmt::Write;
    let mut c = Console::new(&["web", "db"], TINY);
    for _ in 0..100 {
        print(&mut c, DB, "flood\n");
    }
    c.log(format_args!("the last news"));
    print(&mut c, WEB, "# ");
    let mut all = Vec::new();
    c.flush(|byte| all.push(byte));
    let mut writer = Labelled::new(|byte| all.push(byte));
    writer.write_str("PANIC at \x1b[31m").unwrap();
    writer.write_str("line 1\nx0 = 0").unwrap();
    writer.write_str("\n").unwrap();
    let text = String::from_utf8(all).unwrap();
    assert!(text.contains("tessera| the last news\r\n"));
    assert!(text.ends_with("\r\ntessera| PANIC at line 1\r\ntessera| x0 = 0\r\n"), "{text:?}");
}

#[test]
fn a_console_without_guests_shows_what_tessera_says() {
    let mut c = Console::new(&[], Sizes::default());
    c.log(format_args!("no guests\nreally"));
    c.guest_output(VmId(0), b'x');
    press(&mut c, &[SWITCH, b'x', SWITCH, b'0', SWITCH, b'?']);
    assert_eq!((c.focus(), c.flow_change(), c.take_input(VmId(0))), (None, None, None));
    assert!(shown(&mut c).starts_with("tessera| no guests\r\ntessera| really\r\n"));
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

fn monitor_keys(c: &mut Console) -> Vec<MonitorInput> {
    core::iter::from_fn(|| c.take_monitor_input()).collect()
}

fn requests(c: &mut Console) -> String {
    core::iter::from_fn(|| c.take_request()).map(char::from).collect()
}

#[test]
fn the_monitor_gets_the_terminal_and_gives_it_back() {
    use MonitorInput::{Key, Opened};
    let mut c = console();
    print(&mut c, WEB, "web# ");
    press(&mut c, &[MONITOR_KEY, b'a', b'b']);
    assert!(c.monitor_has_focus() && c.monitor_is_due() && c.focus().is_none());
    assert_eq!(monitor_keys(&mut c), [Opened, Key(b'a'), Key(b'b')]);
    assert!(!c.monitor_is_due());
    assert_eq!(c.monitor_text(b"> x"), 3);
    print(&mut c, WEB, "hello\r\n");
    let want = "web# \r\n--- monitor (Ctrl-\\ returns) ---\r\n> x\r\x1b[Kweb| web# hello\r\n> x";
    assert_eq!(shown(&mut c), want);
    press(&mut c, &[MONITOR_KEY]);
    assert_eq!((c.focus(), monitor_keys(&mut c)), (Some(WEB), Vec::new()));
    assert_eq!(c.monitor_text(b"lost"), 4, "nobody sees it, and nobody waits for it");
    assert_eq!(shown(&mut c), "\r\n--- web (Ctrl-] switches) ---\r\n");
    press(&mut c, &[SWITCH, b'm']);
    assert_eq!(monitor_keys(&mut c), [Opened]);
    c.leave_monitor();
    assert_eq!(c.focus(), Some(WEB), "it returns to the guest before the switch key");
    press(&mut c, &[SWITCH]);
    assert_eq!(c.physical_input(MONITOR_KEY), Some(WEB));
    assert_eq!(input(&mut c, WEB), [MONITOR_KEY]);
}

#[test]
fn the_keys_can_be_others() {
    let keys = ConsoleKeys { switch: 1, monitor: 2 };
    let mut c = console().with_guests(&["web", "db"], Sizes::default(), keys);
    press(&mut c, &[1]);
    assert_eq!(shown(&mut c), "--- db (Ctrl-A switches) ---\r\n");
    assert_eq!(c.physical_input(SWITCH), Some(DB));
    press(&mut c, &[2, SWITCH, 1, b'0']);
    assert!(c.monitor_has_focus());
}

#[test]
fn a_guest_is_shown_with_its_last_lines_whoever_saw_them() {
    let mut c = console();
    for line in 0..20 {
        print(&mut c, WEB, format!("line {line}\x1b[6n\r\n"));
        print(&mut c, DB, format!("row {line}\r\n"));
    }
    print(&mut c, WEB, "web# ");
    press(&mut c, &[MONITOR_KEY]);
    shown(&mut c);
    c.show_guest(WEB);
    let text = shown(&mut c);
    assert!(text.starts_with("web| line 4\r\nweb| line 5\r\n"), "{text}");
    assert!(text.ends_with("web| line 19\r\n--- web (Ctrl-] switches) ---\r\nweb# "), "{text}");
    c.show_guest(DB);
    let text = shown(&mut c);
    assert!(text.starts_with("\r\ndb| row 4\r\n"), "{text}");
    print(&mut c, DB, "half");
    press(&mut c, &[SWITCH, SWITCH]);
    assert!(shown(&mut c).ends_with("\r\n--- db (Ctrl-] switches) ---\r\nhalf"));
    c.show_guest(VmId(9));
    assert_eq!(c.focus(), Some(DB));
}

#[test]
fn requests_reach_the_monitor_alone_and_whole() {
    let mut c = console();
    press(&mut c, b"\x1e1 help");
    assert_eq!((requests(&mut c), c.monitor_is_due()), (String::new(), false));
    press(&mut c, b"\n\x1ebroken\x1e2 log\n");
    assert!(c.monitor_is_due());
    assert_eq!(requests(&mut c), "1 help\n2 log\n");
    for _ in 0..100 {
        press(&mut c, b"\x1e3 vm list and much more\n");
    }
    assert!(c.take_lost_request() && !c.take_lost_request());
    let kept = requests(&mut c);
    assert!(kept.len() > 900 && kept.lines().all(|line| line == "3 vm list and much more"));
    assert_eq!(c.physical_input(b'x'), Some(WEB));
    assert_eq!(input(&mut c, WEB), [b'x']);
    press(&mut c, &[RS]);
    assert_eq!((c.physical_input(RS), input(&mut c, WEB)), (Some(WEB), Vec::from([RS])));
}

#[test]
fn a_frame_is_whole_at_a_line_of_its_own_however_long() {
    let mut c = Console::new(&["web", "db"], TINY);
    print(&mut c, WEB, "web# ");
    let line = format!("{{{}}}\n", "x".repeat(20_000));
    let (mut at, mut text) = (0, Vec::new());
    let mut buffer = [0; 24];
    while at < line.len() || c.has_output() {
        at += c.frame(&line.as_bytes()[at..]);
        print(&mut c, WEB, "w");
        print(&mut c, DB, "between\n");
        c.log(format_args!("between"));
        if at == 4096 {
            press(&mut c, &[SWITCH]);
        }
        let count = c.take_output(&mut buffer);
        text.extend_from_slice(&buffer[..count]);
        if text.ends_with(b"--- db (Ctrl-] switches) ---\r\n") {
            break;
        }
        if at == line.len() {
            break;
        }
    }
    let mut text = String::from_utf8(text).unwrap();
    text.push_str(&shown(&mut c));
    let frame = format!("\x1e{line}\r");
    assert_eq!(text.matches(&frame).count(), 1);
    assert!(text.matches("db| between\r\n").count() > 1);
    let before = text.split(&frame).next().unwrap();
    assert!(before.ends_with("\r\x1b[K") || before.ends_with('\n'), "{before}");
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

#[test]
fn what_tessera_said_can_be_read_again_from_any_place() {
    let mut c = console();
    c.log(format_args!("before\nthe guests"));
    let mut c = c.with_guests(&["web"], TINY, ConsoleKeys::default());
    c.log(format_args!("after"));
    let lines = |c: &Console, from| {
        let mut at = from;
        let mut lines = Vec::new();
        while let Some((line, next)) = c.log_line(at) {
            assert!(next > at);
            at = next;
            lines.push(line);
        }
        (lines, at)
    };
    let (all, end) = lines(&c, 0);
    assert_eq!(all, ["before", "the guests", "after"]);
    shown(&mut c);
    assert_eq!(lines(&c, 0), (all, end), "shown or not");
    for line in 0..2000 {
        c.log(format_args!("line {line}"));
        shown(&mut c);
    }
    let (kept, end) = lines(&c, 3);
    assert!(kept.len() > 1000 && kept.last().unwrap() == "line 1999", "{}", kept.len());
    assert!(kept.iter().all(|line| line.starts_with("line ")));
    assert_eq!(c.log_line(end), None);
}
