//! The monitor: keys at its prompt, and requests of its protocol.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::monitor::fake::Fake;
use crate::monitor::{Asker, REQUEST_MAX, Session, Shell};

/// What stands before the line, and the columns of a terminal.
const PROMPT: &str = "tessera> ";
const COLUMNS: usize = 80;
/// More pieces than any answer here has.
const MANY: usize = 500;

/// A board whose log has what guests may have put there.
fn board() -> Fake {
    let log = (1..=3).map(|n| format!("line \"{n}\" \\ é \u{1e} \u{1b}[2J")).collect();
    Fake { log, ..Fake::default() }
}

/// The row of a terminal that the prompt is on.
#[derive(Default)]
struct Row {
    text: Vec<char>,
    at: usize,
}

impl Row {
    fn put(&mut self, shown: &str) {
        let cleared = shown.rsplit("\x1b[H\x1b[2J").next().unwrap_or("");
        for c in cleared.chars() {
            match c {
                '\r' => self.at = 0,
                '\n' => self.text.clear(),
                '\x08' => self.at = self.at.checked_sub(1).expect("left of the first column"),
                _ => {
                    assert!(!c.is_control(), "{c:?} in {shown:?}");
                    self.text.resize(self.text.len().max(self.at + 1), ' ');
                    self.text[self.at] = c;
                    self.at += 1;
                }
            }
        }
    }
}

/// Keys at the prompt: what is shown drives no terminal, and between answers the prompt is on a row of its own. Returns
/// how many orders went to the board.
pub fn line(bytes: &[u8]) -> usize {
    let (board, mut shell, mut row) = (board(), Shell::new(), Row::default());
    shell.open();
    for &byte in [0].iter().chain(bytes) {
        let _ = shell.key(byte, &board);
        let mut pieces = 0;
        loop {
            let mut out = String::new();
            if !shell.pull(&board, &mut out) {
                match shell.waits_until().filter(|_| !shell.is_live()) {
                    Some(until) => board.clock.set(until),
                    None => break,
                }
            }
            assert!(out.len() < 1024, "{} bytes in a piece", out.len());
            row.put(&out);
            pieces += 1;
            assert!(pieces < MANY, "an answer without end");
        }
        assert!(shell.takes_input());
        if shell.is_live() {
            continue;
        }
        let shown: String = row.text.iter().collect();
        assert!(shown.starts_with(PROMPT.trim_end()), "{shown:?}");
        assert!((PROMPT.len()..COLUMNS).contains(&row.at), "{shown:?} {}", row.at);
    }
    board.done.borrow().len()
}

pub fn line_seeds() -> Vec<Vec<u8>> {
    vec![
        b"help\rvm list\r".to_vec(),
        b"vm st\t\top w\t\rvm pause web\r".to_vec(),
        b"log\r\x1b[A\x01x\x05y\x7f\x17\x0b\x15mem\r\x04".to_vec(),
        b"abc\x02\x06\x1b[3~\x03\x0c\x1b[B\x1bOH\xc3\xa9\rpoweroff now\r".to_vec(),
    ]
}

/// Requests of a program, or of a guest where the first byte is odd: each gets whole lines of JSON and one end. Returns
/// how many were answered with success.
pub fn protocol(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let asker = if choices.byte() & 1 != 0 { Asker::Guest } else { Asker::Program };
    let (board, mut session) = (board(), Session::new(asker));
    let (mut length, mut good) = (0, 0);
    for &byte in choices.rest() {
        length += usize::from(byte != b'\r' && byte != b'\n');
        session.feed(byte, &board);
        let (mut lines, mut ends) = (0, 0);
        loop {
            let mut line = String::new();
            if !session.pull(&board, &mut line) {
                match session.waits_until() {
                    Some(until) => board.clock.set(until),
                    None => break,
                }
                continue;
            }
            check_line(&line);
            // Within a text there is a backslash before the quotes.
            ends += line.matches(",\"ok\":").count();
            good += usize::from(line.ends_with(",\"ok\":true}"));
            lines += 1;
            assert!(lines < MANY, "an answer without end");
        }
        assert!(session.takes_input());
        let request = byte == b'\n' && length > 0;
        assert_eq!(ends, usize::from(request), "ends of a request of {length} bytes");
        length = if byte == b'\n' { 0 } else { length };
    }
    good
}

fn check_line(line: &str) {
    assert!(line.len() < 2048 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    let rest = value(line.as_bytes()).unwrap_or_else(|| panic!("no JSON: {line}"));
    assert!(line.starts_with('{') && rest.is_empty(), "{line}");
}

/// What follows the JSON value (RFC 8259) at the start of `text`, of the kind that the protocol has: without blanks,
/// fractions and exponents.
fn value(text: &[u8]) -> Option<&[u8]> {
    match text.first()? {
        b'{' => members(&text[1..], b'}', |text| value(string(text)?.strip_prefix(b":")?)),
        b'[' => members(&text[1..], b']', value),
        b'"' => string(text),
        b'0'..=b'9' => {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (digits == 1 || text[0] != b'0').then_some(&text[digits..])
        }
        _ => ["true", "false", "null"].iter().find_map(|word| text.strip_prefix(word.as_bytes())),
    }
}

fn members(mut text: &[u8], end: u8, one: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<&[u8]> {
    if text.first() == Some(&end) {
        return Some(&text[1..]);
    }
    loop {
        text = one(text)?;
        match text.split_first()? {
            (b',', rest) => text = rest,
            (byte, rest) => return (*byte == end).then_some(rest),
        }
    }
}

fn string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'u', a, b, c, d, rest @ ..] => {
                [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()).then_some(rest)?
            }
            [b'\\', b'"' | b'\\', rest @ ..] => rest,
            [b'\\', ..] => return None,
            [_, rest @ ..] => rest,
            [] => return None,
        }
    }
}

pub fn protocol_seeds() -> Vec<Vec<u8>> {
    let long = [&b"\x005 "[..], &vec![b'x'; REQUEST_MAX][..], b"\n"].concat();
    vec![
        b"\x007 help\r\n8 vm start db\n9 log\n".to_vec(),
        b"\x001 events on\n2 vm pause web\n3 vm pause web\n4 events off\n".to_vec(),
        b"\x011 console web\n2 vm kill nobody\n\nx\n3 poweroff now\n".to_vec(),
        long,
        Random(1).bytes(200),
    ]
}
