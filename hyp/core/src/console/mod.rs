//! One physical UART for all guests and for Tessera.
//!
//! Problem: the board has one terminal. One guest wants it whole, with raw keys and escape sequences; what the others
//! and Tessera print should not be lost meanwhile; and nobody but Tessera may be able to print in Tessera's name.
//!
//! Idea: the guest with the focus has the terminal as it is. Everybody else's output goes to a back-log of its own and
//! leaves it in whole lines, labelled `name| text`, made harmless by `plain`. Where the focused guest is within a line
//! (a prompt), that line is taken off the screen and shown again below. The switch key moves the focus; what the new
//! guest has not shown yet, its prompt among it, is then shown raw. See `keys` for the keys.
//!
//! No exit waits for the physical UART: output is queued in a ring of fixed size, which the driver empties
//! ([`Console::take_output`]). Whoever has something to show takes turns at the ring. Where it is full, output waits in
//! the back-logs, and the oldest lines there are lost, with a note of how many bytes. The focused guest is asked to
//! wait instead ([`Console::flow_change`]): its emulated UART shows a full FIFO.
//!
//! What this does not promise: a guest that has the focus draws what it likes, a false label included. A header line
//! says whose output follows; what a reader must be able to trust is read without focus on a guest that is not.
//!
//! Idea not taken: full terminal emulation a guest, redrawn at a switch. It would be the largest parser of guest bytes
//! at EL2, for a service that `screen` gives outside.
//!
//! The monitor ([`crate::monitor`]) has a place behind the guests: it can have the focus, and its answers to programs go
//! between the lines of all; see `desk`.
//!
//! Locking: the console is behind one lock of its own, taken after that of an emulated UART and never held across a
//! call to another device.

mod desk;
mod keys;
mod labelled;
mod plain;
mod quota;
mod ring;
mod screen;
mod source;
mod turns;

use alloc::boxed::Box;
use core::fmt;

use crate::addr::VmId;
use desk::Desk;
pub use desk::MonitorInput;
pub use keys::{ConsoleKeys, KeyName};
use keys::{Key, Keys, RS};
pub use labelled::{Labelled, TESSERA};
pub(crate) use plain::Plain;
use quota::Quota;
use ring::Ring;
use screen::{CLEAR_MAX, REDRAW_MAX, Screen, put_all};
use source::{LINE_COST, NAME_MAX, Source};

/// Room that is kept in the output ring for a labelled line and for the focused guest's line around it.
const RESERVE: usize = REDRAW_MAX + LINE_COST;
/// The most that a change of focus needs, its old lines apart.
const HEADER_COST: usize = CLEAR_MAX + NAME_MAX + 64;
/// What the header calls the monitor.
const MONITOR: &str = "monitor";
/// The index of the focus where nobody has it.
const NOBODY: usize = usize::MAX;

/// How much memory a console takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Bytes of the ring towards the physical UART.
    pub output: usize,
    /// Bytes of each back-log: one a guest and one for Tessera.
    pub backlog: usize,
    /// Bytes of input that wait for a guest.
    pub input: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { output: 8 << 10, backlog: 16 << 10, input: 4 << 10 }
    }
}

/// Input on its way to a guest.
#[derive(Debug)]
struct Input {
    queue: Ring,
    /// Bytes are being lost, and it was said.
    losing: bool,
}

/// The multiplexer.
#[derive(Debug)]
pub struct Console {
    output: Ring,
    /// The guests, the monitor and Tessera behind them.
    sources: Box<[Source]>,
    inputs: Box<[Input]>,
    /// What may be said about each guest.
    quotas: Box<[Quota]>,
    focus: usize,
    /// Who had the focus before the switch key.
    before: usize,
    keys: Keys,
    screen: Screen,
    /// The focus changed and the header is not out yet.
    header_due: bool,
    /// Something waits for room in the output ring.
    waiting: bool,
    /// Bytes of the focused guest's last output that are to be shown again before the header.
    replay: usize,
    /// Whose turn at the output it is; behind all sources it is the frames'.
    turn: usize,
    /// The guest whose UART was told to hold back.
    held: Option<usize>,
    /// Lines and frames that were shown of those without the focus.
    lines: u32,
    desk: Desk,
}

impl Console {
    /// A console for guests of these names, in the order of their [`VmId`]s; the first has the focus. An empty name is
    /// that of a guest without a console: it has no place in the round.
    pub fn new(names: &[&str], sizes: Sizes) -> Self {
        let tessera = Source::new(TESSERA, sizes.backlog);
        Self::with_log(names, sizes, ConsoleKeys::default(), tessera)
    }

