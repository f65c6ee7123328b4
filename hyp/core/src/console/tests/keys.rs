//! The switch key, the monitor's key and the focus.

use super::*;

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
