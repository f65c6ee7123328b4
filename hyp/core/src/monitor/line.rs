//! A line as it is typed: echo, editing, history.
//!
//! Problem: the terminal may be anything, a phone's or a log file behind a serial port, and others' lines come between.
//! Idea: the line is short enough for one row of 80 columns and is drawn with nothing but CR, blanks and backspaces. A
//! character at the end costs itself; any other change draws the line anew. Idea not taken: lines that scroll sideways; no
//! verb is that long.
//!
//! Only printable ASCII gets into the line. Each other character, whatever its length, leaves a `?` rather than nothing:
//! dropped silently it might make a guest's name of what was none.

use alloc::collections::VecDeque;
use alloc::string::String;

/// What stands before the line.
const PROMPT: &str = "tessera> ";
/// Characters of a line: with the prompt, and the cursor behind it, one row of 80.
const LINE_MAX: usize = 80 - PROMPT.len() - 1;
/// Lines that are remembered.
const HISTORY_MAX: usize = 16;
/// Bytes after which a drawing begins anew: the console shows a line again that is 256 bytes long at most.
const DRAWN_MAX: usize = 200;

const fn control(letter: u8) -> u8 {
    letter & 0x1f
}

const CTRL_A: u8 = control(b'A');
const CTRL_B: u8 = control(b'B');
const CTRL_C: u8 = control(b'C');
const CTRL_D: u8 = control(b'D');
const CTRL_E: u8 = control(b'E');
const CTRL_F: u8 = control(b'F');
const CTRL_K: u8 = control(b'K');
const CTRL_L: u8 = control(b'L');
const CTRL_N: u8 = control(b'N');
const CTRL_P: u8 = control(b'P');
const CTRL_U: u8 = control(b'U');
const CTRL_W: u8 = control(b'W');
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const ESCAPE: u8 = 0x1b;

/// What a key led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Typed {
    /// Nothing beyond the line itself.
    Nothing,
    /// The line is done.
    Line(String),
    /// Tab: the word before the cursor is to be completed; again, if the last key was Tab too.
    Complete {
        /// The second time.
        again: bool,
    },
    /// Ctrl-D in an empty line.
    Leave,
}

/// Where a key of several bytes is (ECMA-48 5.4, 8.2.14: CSI and SS3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Plain,
    Escape,
    /// In a sequence, with its first parameter.
    Sequence(u8),
}

/// The line.
#[derive(Debug)]
pub(super) struct Editor {
    /// Printable ASCII.
    line: String,
    cursor: usize,
    /// Oldest first.
    history: VecDeque<String>,
    /// How far back in the history the line is; 0 is the line itself, kept in `draft` meanwhile.
    back: usize,
    draft: String,
    key: Key,
    /// The last byte was CR: LF belongs to it.
    returned: bool,
    tabbed: bool,
    /// Columns on the screen that are not blank, and bytes since it was drawn.
    columns: usize,
    drawn: usize,
}

impl Editor {
    pub(super) const fn new() -> Self {
        Self {
            line: String::new(),
            cursor: 0,
            history: VecDeque::new(),
            back: 0,
            draft: String::new(),
            key: Key::Plain,
            returned: false,
            tabbed: false,
            columns: 0,
            drawn: 0,
        }
    }

    /// Begins an empty line on a row of its own.
    pub(super) fn prompt(&mut self, out: &mut String) {
        self.line.clear();
        self.draft.clear();
        (self.cursor, self.back, self.columns) = (0, 0, 0);
        self.key = Key::Plain;
        self.draw(out);
    }

    /// Shows the line again, on a row of its own.
    pub(super) fn show(&mut self, out: &mut String) {
        self.columns = 0;
        self.draw(out);
    }

    /// The line as far as the cursor.
    pub(super) fn before_cursor(&self) -> &str {
        self.line.get(..self.cursor).unwrap_or("")
    }

