//! What the terminal shows of the focused guest: the line that its cursor is in, so that other lines can go above it.

use super::ring::Ring;

/// Bytes of an unfinished line that can be shown again.
const PARTIAL_MAX: usize = 256;

/// Ends a control string that was left open, and switches off colours and concealment (ECMA-48 8.3.143, 8.3.117).
const PLAIN_STYLE: &[u8] = b"\x1b\\\x1b[0m";
/// Soft reset of the terminal: cursor, margins, character sets, modes (DEC STD 070, DECSTR).
const SOFT_RESET: &[u8] = b"\x1b[!p";
/// Takes the line off the screen that the cursor is in (ECMA-48 8.3.41).
const ERASE_LINE: &[u8] = b"\r\x1b[K";

/// The most that [`Screen::open`] and [`Screen::close`] put out together.
pub(super) const REDRAW_MAX: usize = PLAIN_STYLE.len() + ERASE_LINE.len() + PARTIAL_MAX + 1;
/// The most that [`Screen::clear`] puts out.
pub(super) const CLEAR_MAX: usize = PLAIN_STYLE.len() + SOFT_RESET.len() + 2;

/// The terminal, as far as raw output of a guest has left traces in it.
#[derive(Debug)]
pub(super) struct Screen {
    /// The bytes since the line's begin, to be shown again.
    partial: [u8; PARTIAL_MAX],
    len: usize,
    /// The line is longer than `partial`: it cannot be shown again.
    overflow: bool,
    /// The last byte was CR: what follows overwrites the line.
    returned: bool,
    /// The last line end came without CR, so that the cursor may be anywhere in the line.
    slanted: bool,
    /// An escape sequence came since the style was last made plain.
    styled: bool,
    /// An escape sequence came since the last soft reset.
    modes: bool,
}

impl Screen {
    pub(super) const fn new() -> Self {
        Self {
            partial: [0; PARTIAL_MAX],
            len: 0,
            overflow: false,
            returned: false,
            slanted: false,
            styled: false,
            modes: false,
        }
    }

    /// A raw byte of the focused guest goes out.
    #[inline]
    pub(super) fn raw(&mut self, byte: u8, out: &mut Ring) {
        out.push(byte);
        match byte {
            b'\n' => {
                self.slanted = !self.returned;
                self.new_line();
            }
            b'\r' => self.returned = true,
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.returned {
            self.new_line();
        }
        if byte == 0x1b {
            (self.styled, self.modes) = (true, true);
        }
        match self.partial.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.overflow = true,
        }
        if matches!(byte, b'n' | b'c') {
            self.forget_query();
        }
    }

    /// Takes back a query that has just been completed (ECMA-48 8.3.35 DSR, 8.3.24 DA): shown again, the terminal would
    /// answer again, and the answer would be typed to the guest. A shell's line editor asks at each prompt.
    fn forget_query(&mut self) {
        let line = self.partial.get(..self.len).unwrap_or(&[]);
        let Some(escape) = line.iter().rposition(|&byte| byte == 0x1b) else { return };
        let Some([b'[', parameters @ .., _]) = line.get(escape + 1..) else { return };
        if parameters.iter().all(|byte| matches!(byte, 0x20..=0x3f)) {
            self.len = escape;
        }
    }

    fn new_line(&mut self) {
        (self.len, self.overflow, self.returned) = (0, false, false);
    }

    /// The cursor is at the begin of an empty line.
    pub(super) fn at_line_start(&self) -> bool {
        self.len == 0 && !self.overflow
    }

    /// The unfinished line, where all of it is known.
    pub(super) fn partial(&self) -> &[u8] {
        if self.overflow { &[] } else { self.partial.get(..self.len).unwrap_or(&[]) }
    }

    /// Makes place for whole lines: takes the unfinished line off the screen, or leaves it where it is too long.
    pub(super) fn open(&mut self, out: &mut Ring) {
        if self.styled {
            put_all(out, PLAIN_STYLE);
            self.styled = false;
        }
        if self.overflow {
            put_all(out, b"\r\n");
            self.new_line();
        } else if self.len > 0 {
            put_all(out, ERASE_LINE);
        } else if self.slanted {
            put_all(out, b"\r");
        }
        self.slanted = false;
    }

    /// Shows the unfinished line again below the lines that came between.
    pub(super) fn close(&mut self, out: &mut Ring) {
        let partial = self.partial.get(..self.len).unwrap_or(&[]);
        put_all(out, partial);
        self.styled = partial.contains(&0x1b);
        if self.returned {
            out.push(b'\r');
        }
    }

    /// Leaves the line and whatever modes the guest has set: another guest gets the terminal.
    pub(super) fn clear(&mut self, out: &mut Ring) {
        if self.modes {
            put_all(out, PLAIN_STYLE);
            put_all(out, SOFT_RESET);
        }
        if !self.at_line_start() || self.slanted {
            put_all(out, b"\r\n");
        }
        *self = Self::new();
    }
}

/// Puts out `text`, for which the caller has made sure of room.
pub(super) fn put_all(out: &mut Ring, text: &[u8]) {
    out.push_all(text);
}
