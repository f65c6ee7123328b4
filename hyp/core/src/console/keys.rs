//! The keys that are for the console and not for a guest.
//!
//! Idea: the switch key acts at once and the key after it may correct it. So one stroke goes round the guests as often
//! as wanted, and no clock has to tell a lone stroke from the first of two. Idea not taken: the switch key twice for the
//! key itself; whoever goes round the guests quickly would send it by accident.
//!
//! A program's request to the monitor is no key but comes by the same line: RS, the request, LF (docs/monitor.md). RS twice
//! is RS for the guest. Who typed RS by accident gets out by any of the keys or by Enter, like a request that is wrong.

use core::fmt;

/// Record separator (RFC 7464): a request to the monitor follows. In output, an answer.
pub const RS: u8 = 0x1e;

/// Which keys the console keeps to itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsoleKeys {
    /// Moves the focus.
    pub switch: u8,
    /// Opens the monitor.
    pub monitor: u8,
}

impl Default for ConsoleKeys {
    /// Ctrl-] and Ctrl-\.
    fn default() -> Self {
        Self { switch: 0x1d, monitor: 0x1c }
    }
}

/// A control character as people call its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyName(pub u8);

impl KeyName {
    /// The key that `text` means, such as `^]`. Not every one can be had: Enter, Escape and RS mean something else.
    pub fn parse(text: &str) -> Option<u8> {
        let &[b'^', letter @ (b'A'..=b'Z' | b'a'..=b'z' | b'\\' | b']' | b'_')] = text.as_bytes()
        else {
            return None;
        };
        let key = letter & 0x1f;
        (!matches!(key, b'\r' | b'\n')).then_some(key)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctrl-{}", char::from(self.0 ^ 0x40))
    }
}

/// What a byte from the terminal means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Input of whoever has the focus.
    Pass(u8),
    /// The next guest gets the focus.
    Next,
    /// The guest of this index gets the focus.
    Pick(usize),
    /// The monitor gets the focus, or whoever had it before the monitor.
    Monitor,
    /// As [`Key::Monitor`], where the last byte was the switch key.
    ToMonitor,
    /// The guest that had the focus gets it back, and this byte as input.
    Literal(u8),
    /// The guest that had the focus gets it back; the keys are explained.
    Help,
    /// A request begins; one that did not end is dropped.
    Request,
    /// A byte of a request; LF ends it.
    Asked(u8),
    /// Nothing.
    Nothing,
}

/// Where the terminal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Plain,
    /// After the switch key.
    Switched,
    /// After RS.
    Requested,
    /// In a request.
    Request,
    /// After a request that CR ended: an LF is part of its end.
    Returned,
}

/// Tells keys from input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    keys: ConsoleKeys,
    state: State,
}

impl Keys {
    pub(super) fn new(keys: ConsoleKeys) -> Self {
        Self { keys, state: State::Plain }
    }

    pub(super) fn names(&self) -> ConsoleKeys {
        self.keys
    }

    /// Takes the next byte from the terminal, with `guests` guests to choose from.
    pub(super) fn feed(&mut self, byte: u8, guests: usize) -> Key {
        let before = self.state;
        let switched = before == State::Switched;
        let requesting = matches!(before, State::Requested | State::Request);
        self.state = State::Plain;
        match byte {
            _ if byte == self.keys.monitor && switched => Key::Literal(byte),
            _ if byte == self.keys.monitor => Key::Monitor,
            _ if byte == self.keys.switch => {
                self.state = State::Switched;
                Key::Next
            }
            RS if before == State::Requested => Key::Pass(RS),
            RS => {
                self.state = State::Requested;
                Key::Request
            }
            b'\r' | b'\n' if requesting => {
                if byte == b'\r' {
                    self.state = State::Returned;
                }
                Key::Asked(b'\n')
            }
            _ if requesting => {
                self.state = State::Request;
                Key::Asked(byte)
            }
            b'\n' if before == State::Returned => Key::Nothing,
            b'?' if switched => Key::Help,
            b'm' if switched => Key::ToMonitor,
            b'0' if switched => Key::Literal(self.keys.switch),
            b'1'..=b'9' if switched && usize::from(byte - b'0') <= guests => {
                Key::Pick(usize::from(byte - b'1'))
            }
            _ => Key::Pass(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn fed(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::new(ConsoleKeys::default());
        bytes.iter().map(|&byte| keys.feed(byte, 2)).collect()
    }

    #[test]
    fn keys_are_written_with_a_caret_and_called_by_their_name() {
        assert_eq!(KeyName::parse("^]"), Some(0x1d));
        assert_eq!(KeyName::parse("^\\"), Some(0x1c));
        assert_eq!((KeyName::parse("^a"), KeyName::parse("^A")), (Some(1), Some(1)));
        for text in ["", "^", "]", "^]]", "^M", "^J", "^[", "^^", "^1", "^\u{e9}"] {
            assert_eq!(KeyName::parse(text), None, "{text}");
        }
        assert_eq!(KeyName(0x1c).to_string(), "Ctrl-\\");
        assert_eq!(KeyName(1).to_string(), "Ctrl-A");
    }

    #[test]
    fn a_request_does_not_reach_the_guest_however_it_ends() {
        use Key::*;
        assert_eq!(fed(b"a\x1e1\nb"), [Pass(b'a'), Request, Asked(b'1'), Asked(b'\n'), Pass(b'b')]);
        assert_eq!(fed(b"\x1e1\r\n\n"), [Request, Asked(b'1'), Asked(b'\n'), Nothing, Pass(b'\n')]);
        assert_eq!(fed(b"\x1e1\rb"), [Request, Asked(b'1'), Asked(b'\n'), Pass(b'b')]);
        assert_eq!(fed(b"\x1e1\x1e2"), [Request, Asked(b'1'), Request, Asked(b'2')]);
        assert_eq!(fed(b"\x1e\x1ea"), [Request, Pass(RS), Pass(b'a')]);
        assert_eq!(fed(b"\x1e1\x1d2"), [Request, Asked(b'1'), Next, Pick(1)]);
        assert_eq!(fed(b"\x1e1\x1cx"), [Request, Asked(b'1'), Monitor, Pass(b'x')]);
    }
}