    /// Takes a byte from the terminal and appends to `out` what the terminal shows of it.
    pub(super) fn key(&mut self, byte: u8, out: &mut String) -> Typed {
        let returned = core::mem::replace(&mut self.returned, byte == b'\r');
        let tabbed = core::mem::replace(&mut self.tabbed, byte == b'\t');
        match (core::mem::replace(&mut self.key, Key::Plain), byte) {
            (_, ESCAPE) => self.key = Key::Escape,
            (Key::Escape, b'[' | b'O') => self.key = Key::Sequence(0),
            // Alt and a key.
            (Key::Escape, b' '..) => {}
            (Key::Sequence(first), b' '..=b'?') => {
                let digit = byte.wrapping_sub(b'0');
                let first =
                    if digit < 10 { first.saturating_mul(10).saturating_add(digit) } else { first };
                self.key = Key::Sequence(first);
            }
            (Key::Sequence(first), b'@'..=b'~') => self.special(byte, first, out),
            (_, b'\n') if returned => {}
            (_, b'\r' | b'\n') => return self.enter(out),
            (_, b'\t') => return Typed::Complete { again: tabbed },
            (_, CTRL_D) if self.line.is_empty() => return Typed::Leave,
            (_, b' '..=b'~') => self.insert(byte, out),
            (_, 0xc0..) => self.insert(b'?', out),
            // The rest of a character that was shown.
            (_, 0x80..) => {}
            _ => self.control(byte, out),
        }
        Typed::Nothing
    }

    /// Inserts text of printable ASCII at the cursor.
    pub(super) fn insert_text(&mut self, text: &str, out: &mut String) {
        if self.cursor == self.line.len() {
            return text.bytes().for_each(|byte| self.insert(byte, out));
        }
        // In the middle the row is drawn once, not for each character.
        let room = LINE_MAX.saturating_sub(self.line.len());
        if let Some(text) = text.get(..text.len().min(room)).filter(|text| !text.is_empty()) {
            self.line.insert_str(self.cursor, text);
            self.cursor += text.len();
            self.draw(out);
        }
    }

    fn control(&mut self, byte: u8, out: &mut String) {
        match byte {
            CTRL_A => self.go(0, out),
            CTRL_B => self.go(self.cursor.saturating_sub(1), out),
            CTRL_E => self.go(self.line.len(), out),
            CTRL_F => self.go(self.cursor + 1, out),
            CTRL_C => {
                out.push_str("^C\r\n");
                self.prompt(out);
            }
            CTRL_D => self.erase(self.cursor, self.cursor + 1, out),
            BACKSPACE | DELETE => self.erase(self.cursor.saturating_sub(1), self.cursor, out),
            CTRL_K => self.erase(self.cursor, self.line.len(), out),
            CTRL_U => self.erase(0, self.cursor, out),
            CTRL_W => {
                let word =
                    self.before_cursor().trim_ascii_end().rfind(' ').map_or(0, |space| space + 1);
                self.erase(word, self.cursor, out);
            }
            CTRL_L => {
                out.push_str("\x1b[H\x1b[2J");
                self.show(out);
            }
            CTRL_N => self.recall(self.back.saturating_sub(1), out),
            CTRL_P => self.recall(self.back + 1, out),
            _ => {}
        }
    }

    /// A key that sends a sequence: by its final byte, or by the number before a tilde (xterm, VT220).
    fn special(&mut self, last: u8, first: u8, out: &mut String) {
        match (last, first) {
            (b'A', _) => self.control(CTRL_P, out),
            (b'B', _) => self.control(CTRL_N, out),
            (b'C', _) => self.control(CTRL_F, out),
            (b'D', _) => self.control(CTRL_B, out),
            (b'H', _) | (b'~', 1 | 7) => self.control(CTRL_A, out),
            (b'F', _) | (b'~', 4 | 8) => self.control(CTRL_E, out),
            (b'~', 3) => self.erase(self.cursor, self.cursor + 1, out),
            _ => {}
        }
    }

    fn enter(&mut self, out: &mut String) -> Typed {
        out.push_str("\r\n");
        let line = core::mem::take(&mut self.line);
        if !line.trim_ascii().is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        Typed::Line(line)
    }

    fn insert(&mut self, byte: u8, out: &mut String) {
        if self.line.len() >= LINE_MAX {
            return;
        }
        self.line.insert(self.cursor, byte.into());
        self.cursor += 1;
        if self.cursor < self.line.len() || self.drawn >= DRAWN_MAX {
            return self.draw(out);
        }
        out.push(byte.into());
        self.drawn += 1;
        self.columns = self.columns.max(PROMPT.len() + self.line.len());
    }

