//! What the terminal shows of the guest in focus, of the others and of Tessera.

use super::*;

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
    let line = "x".repeat(LINE_MAX);
    print(&mut c, DB, format!("{line}\r\nnext\n"));
    assert_eq!(shown(&mut c), format!("db| {line}\r\ndb| next\r\n"));
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
