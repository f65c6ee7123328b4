//! The monitor's part of the console: what is typed for it, programs' requests, its text and its answers to programs.
//!
//! Its text is shown like the output of a guest with the focus, and not at all without. Answers to programs are frames: RS,
//! a line, LF, with nothing else in between; where the ring towards the UART is full, everybody waits until a frame that
//! was begun is out. Whoever makes text and frames asks for room first, so nothing of them is lost.

use super::keys::RS;
use super::ring::Ring;
use super::source::{LINE_COST, Source};
use super::{Console, RESERVE};
use crate::addr::VmId;

/// Bytes typed to the monitor that it has not read yet.
const TYPED_MAX: usize = 256;
/// Bytes of requests that wait for the answers to those before them.
const REQUESTS_MAX: usize = 1024;
/// Bytes of frames that wait for room.
const FRAMES_MAX: usize = 2048;
/// Bytes of text that wait for room.
pub(super) const TEXT_MAX: usize = 2048;
/// Lines that are shown again of a guest that gets the terminal by [`Console::show_guest`].
const OLD_LINES: usize = 16;

// A line of text with its frame goes into the ring at once, or the other's lines come between.
const _: () = assert!(RESERVE > LINE_COST);

/// What the monitor shares with the console.
#[derive(Debug)]
pub(super) struct Desk {
    typed: Ring,
    requests: Ring,
    /// Bytes at the end of `requests` that have no end yet.
    unfinished: usize,
    /// The request that comes finds no room: it is dropped.
    dropping: bool,
    /// Requests were dropped, and it was not said.
    dropped: bool,
    pub(super) frames: Ring,
    /// A frame is on the screen but for its end.
    pub(super) in_frame: bool,
    /// The monitor got the focus, and does not know yet.
    opened: bool,
    /// Its maker has more to show and waits for room.
    waits: bool,
    /// Who gets the focus when the monitor is left.
    returns_to: usize,
}

impl Desk {
    pub(super) fn new(returns_to: usize) -> Self {
        Self {
            typed: Ring::new(TYPED_MAX),
            requests: Ring::new(REQUESTS_MAX),
            unfinished: 0,
            dropping: false,
            dropped: false,
            frames: Ring::new(FRAMES_MAX),
            in_frame: false,
            opened: false,
            waits: false,
            returns_to,
        }
    }

    /// A request begins; what came of one before it is dropped.
    pub(super) fn begin_request(&mut self) {
        self.requests.retract(self.unfinished);
        (self.unfinished, self.dropping) = (0, false);
    }

    /// A byte of a request came.
    pub(super) fn asked(&mut self, byte: u8) {
        if self.dropping || !self.requests.push(byte) {
            self.begin_request();
            self.dropping = byte != b'\n';
            self.dropped = true;
            return;
        }
        self.unfinished = if byte == b'\n' { 0 } else { self.unfinished + 1 };
    }
}

/// What came for the monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MonitorInput {
    /// The monitor got the focus: a prompt is expected.
    Opened,
    /// A key, typed while it has the focus.
    Key(u8),
}

impl Console {
    /// The monitor's place behind the guests.
    pub(super) fn monitor(&self) -> usize {
        self.inputs.len()
    }

    /// The monitor has the focus.
    pub fn monitor_has_focus(&self) -> bool {
        self.focus == self.monitor()
    }

    /// The monitor has something to read, or room for what it wanted to show.
    pub fn monitor_is_due(&self) -> bool {
        let desk = &self.desk;
        desk.opened
            || desk.waits
            || desk.dropped
            || !desk.typed.is_empty()
            || desk.requests.len() > desk.unfinished
    }

    /// The monitor could not show all: whoever empties the output has to let it go on. To be renewed each time.
    pub fn monitor_waits(&mut self, waits: bool) {
        self.desk.waits = waits;
    }

    /// Whether the monitor waits to show more.
    pub fn is_waited_for(&self) -> bool {
        self.desk.waits
    }

    /// The next of what was typed for the monitor.
    pub fn take_monitor_input(&mut self) -> Option<MonitorInput> {
        if core::mem::take(&mut self.desk.opened) {
            return Some(MonitorInput::Opened);
        }
        self.desk.typed.pop().map(MonitorInput::Key)
    }

    /// The next byte of a request that is there as a whole.
    pub fn take_request(&mut self) -> Option<u8> {
        let desk = &mut self.desk;
        if desk.requests.len() > desk.unfinished { desk.requests.pop() } else { None }
    }

    /// Whether requests were lost since this was asked.
    pub fn take_lost_request(&mut self) -> bool {
        core::mem::take(&mut self.desk.dropped)
    }

    /// Shows text of the monitor, as much of it as there is room for: how many bytes. Without the focus it is shown to
    /// nobody.
    pub fn monitor_text(&mut self, text: &[u8]) -> usize {
        let monitor = self.monitor();
        let Some(source) = self.sources.get_mut(monitor).filter(|_| self.focus == monitor) else {
            return text.len();
        };
        let count = source.room().min(text.len());
        text.iter().take(count).for_each(|&byte| source.push(byte));
        self.pump();
        count
    }

    /// Puts out a line for a program, as much of it as there is room for: how many bytes. The first call with a line begins
    /// its frame, and LF in `line` ends it.
    pub fn frame(&mut self, line: &[u8]) -> usize {
        let frames = &mut self.desk.frames;
        let count = frames.room().min(line.len());
        line.iter().take(count).for_each(|&byte| {
            frames.push(byte);
        });
        self.pump();
        count
    }

    /// Gives a guest the focus, with the lines that it printed last.
    pub fn show_guest(&mut self, vm: VmId) {
        let index = usize::from(vm.0);
        if self.has_console(index) {
            self.replay = self.sources.get(index).map_or(0, |guest| guest.last_lines(OLD_LINES));
            self.focus_index(index);
        }
    }

    /// Whoever had the focus before the monitor gets it back.
    pub fn leave_monitor(&mut self) {
        self.focus_index(self.desk.returns_to);
    }

    /// The monitor's key.
    pub(super) fn toggle_monitor(&mut self) {
        if self.monitor_has_focus() {
            return self.leave_monitor();
        }
        self.desk.returns_to = self.focus;
        self.focus_index(self.monitor());
    }

    /// The focus goes to the monitor (`true`) or away from it.
    pub(super) fn monitor_focus(&mut self, opened: bool) {
        self.desk.opened = opened;
        self.desk.typed.clear();
        let monitor = self.monitor();
        if let Some(source) = self.sources.get_mut(monitor) {
            source.clear();
        }
    }

    /// A key that is typed to the monitor; what it does not read in time is lost, as a person sees.
    pub(super) fn monitor_key(&mut self, byte: u8) {
        self.desk.typed.push(byte);
    }

    /// Puts out a frame or a part of one.
    pub(super) fn frame_turn(&mut self) {
        let desk = &mut self.desk;
        if !desk.in_frame {
            self.output.push(RS);
        }
        desk.in_frame = true;
        while self.output.room() > RESERVE
            && let Some(byte) = desk.frames.pop()
        {
            self.output.push(byte);
            if byte == b'\n' {
                desk.in_frame = false;
                // For the terminal; no reader of frames sees it.
                self.output.push(b'\r');
                break;
            }
        }
    }

    /// Tessera's own line that begins at byte `at` of all that it ever printed, or the oldest that is kept; and where the
    /// next one begins.
    pub fn log_line(&self, at: u64) -> Option<(alloc::string::String, u64)> {
        self.sources.last().and_then(|tessera: &Source| tessera.line_at(at))
    }
}