    /// This console with guests and keys: what Tessera printed before stays known.
    pub fn with_guests(self, names: &[&str], sizes: Sizes, keys: ConsoleKeys) -> Self {
        let tessera = self.sources.into_iter().next_back();
        let tessera = tessera.unwrap_or_else(|| Source::new(TESSERA, sizes.backlog));
        Self::with_log(names, sizes, keys, tessera)
    }

    fn with_log(names: &[&str], sizes: Sizes, keys: ConsoleKeys, tessera: Source) -> Self {
        let guests = names.iter().map(|name| Source::new(name, sizes.backlog));
        let monitor = Source::new(MONITOR, desk::TEXT_MAX);
        let first = names.iter().position(|name| !name.is_empty()).unwrap_or(NOBODY);
        Self {
            output: Ring::new(sizes.output.max(2 * (RESERVE + HEADER_COST))),
            sources: guests.chain([monitor, tessera]).collect(),
            inputs: names
                .iter()
                .map(|_| Input { queue: Ring::new(sizes.input), losing: false })
                .collect(),
            quotas: names.iter().map(|_| Quota::default()).collect(),
            focus: first,
            before: first,
            keys: Keys::new(keys),
            screen: Screen::new(),
            header_due: false,
            waiting: false,
            replay: 0,
            turn: 0,
            held: None,
            lines: 0,
            desk: Desk::new(first),
        }
    }

    /// A guest printed `byte`.
    #[inline]
    pub fn guest_output(&mut self, vm: VmId, byte: u8) {
        let index = usize::from(vm.0);
        // No guest can forge a frame.
        if !self.has_console(index) || byte == RS {
            return;
        }
        let focused = index == self.focus;
        let free = !self.header_due && !self.desk.in_frame;
        let Some(source) = self.sources.get_mut(index) else { return };
        if focused && free && self.output.room() > RESERVE && source.is_empty() {
            source.pass(byte);
            return self.screen.raw(byte, &mut self.output);
        }
        source.push(byte);
        if focused || source.has_line() {
            self.pump();
        }
    }

    /// Tessera prints `text`, as one line or several.
    pub fn log(&mut self, text: fmt::Arguments<'_>) {
        if let Some(tessera) = self.sources.last_mut() {
            tessera.log(text);
        }
        self.pump();
    }

    /// The terminal sent `byte`: which guest has input now, if any. It is taken with [`Console::take_input`].
    pub fn physical_input(&mut self, byte: u8) -> Option<VmId> {
        let guests = self.guests();
        match self.keys.feed(byte, guests) {
            Key::Pass(byte) => return self.queue_input(byte),
            Key::Next => {
                self.before = self.focus;
                let focus = self.focus.min(guests);
                let mut round = (focus + 1..guests).chain(0..=focus);
                let next = round.find(|&next| self.has_console(next));
                self.focus_index(next.unwrap_or(NOBODY));
            }
            Key::Pick(index) => self.focus_index(index),
            Key::Monitor => self.toggle_monitor(),
            Key::ToMonitor => {
                self.focus_index(self.before);
                if !self.monitor_has_focus() {
                    self.toggle_monitor();
                }
            }
            Key::Literal(byte) => {
                self.focus_index(self.before);
                return self.queue_input(byte);
            }
            Key::Request => self.desk.begin_request(),
            Key::Asked(byte) => self.desk.asked(byte),
            Key::Nothing => {}
            Key::Help => {
                self.focus_index(self.before);
                self.help();
            }
        }
        None
    }

    /// The next byte of input for a guest.
    pub fn take_input(&mut self, vm: VmId) -> Option<u8> {
        let input = self.inputs.get_mut(usize::from(vm.0))?;
        input.losing = false;
        input.queue.pop()
    }

    /// Gives a guest the focus.
    pub fn focus_on(&mut self, vm: VmId) {
        self.focus_index(usize::from(vm.0));
    }

    /// The guest that has the focus.
    pub fn focus(&self) -> Option<VmId> {
        (self.focus < self.guests()).then_some(VmId(self.focus as u8))
    }

    /// Fills `into` with output for the physical UART, oldest first: how many bytes.
    pub fn take_output(&mut self, into: &mut [u8]) -> usize {
        let count = self.output.take(into);
        if self.waiting {
            self.pump();
        }
        count
    }

