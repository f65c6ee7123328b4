//! Somebody who prints: a guest, or Tessera itself. What was printed and not yet shown waits in a back-log.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use core::fmt::{self, Write};

use super::labelled::MARK;
use super::plain::Plain;
use super::ring::Ring;
use super::screen::put_all;

/// Bytes of a line that are shown under one label; a longer line is cut into several.
pub(super) const LINE_MAX: usize = 256;
/// Characters of a name in a label; a longer name is cut off.
pub(super) const NAME_MAX: usize = 31;
/// The most of the output ring that [`Source::show_line`] fills: a note of lost bytes and a line, each byte as two.
pub(super) const LINE_COST: usize = 2 * (NAME_MAX + MARK.len()) + NOTE_MAX + 2 * LINE_MAX + 2;
/// The most of a back-log that is shown again.
const HISTORY_MAX: usize = 2048;
/// The most that the text of a note of lost bytes needs.
const NOTE_MAX: usize = 48;

/// One who prints.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: Box<str>,
    backlog: Ring,
    /// Line ends in the back-log.
    ends: usize,
    /// Bytes printed since the board was started.
    written: u64,
    /// Bytes lost since the last note about it.
    dropped: usize,
    plain: Plain,
    /// The line that was shown last is not finished: what follows belongs to it.
    cut: bool,
}

impl Source {
    /// Somebody who has not printed yet; names are kept to what a label may contain.
    pub(super) fn new(name: &str, backlog: usize) -> Self {
        let name: String = name.chars().filter(char::is_ascii_graphic).take(NAME_MAX).collect();
        Self {
            name: name.into_boxed_str(),
            backlog: Ring::new(backlog.max(2 * LINE_MAX)),
            ends: 0,
            written: 0,
            dropped: 0,
            plain: Plain::default(),
            cut: false,
        }
    }

    /// Appends to the back-log; where it is full its oldest line is lost.
    pub(super) fn push(&mut self, byte: u8) {
        if self.backlog.room() == 0 {
            self.drop_oldest();
        }
        if self.backlog.push(byte) {
            self.written += 1;
            self.ends += usize::from(byte == b'\n');
        }
    }

    /// Remembers a byte that is shown as it is printed. Nothing may wait to be shown.
    #[inline]
    pub(super) fn pass(&mut self, byte: u8) {
        self.backlog.push(byte);
        self.backlog.pop();
        self.written += 1;
    }

    /// Appends `text` as one line or several.
    pub(super) fn log(&mut self, text: fmt::Arguments<'_>) {
        // Only a Display that fails by itself could fail here; its line is as far as it got.
        let _ = self.write_fmt(text);
        if !self.at_line_start() {
            self.push(b'\n');
        }
    }

