//! Whose turn at the output it is: a line of each, the focused one's bytes, a program's frame.

use core::fmt::Write;

use super::keys::{ConsoleKeys, KeyName};
use super::{Console, HEADER_COST, RESERVE};

/// Raw bytes that the focused guest puts out in one turn.
const RAW_TURN: usize = 512;

impl Console {
    /// Moves what waits to the output ring, everybody in turn, as far as there is room. Each step of the loop puts
    /// something out or passes a source that has nothing, so the work is bounded by the room. It begins with room for a
    /// whole turn, lest the focused guest's line is taken off the screen for each few bytes of it.
    pub(super) fn pump(&mut self) {
        self.waiting = true;
        if self.header_due && !self.desk.in_frame && !self.header()
            || self.output.room() <= RESERVE + RAW_TURN
        {
            return;
        }
        let turns = self.sources.len() + 1;
        let mut open = self.desk.in_frame;
        let mut idle = 0;
        while idle < turns {
            // Nobody gets between the parts of a frame.
            if self.desk.in_frame {
                self.turn = self.sources.len();
            }
            if !self.waits() {
                idle += 1;
            } else if self.output.room() <= RESERVE {
                break;
            } else {
                idle = 0;
                open = self.take_turn(open);
                if self.desk.in_frame {
                    break;
                }
            }
            self.turn = (self.turn + 1).checked_rem(turns).unwrap_or(0);
        }
        if open && !self.desk.in_frame {
            self.screen.close(&mut self.output);
        }
        self.waiting = idle < turns || self.header_due;
    }

    /// Whether the one whose turn it is has something to show.
    fn waits(&self) -> bool {
        match self.sources.get(self.turn) {
            None => self.desk.in_frame || !self.desk.frames.is_empty(),
            Some(source) if self.turn == self.focus => !self.header_due && !source.is_empty(),
            Some(source) => source.has_line(),
        }
    }

    /// Shows something of the one whose turn it is; `open`, and the result, say that the focused guest's line is off the
    /// screen.
    fn take_turn(&mut self, open: bool) -> bool {
        let focused = self.turn == self.focus;
        let source = self.sources.get_mut(self.turn);
        // A note of lost bytes stands in a line of its own too.
        self.lines = self.lines.wrapping_add(u32::from(!focused));
        let line = !focused || source.as_ref().is_some_and(|source| source.has_dropped());
        if line && !open {
            self.screen.open(&mut self.output);
        }
        match source {
            None => self.frame_turn(),
            Some(_) if focused => self.raw_turn(open || line),
            Some(source) => source.show_line(&mut self.output),
        }
        (open || line) && !focused
    }

    /// Puts out some of what the focused guest printed, as it is; `open` says that its line is off the screen.
    fn raw_turn(&mut self, open: bool) {
        let Some(source) = self.sources.get_mut(self.turn) else { return };
        source.show_dropped(&mut self.output);
        if open {
            self.screen.close(&mut self.output);
        }
        for _ in 0..RAW_TURN {
            if self.output.room() <= RESERVE {
                return;
            }
            let Some(byte) = source.pop() else { return };
            self.screen.raw(byte, &mut self.output);
        }
    }

    /// Puts the header of whoever has the focus out, behind old lines that were asked for, where there is room.
    fn header(&mut self) -> bool {
        if self.output.room() < HEADER_COST {
            return false;
        }
        self.screen.clear(&mut self.output);
        let Some(source) = self.sources.get(self.focus) else { return true };
        while self.replay > 0 {
            if self.output.room() <= RESERVE {
                return false;
            }
            self.replay = source.show_old_line(self.replay, &mut self.output);
        }
        self.header_due = false;
        let ConsoleKeys { switch, monitor } = self.keys.names();
        // The ring takes what it has room for and never fails.
        let _ = match self.focus == self.monitor() {
            true => write!(self.output, "--- monitor ({} returns) ---\r\n", KeyName(monitor)),
            false => {
                let name = &source.name;
                write!(self.output, "--- {name} ({} switches) ---\r\n", KeyName(switch))
            }
        };
        true
    }

    /// The guest that should hold back: the focused one, from when its output has to wait until half of the ring is free.
    pub(super) fn wants_hold(&self) -> Option<usize> {
        let waits = !self.sources.get(self.focus)?.is_empty();
        let full = self.output.len() > self.output.capacity() / 2;
        let hold = waits || full && self.held == Some(self.focus);
        (hold && self.focus < self.guests()).then_some(self.focus)
    }
}
