//! What the monitor asks of the board and of the guests.

use alloc::collections::VecDeque;
use alloc::string::String;

use super::verbs::Command;
use crate::addr::VmId;

/// The board with its guests, as the monitor sees it. Each method takes its own locks and keeps none.
pub trait World {
    /// Nanoseconds since the board was started.
    fn now(&self) -> u64;
    /// The name of a guest, in the order of the configuration.
    fn name(&self, guest: VmId) -> Option<&str>;
    /// Does what `command` asks for, or begins it. An error says why not.
    fn act(&self, command: Command) -> Result<(), String>;
    /// The line of Tessera's log that begins at byte `at` of all that it ever wrote, or the oldest one that is kept; `at`
    /// moves behind it.
    fn log_line(&self, at: &mut u64) -> Option<String>;
    /// The oldest event that is kept of those from number `from` on, with its number.
    fn event(&self, from: u64) -> Option<(u64, Event)>;
    /// The number that the next event will have.
    fn next_event(&self) -> u64;
}

/// A guest's state changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, in nanoseconds as [`World::now`] has them.
    pub at: u64,
    /// Which guest.
    pub guest: VmId,
    /// Its state now.
    pub state: &'static str,
    /// Why, where there is something to say.
    pub reason: String,
}

/// The last events. Whoever follows them keeps the number of the next one, and can see how many it missed.
#[derive(Debug, Default)]
pub struct Events {
    kept: VecDeque<Event>,
    /// The number of the oldest one.
    first: u64,
}

impl Events {
    /// Events that are kept for those who are slow.
    const KEPT: usize = 64;

    /// No events yet.
    pub const fn new() -> Self {
        Self { kept: VecDeque::new(), first: 0 }
    }

    /// Adds an event; the oldest may be lost.
    pub fn add(&mut self, event: Event) {
        if self.kept.len() == Self::KEPT {
            self.kept.pop_front();
            self.first += 1;
        }
        self.kept.push_back(event);
    }

    /// As [`World::event`].
    pub fn get(&self, from: u64) -> Option<(u64, Event)> {
        let number = from.max(self.first);
        let event = self.kept.get(usize::try_from(number - self.first).ok()?)?;
        Some((number, event.clone()))
    }

    /// As [`World::next_event`].
    pub fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }
}