    fn erase(&mut self, from: usize, to: usize, out: &mut String) {
        let to = to.min(self.line.len());
        if from < to {
            self.line.replace_range(from..to, "");
            self.cursor = from;
            self.draw(out);
        }
    }

    fn go(&mut self, to: usize, out: &mut String) {
        let to = to.min(self.line.len());
        if to != self.cursor {
            self.cursor = to;
            self.draw(out);
        }
    }

    /// The line becomes that of `back` lines ago.
    fn recall(&mut self, back: usize, out: &mut String) {
        if back > self.history.len() || back == self.back {
            return;
        }
        if self.back == 0 {
            self.draft = core::mem::take(&mut self.line);
        }
        self.back = back;
        let old = back.checked_sub(1).and_then(|back| self.history.iter().rev().nth(back));
        self.line = old.cloned().unwrap_or_else(|| core::mem::take(&mut self.draft));
        self.cursor = self.line.len();
        self.draw(out);
    }

    /// Draws the row anew, from its begin.
    fn draw(&mut self, out: &mut String) {
        let start = out.len();
        let columns = PROMPT.len() + self.line.len();
        let stale = self.columns.saturating_sub(columns);
        let back = stale + self.line.len() - self.cursor;
        out.push('\r');
        out.push_str(PROMPT);
        out.push_str(&self.line);
        out.extend(core::iter::repeat_n(' ', stale));
        out.extend(core::iter::repeat_n('\x08', back));
        self.columns = columns;
        self.drawn = out.len() - start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A terminal of one row: what it shows, and where its cursor is.
    #[derive(Default)]
    struct Row {
        text: Vec<char>,
        at: usize,
    }

    impl Row {
        fn put(&mut self, out: &str) {
            let out = out.rsplit("\x1b[H\x1b[2J").next().unwrap();
            for c in out.chars() {
                match c {
                    '\r' => self.at = 0,
                    '\n' => self.text.clear(),
                    '\x08' => self.at -= 1,
                    _ => {
                        self.text.resize(self.text.len().max(self.at + 1), ' ');
                        self.text[self.at] = c;
                        self.at += 1;
                    }
                }
            }
        }

        fn shown(&self) -> String {
            let text: String = self.text.iter().collect();
            text.trim_end().into()
        }
    }

    struct Terminal {
        editor: Editor,
        row: Row,
    }

    impl Terminal {
        fn new() -> Self {
            let mut terminal = Self { editor: Editor::new(), row: Row::default() };
            let mut out = String::new();
            terminal.editor.prompt(&mut out);
            terminal.row.put(&out);
            terminal
        }

        fn byte(&mut self, byte: u8) -> Typed {
            let mut out = String::new();
            let typed = self.editor.key(byte, &mut out);
            self.row.put(&out);
            typed
        }

        /// Types bytes in a line, and says what line there is and what is on the screen.
        fn keys(&mut self, keys: &[u8]) -> (String, usize) {
            for &key in keys {
                assert_eq!(self.byte(key), Typed::Nothing);
            }
            assert_eq!(self.row.shown(), std::format!("{PROMPT}{}", self.editor.line).trim_end());
            assert_eq!(self.row.at, PROMPT.len() + self.editor.cursor);
            (self.editor.line.clone(), self.editor.cursor)
        }

        fn enter(&mut self) -> String {
            let Typed::Line(line) = self.byte(b'\r') else { panic!("no line") };
            let mut out = String::new();
            self.editor.prompt(&mut out);
            self.row.put(&out);
            line
        }
    }

    fn edited(keys: &[u8]) -> (String, usize) {
        Terminal::new().keys(keys)
    }

    #[test]
    fn text_that_is_completed_in_the_middle_draws_the_row_once() {
        let mut terminal = Terminal::new();
        terminal.keys(b"vm  web\x01\x06\x06\x06");
        let mut out = String::new();
        terminal.editor.insert_text("start", &mut out);
        assert_eq!(out.matches(PROMPT).count(), 1);
        terminal.row.put(&out);
        assert_eq!(terminal.keys(b"!"), ("vm start! web".into(), 9));
        let long = std::format!("{:80}", "x");
        terminal.editor.insert_text(&long, &mut String::new());
        assert_eq!(terminal.editor.line.len(), LINE_MAX);
    }

    #[test]
    fn a_line_is_edited_in_all_its_places() {
        assert_eq!(edited(b"vm lst\x1b[D\x1b[Di"), ("vm list".into(), 5));
        assert_eq!(edited(b"list\x01vm \x05!"), ("vm list!".into(), 8));
        assert_eq!(edited(b"vm list\x7f\x08"), ("vm li".into(), 5));
        assert_eq!(edited(b"abc\x1b[H\x1b[3~\x04"), ("c".into(), 0));
        assert_eq!(edited(b"abc\x1b[D\x0b"), ("ab".into(), 2));
        assert_eq!(edited(b"abc\x02\x15"), ("c".into(), 0));
        assert_eq!(edited(b"vm show web \x17"), ("vm show ".into(), 8));
        assert_eq!(edited(b"ab\x1bOHx\x1bOFy\x1b[1~z\x1b[4~"), ("zxaby".into(), 5));
        assert_eq!(edited(b"abc\x0c"), ("abc".into(), 3));
        assert_eq!(edited(b"abc\x03d"), ("d".into(), 1));
    }

    #[test]
    fn lines_come_back_from_the_history_and_a_draft_is_kept() {
        let mut terminal = Terminal::new();
        for line in ["one", "two", "two", " "] {
            terminal.keys(line.as_bytes());
            assert_eq!(terminal.enter(), line);
        }
        assert_eq!(terminal.keys(b"dra\x1b[A").0, "two");
        assert_eq!(terminal.keys(b"\x1b[A").0, "one");
        assert_eq!(terminal.keys(b"\x1b[A").0, "one");
        assert_eq!(terminal.keys(b"\x1b[B\x1b[B\x1b[B").0, "dra");
        assert_eq!(terminal.keys(b"\x10\x10!").0, "one!");
        for line in 0..100 {
            terminal.keys(std::format!("{line}").as_bytes());
            terminal.enter();
        }
        assert_eq!(terminal.editor.history.len(), HISTORY_MAX);
    }

    #[test]
    fn a_line_ends_once_by_cr_lf_or_both() {
        let mut terminal = Terminal::new();
        terminal.keys(b"a");
        assert_eq!(terminal.enter(), "a");
        assert_eq!(terminal.byte(b'\n'), Typed::Nothing);
        assert_eq!(terminal.byte(b'\n'), Typed::Line(String::new()));
        assert_eq!(terminal.byte(CTRL_D), Typed::Leave);
    }

    #[test]
    fn tab_asks_for_completion_and_twice_for_a_list() {
        let mut terminal = Terminal::new();
        terminal.keys(b"v");
        assert_eq!(terminal.byte(b'\t'), Typed::Complete { again: false });
        assert_eq!(terminal.byte(b'\t'), Typed::Complete { again: true });
        terminal.keys(b"x");
        assert_eq!(terminal.byte(b'\t'), Typed::Complete { again: false });
    }

    #[test]
    fn what_is_no_ascii_cannot_hide_in_a_name() {
        assert_eq!(edited("wéb\u{301}\u{1f980}".as_bytes()), ("w?b??".into(), 5));
        assert_eq!(edited(b"a\xffb\x80\x00\x1b[99;99Rc"), ("a?bc".into(), 4));
    }

    #[test]
    fn no_bytes_break_the_line_or_its_row() {
        let mut seed = 0x7e55_e7a1_u64;
        let mut terminal = Terminal::new();
        let alphabet =
            b"\x1b[]ABCDHF~137\x01\x02\x03\x04\x05\x06\x08\x0b\x0c\x0e\x10\x15\x17\x7f\ta b";
        for _ in 0..50_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let byte = alphabet.get(seed as usize % 60).copied().unwrap_or((seed >> 32) as u8);
            if let Typed::Line(line) = terminal.byte(byte) {
                assert!(line.len() <= LINE_MAX && line.bytes().all(|b| (b' '..=b'~').contains(&b)));
                let mut out = String::new();
                terminal.editor.prompt(&mut out);
                terminal.row.put(&out);
            }
            assert!(terminal.editor.drawn <= 256);
            let want = std::format!("{PROMPT}{}", terminal.editor.line);
            assert_eq!(terminal.row.shown(), want.trim_end());
            assert_eq!(terminal.row.at, PROMPT.len() + terminal.editor.cursor);
            assert!(terminal.row.at < 80);
        }
    }
}
