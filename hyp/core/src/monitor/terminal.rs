//! The monitor at the board's own terminal: a shell for whoever types, a session for the programs behind it.

use alloc::string::String;

use super::session::Session;
use super::shell::{Shell, Wish};
use super::verbs::Asker;
use super::world::World;
use crate::console::{Console, MonitorInput};

/// Access to the console, behind its lock.
pub trait Port {
    /// Runs `f` on the console; nothing where there is none.
    fn with<T>(&self, f: impl FnOnce(&mut Console) -> T) -> Option<T>;
}

/// The monitor at the terminal.
#[derive(Debug)]
pub struct Terminal {
    shell: Shell,
    session: Session,
    text: Outgoing,
    frame: Outgoing,
    /// Lines of others that the console had shown when it was asked last.
    lines: u32,
}

/// Something on its way to the console.
#[derive(Debug)]
struct Outgoing {
    bytes: String,
    /// How much of it is there.
    sent: usize,
}

impl Outgoing {
    const fn new() -> Self {
        Self { bytes: String::new(), sent: 0 }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    /// Gives `put` what is left, which says how much it took; whether all is gone.
    fn send(&mut self, put: impl FnOnce(&[u8]) -> usize) -> bool {
        let rest = self.bytes.as_bytes().get(self.sent..).unwrap_or_default();
        if !rest.is_empty() {
            self.sent += put(rest);
        }
        let gone = self.sent >= self.bytes.len();
        if gone {
            self.clear();
        }
        gone
    }
}

/// How a piece of work ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// There may be more.
    Done,
    /// There is nothing to do.
    Idle,
    /// What is left to show waits for room.
    Blocked,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Terminal {
    /// Pieces of work that are done at once: a key, a line.
    const TURNS: usize = 32;

    /// Nobody is there yet.
    pub const fn new() -> Self {
        Self {
            shell: Shell::new(),
            session: Session::new(Asker::Program),
            text: Outgoing::new(),
            frame: Outgoing::new(),
            lines: 0,
        }
    }

    /// Does what there is to do, a bounded amount of it. What is left waits for room in the console's output, which it is
    /// told ([`Console::monitor_waits`]): to be called again when output was taken, or something was typed.
    pub fn work(&mut self, world: &impl World, port: &impl Port) {
        for _ in 0..Self::TURNS {
            let (person, program) = (self.person(world, port), self.program(world, port));
            if person != Step::Done && program != Step::Done {
                let waits = person == Step::Blocked || program == Step::Blocked;
                port.with(|console| console.monitor_waits(waits));
                return;
            }
        }
        port.with(|console| console.monitor_waits(true));
    }

    /// When [`Terminal::work`] is to be called although nothing came, on the board's counter.
    pub fn waits_until(&self) -> Option<u64> {
        [self.shell.waits_until(), self.session.waits_until()].into_iter().flatten().min()
    }

    /// Whether changes of guests' states are to be told: call [`Terminal::work`] when there are some.
    pub fn wants_events(&self) -> bool {
        self.session.wants_events()
    }

    /// A key of the person or a line for it.
    fn person(&mut self, world: &impl World, port: &impl Port) -> Step {
        if !self.text.send(|text| port.with(|console| console.monitor_text(text)).unwrap_or(0)) {
            return Step::Blocked;
        }
        if self.shell.is_live() {
            let lines = port.with(|console| console.lines()).unwrap_or(0);
            self.shell.disturbed(lines != core::mem::replace(&mut self.lines, lines));
        }
        if self.shell.pull(world, &mut self.text.bytes) {
            return Step::Done;
        }
        match port.with(Console::take_monitor_input).flatten() {
            None => return Step::Idle,
            Some(MonitorInput::Opened) => {
                self.text.clear();
                self.shell.open();
            }
            Some(MonitorInput::Key(key)) => {
                if self.shell.key(key, world) == Wish::Leave {
                    port.with(Console::leave_monitor);
                }
            }
        }
        Step::Done
    }

    /// A byte of a program's request or a line for it.
    fn program(&mut self, world: &impl World, port: &impl Port) -> Step {
        if !self.frame.send(|line| port.with(|console| console.frame(line)).unwrap_or(0)) {
            return Step::Blocked;
        }
        if self.session.pull(world, &mut self.frame.bytes) {
            self.frame.bytes.push('\n');
            return Step::Done;
        }
        if port.with(Console::take_lost_request) == Some(true) {
            self.session.lost();
            return Step::Done;
        }
        while let Some(byte) = port.with(Console::take_request).flatten() {
            self.session.feed(byte, world);
            if byte == b'\n' {
                return Step::Done;
            }
        }
        Step::Idle
    }
}