    /// Nothing waits to be shown.
    pub(super) fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.dropped == 0
    }

    /// A whole line, or as much as is shown under one label, waits.
    pub(super) fn has_line(&self) -> bool {
        self.ends > 0 || self.backlog.len() >= LINE_MAX
    }

    /// The last byte of the back-log ends a line, or nothing waits.
    pub(super) fn at_line_start(&self) -> bool {
        let last = self.backlog.len().checked_sub(1).and_then(|last| self.backlog.peek(last));
        last.is_none_or(|byte| byte == b'\n')
    }

    /// Bytes were lost, and it was not said yet.
    pub(super) fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Takes the oldest byte as it is.
    pub(super) fn pop(&mut self) -> Option<u8> {
        let byte = self.backlog.pop()?;
        if byte == b'\n' {
            self.ends -= 1;
        }
        Some(byte)
    }

    /// Forgets how far the labelled lines got: what follows begins a line of its own.
    pub(super) fn start_afresh(&mut self) {
        self.plain = Plain::default();
        self.cut = false;
    }

    /// Shows one line, or as much of it as goes under one label, in its harmless form. Nothing is shown of a line end
    /// whose line was shown as a whole already. Needs [`LINE_COST`] of room.
    pub(super) fn show_line(&mut self, out: &mut Ring) {
        self.show_dropped(out);
        let mut line = [0; LINE_MAX];
        let (length, ended) = self.copy_line(&mut line);
        self.backlog.skip(length + usize::from(ended));
        self.ends -= usize::from(ended);
        let line = line.get(..length).unwrap_or(&[]);
        let text = if ended { trim_returns(line) } else { line };
        if !(text.is_empty() && self.cut) {
            label(&self.name, out);
            show_plain(&mut self.plain, text, out);
            put_all(out, b"\r\n");
        }
        self.cut = !ended;
        if ended {
            self.plain.line_end();
        }
    }

    /// Says in a line of its own how many bytes were lost since this was said last, if any.
    pub(super) fn show_dropped(&mut self, out: &mut Ring) {
        let dropped = core::mem::take(&mut self.dropped);
        if dropped > 0 {
            label(&self.name, out);
            // The ring takes what it has room for and never fails.
            let _ = write!(out, "... {dropped} bytes dropped\r\n");
        }
    }

    /// Copies the oldest line, without its end, as far as it fits `line` in whole characters: how many bytes, and
    /// whether the line ends after them.
    fn copy_line(&self, line: &mut [u8; LINE_MAX]) -> (usize, bool) {
        let mut length = 0;
        for &byte in self.backlog.waiting().into_iter().flatten() {
            match line.get_mut(length) {
                _ if byte == b'\n' => return (length, true),
                Some(place) => *place = byte,
                None => break,
            }
            length += 1;
        }
        if length < line.len() { (length, false) } else { (whole_characters(line), false) }
    }

    /// Bytes of the lines that were shown last, `lines` of them at most and not many bytes.
    pub(super) fn last_lines(&self, lines: usize) -> usize {
        let mut ends = 0;
        let most = self.backlog.kept().min(HISTORY_MAX);
        for back in 1..=most {
            if self.backlog.look_back(back) == Some(b'\n') {
                if ends == lines {
                    return back - 1;
                }
                ends += 1;
            }
        }
        // The oldest line is whole only where nothing was before it.
        if self.written > most as u64 { self.after_line(most) } else { most }
    }

    /// What is left of `back` bytes after the end of their first line.
    fn after_line(&self, back: usize) -> usize {
        let end = (1..=back).rev().find(|&back| self.backlog.look_back(back) == Some(b'\n'));
        end.map_or(0, |end| end - 1)
    }

    /// Shows the line that begins `back` bytes before what was not shown yet, under a label; what is left of `back`. Needs
    /// [`LINE_COST`] of room.
    pub(super) fn show_old_line(&self, back: usize, out: &mut Ring) -> usize {
        label(&self.name, out);
        let mut line = [0; LINE_MAX];
        let (mut length, mut left) = (0, back.min(self.backlog.kept()));
        while let Some(byte) = self.backlog.look_back(left)
            && let Some(place) = line.get_mut(length)
        {
            left -= 1;
            if byte == b'\n' {
                break;
            }
            *place = byte;
            length += 1;
        }
        let text = trim_returns(line.get(..length).unwrap_or(&[]));
        show_plain(&mut Plain::default(), text, out);
        put_all(out, b"\r\n");
        left
    }

    /// Forgets of what was shown the line that is not finished: it is to be shown again.
    pub(super) fn forget_line(&mut self) {
        let most = self.backlog.kept().min(LINE_MAX);
        let end = (1..=most).find(|&back| self.backlog.look_back(back) == Some(b'\n'));
        self.backlog.forget(end.map_or(most, |end| end - 1));
    }

    /// The line from byte `at` of all that was printed, or from the oldest that is still there; where it ends.
    pub(super) fn line_at(&self, at: u64) -> Option<(String, u64)> {
        let oldest = self.written - (self.backlog.kept() + self.backlog.len()) as u64;
        let shown = self.written - self.backlog.len() as u64;
        let byte = |at: u64| match shown.checked_sub(at) {
            None | Some(0) => self.backlog.peek((at - shown) as usize),
            Some(back) => self.backlog.look_back(back as usize),
        };
        let mut at = at;
        if at < oldest {
            at = oldest;
            while byte(at)? != b'\n' {
                at += 1;
            }
            at += 1;
        }
        let mut line = Vec::new();
        while line.len() < LINE_MAX {
            at += 1;
            match byte(at - 1) {
                Some(b'\n') => break,
                Some(byte) => line.push(byte),
                None if line.is_empty() => return None,
                None => break,
            }
        }
        Some((String::from_utf8_lossy(&line).into_owned(), at))
    }

    /// Forgets all that waits.
    pub(super) fn clear(&mut self) {
        self.backlog.clear();
        (self.ends, self.dropped) = (0, 0);
    }

    /// How many bytes can be printed before some are lost.
    pub(super) fn room(&self) -> usize {
        self.backlog.room()
    }

    fn drop_oldest(&mut self) {
        for _ in 0..LINE_MAX {
            let Some(byte) = self.pop() else { return };
            self.dropped = self.dropped.saturating_add(1);
            if byte == b'\n' {
                return;
            }
        }
    }
}

/// Text that is printed as by a guest: Tessera's own lines.
impl Write for Source {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.backlog.room() {
            self.backlog.push_all(text.as_bytes());
            self.written += text.len() as u64;
            self.ends += text.bytes().filter(|&byte| byte == b'\n').count();
        } else {
            text.bytes().for_each(|byte| self.push(byte));
        }
        Ok(())
    }
}

/// Puts out the harmless form of `text`, for which the caller has made sure of room.
fn show_plain(plain: &mut Plain, text: &[u8], out: &mut Ring) {
    if plain.passes(text) {
        put_all(out, text);
    } else {
        plain.filter(text, &mut |byte| {
            out.push(byte);
        });
    }
}

fn label(name: &str, out: &mut Ring) {
    put_all(out, name.as_bytes());
    put_all(out, MARK.as_bytes());
}

/// The length of `line` without a last character that may go on behind it.
fn whole_characters(line: &[u8]) -> usize {
    let continuation = |byte: u8| byte & 0xc0 == 0x80;
    let start = line.iter().rev().take(4).position(|&byte| !continuation(byte));
    match start {
        Some(back) if line.iter().rev().nth(back).is_some_and(|&byte| byte >= 0xc0) => {
            line.len() - back - 1
        }
        _ => line.len(),
    }
}

fn trim_returns(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    line
}