    /// Output waits for the physical UART.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// How many lines were shown so far of those who do not have the focus.
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// Whether a guest's UART was told to hold back.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// A guest whose UART has to hold back its output from now on (`true`), or may go on (`false`). To be asked after
    /// output was added or taken, until it says `None`.
    pub fn flow_change(&mut self) -> Option<(VmId, bool)> {
        let wanted = self.wants_hold();
        if self.held == wanted {
            return None;
        }
        let (index, hold) = match self.held {
            Some(index) => (index, false),
            None => (wanted?, true),
        };
        self.held = hold.then_some(index);
        Some((VmId(index as u8), hold))
    }

    /// A guest was started anew, its UART with it. Input for the old one is thrown away; what the old one printed stays.
    pub fn reset_guest(&mut self, vm: VmId) {
        let index = usize::from(vm.0);
        let Some(input) = self.inputs.get_mut(index) else { return };
        input.queue.clear();
        input.losing = false;
        if self.held == Some(index) {
            self.held = None;
        }
        let Some(source) = self.sources.get(index) else { return };
        let on_screen = self.focus == index && source.is_empty();
        let at_start = if on_screen { self.screen.at_line_start() } else { source.at_line_start() };
        if !at_start {
            self.guest_output(vm, b'\r');
            self.guest_output(vm, b'\n');
        }
    }

    /// Passes all whole lines and the focused guest's output to `put` and ends the line: for the last words of a panic,
    /// which follow by [`Labelled`]. Bounded by the sizes of the rings.
    pub fn flush(&mut self, mut put: impl FnMut(u8)) {
        self.pump();
        while self.has_output() {
            while let Some(byte) = self.output.pop() {
                put(byte);
            }
            self.pump();
        }
        if core::mem::take(&mut self.desk.in_frame) {
            put_all(&mut self.output, b"\r\n");
        }
        self.screen.clear(&mut self.output);
        while let Some(byte) = self.output.pop() {
            put(byte);
        }
    }

    fn guests(&self) -> usize {
        self.inputs.len()
    }

    fn has_console(&self, index: usize) -> bool {
        index < self.guests() && self.sources.get(index).is_some_and(|guest| !guest.name.is_empty())
    }

    fn queue_input(&mut self, byte: u8) -> Option<VmId> {
        if self.monitor_has_focus() {
            self.monitor_key(byte);
        }
        let vm = self.focus()?;
        let input = self.inputs.get_mut(self.focus)?;
        if !input.queue.push(byte)
            && !core::mem::replace(&mut input.losing, true)
            && let Some((tessera, guests)) = self.sources.split_last_mut()
        {
            let name = guests.get(self.focus).map_or("", |guest| &guest.name);
            tessera.log(format_args!("{name} does not read its input: what is typed is lost"));
            self.pump();
        }
        Some(vm)
    }

    fn help(&mut self) {
        let guests = self.guests();
        let ConsoleKeys { switch, monitor } = self.keys.names();
        let (switch, monitor) = (KeyName(switch), KeyName(monitor));
        let Some((tessera, sources)) = self.sources.split_last_mut() else { return };
        tessera.log(format_args!(
            "{switch} goes to the next guest, {switch} and a digit to that one, {monitor} or {switch} m to the \
             monitor; {switch} 0 sends {switch}, {switch} {monitor} sends {monitor}"
        ));
        let numbered = (1..=9).zip(sources.iter().take(guests));
        for (number, guest) in numbered.filter(|(_, guest)| !guest.name.is_empty()) {
            tessera.log(format_args!("  {number} {}", guest.name));
        }
        self.pump();
    }

    fn focus_index(&mut self, index: usize) {
        let monitor = self.monitor();
        if !self.has_console(index) && index != monitor {
            return;
        }
        // The line that the old guest is in counts as not shown, so that it is seen whole later.
        if self.focus != monitor
            && !self.header_due
            && let Some(old) = self.sources.get_mut(self.focus)
            && old.is_empty()
        {
            old.forget_line();
            self.screen.partial().iter().for_each(|&byte| old.push(byte));
        }
        if self.focus == monitor || index == monitor {
            self.monitor_focus(index == monitor);
        }
        if let Some(new) = self.sources.get_mut(index) {
            new.start_afresh();
        }
        if index != self.focus && index == monitor {
            self.replay = 0;
        }
        self.focus = index;
        self.header_due = true;
        self.pump();
    }
}

#[cfg(test)]
mod tests;
