//! The monitor's place at the terminal: keys, requests and frames.

use super::*;

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
