//! What the monitor asks of the board and of the guests.

use alloc::string::String;

use super::verbs::Command;
use crate::addr::{IntId, VmId};
use crate::disk::partitions::Partition;
use crate::guest::Guest;
use crate::life::{State, StopReason};

/// The board with its guests, as the monitor sees it. Each method takes its own locks and keeps none.
pub trait World {
    /// The board's counter.
    fn now(&self) -> u64;
    /// Its ticks in a second.
    fn counter_hz(&self) -> u64;
    /// The guests.
    fn guests(&self) -> &[Guest];
    /// Does what `command` asks for, or begins it. An error says why not.
    fn act(&self, command: Command) -> Result<(), String>;
    /// Idle time of vCPUs is to be seen for so many ticks from now on, as soon as their cores have taken note.
    fn sample(&self, ticks: u64);
    /// Has the registers of a guest's vCPUs kept, and noted what it did with its interrupts, soon.
    fn look(&self, guest: &Guest);
    /// The line of Tessera's log that begins at byte `at` of all that it ever wrote, or the oldest one that is kept; `at`
    /// moves behind it.
    fn log_line(&self, at: &mut u64) -> Option<String>;
    /// The oldest event that is kept of those from number `from` on, with its number.
    fn event(&self, from: u64) -> Option<(u64, Event)>;
    /// The number that the next event will have.
    fn next_event(&self) -> u64;
    /// Where the board's memory is, but for the guests'.
    fn memory(&self) -> Memory;
    /// The board's disk.
    fn disk(&self) -> Option<DiskFacts>;
    /// The partitions of the board's disk.
    fn partitions(&self) -> &[Partition];
    /// Interrupt line `n` of the board's devices, of those that have interrupted.
    fn line(&self, n: usize) -> Option<LineFacts>;
}

/// RAM of the board, in bytes, as it is divided between those who are no guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// The image: code, data, the boot core's stacks, without the heap.
    pub image: u64,
    /// What is in use of the heap.
    pub heap_used: u64,
    /// What is free of the heap.
    pub heap_free: u64,
    /// The other cores' stacks.
    pub stacks: u64,
    /// The tables of EL2's own map, but for those in the image.
    pub tables: u64,
    /// The bundle.
    pub bundle: u64,
    /// What firmware keeps, the board's device tree, and pages that are in part of something else.
    pub firmware: u64,
    /// Free.
    pub free: u64,
}

/// The interrupt line of a device of the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineFacts {
    /// Its interrupt.
    pub intid: IntId,
    /// Whose it is.
    pub device: &'static str,
    /// How often it interrupted.
    pub count: u64,
    /// How often of these there was nothing to do.
    pub for_nothing: u64,
    /// It is switched off for a while.
    pub off: bool,
}

/// The board's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskFacts {
    /// What drives it.
    pub driver: &'static str,
    /// It answers no more.
    pub lost: bool,
    /// It cannot be written.
    pub read_only: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// A guest's state changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When, on the board's counter.
    pub at: u64,
    /// Which guest.
    pub guest: VmId,
    /// Its state now.
    pub state: State,
    /// Why, where there is something to say.
    pub reason: Option<StopReason>,
    /// Changes of its before this one that are not told, since they came too fast.
    pub left_out: u64,
}

/// The last events. Whoever follows them keeps the number of the next one, and can see how many it missed.
#[derive(Debug)]
pub struct Events {
    /// Each at its number modulo their count, so that what is kept takes the same memory from the beginning.
    kept: [Option<Event>; Self::KEPT],
    /// The number that the next one will have.
    next: u64,
}

impl Events {
    /// Events that are kept for those who are slow.
    const KEPT: usize = 64;

    /// No events yet.
    pub const fn new() -> Self {
        Self { kept: [None; Self::KEPT], next: 0 }
    }

    /// Adds an event; the oldest may be lost.
    pub fn add(&mut self, event: Event) {
        if let Some(place) = self.kept.get_mut((self.next % Self::KEPT as u64) as usize) {
            *place = Some(event);
        }
        self.next += 1;
    }

    /// As [`World::event`].
    pub fn get(&self, from: u64) -> Option<(u64, Event)> {
        let number = from.max(self.next.saturating_sub(Self::KEPT as u64));
        let event = self.kept.get((number % Self::KEPT as u64) as usize)?;
        event.filter(|_| number < self.next).map(|event| (number, event))
    }

    /// As [`World::next_event`].
    pub fn next(&self) -> u64 {
        self.next
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}
