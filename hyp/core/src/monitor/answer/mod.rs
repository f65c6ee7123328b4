//! Answers: the records of each verb, one at a time.
//!
//! An answer is pulled: nothing of it is made before there is room for it, so that a long one takes no large buffer and
//! no exit does more than a piece of it. It tells what is true when each record is made, not of one moment. Some take
//! their time: registers that a core has yet to leave, a share of a time that has yet to pass. Those say until when.

mod board;
mod groups;
mod guests;
mod load;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::slice;

use super::record::{Record, Value};
use super::verbs::{Asker, Command, Verb, usage};
use super::world::World;
use crate::guest::Guest;
use crate::trace;
use load::Sample;

/// Milliseconds in which a core has left its guest's registers.
const LOOK_MS: u64 = 20;

/// Milliseconds until all cores see how busy their vCPUs are, once somebody wants to know.
const SETTLE_MS: u64 = 20;
/// Milliseconds over which `vm list` says how busy guests are.
const GLANCE_MS: u64 = 200;
/// Milliseconds over which `top` does, and after which it does again.
const TOP_MS: u64 = 1000;

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    command: Command,
    asker: Asker,
    /// How far it got; what that means is the verb's.
    at: u64,
    /// Nothing is told before this, on the board's counter.
    wait: Option<u64>,
    /// What was counted at the begin and at the end of the time that rates are told of, once that is over.
    first: Option<Vec<Sample>>,
    second: Option<Vec<Sample>>,
    /// The last exits of the vCPU that is being told of.
    exits: Vec<trace::Record>,
    /// When those were read.
    read_at: u64,
}

/// What comes next of an answer.
#[derive(Debug)]
pub(super) enum Next {
    /// This.
    Record(Record),
    /// Nothing before this time, on the board's counter.
    Wait(u64),
    /// Nothing more.
    End,
}

impl Answer {
    /// Begins to answer: does what was asked, unless that ends the board.
    pub(super) fn begin(
        command: Command,
        asker: Asker,
        world: &impl World,
    ) -> Result<Self, String> {
        if acts(command.verb) {
            world.act(command)?;
        }
        let mut answer = Self {
            command,
            asker,
            at: 0,
            wait: None,
            first: None,
            second: None,
            exits: Vec::new(),
            read_at: 0,
        };
        if measures(command.verb) {
            answer.wait_ms(SETTLE_MS, world);
            world.sample(world.counter_hz() * 3);
        }
        let looked_at = match command.verb {
            Verb::Regs => answer.guest(world).map(slice::from_ref),
            Verb::Irq => Some(world.guests()),
            _ => None,
        };
        if let Some(guests) = looked_at {
            guests.iter().for_each(|guest| world.look(guest));
            answer.wait_ms(LOOK_MS, world);
        }
        Ok(answer)
    }

    fn wait_ms(&mut self, ms: u64, world: &impl World) {
        self.wait = Some(world.now() + ms * world.counter_hz() / 1000);
    }

    fn guest<'w>(&self, world: &'w impl World) -> Option<&'w Guest> {
        world.guests().get(usize::from(self.command.guest.0))
    }

    /// What comes next.
    pub(super) fn next(&mut self, world: &impl World) -> Next {
        if let Some(until) = self.wait.filter(|&until| world.now() < until) {
            return Next::Wait(until);
        }
        self.wait = None;
        if measures(self.command.verb) && !self.measured(world) {
            return Next::Wait(self.wait.unwrap_or(world.now()));
        }
        if self.command.verb == Verb::Log {
            let line = world.log_line(&mut self.at);
            return line
                .map_or(Next::End, |text| Next::Record(Record::line("log").with("text", text)));
        }
        let record = match self.command.verb {
            Verb::Trace => self.exit(world),
            _ => self.record(world, self.at as usize),
        };
        self.at += 1;
        match record {
            Some(record) => Next::Record(record),
            None if self.is_live() => self.again(world),
            None => Next::End,
        }
    }

    /// Whether it goes on until somebody has seen enough.
    pub(super) fn is_live(&self) -> bool {
        self.command.verb == Verb::Top && self.asker == Asker::Person
    }

    /// Whether both readings are there. If not, waits for the next.
    fn measured(&mut self, world: &impl World) -> bool {
        if self.first.is_none() {
            self.first = Some(load::sample(world));
            self.wait_ms(if self.command.verb == Verb::Top { TOP_MS } else { GLANCE_MS }, world);
            return false;
        }
        self.second.get_or_insert_with(|| load::sample(world));
        true
    }

    /// The next round of an answer that is live: from the last reading on.
    fn again(&mut self, world: &impl World) -> Next {
        world.sample(world.counter_hz() * 3);
        self.first = self.second.take();
        self.at = 0;
        self.wait_ms(TOP_MS, world);
        Next::Wait(self.wait.unwrap_or(world.now()))
    }

    /// The next of the last exits: of one vCPU after the other, the oldest first. `at` has the vCPU above its low half.
    fn exit(&mut self, world: &impl World) -> Option<Record> {
        let guest = self.guest(world)?;
        let mut vcpu = (self.at >> 32) as usize;
        let mut n = self.at as u32 as usize;
        if self.at == 0 {
            self.read_exits(guest, vcpu, world)?;
        }
        while n >= self.exits.len() {
            (vcpu, n) = (vcpu + 1, 0);
            self.read_exits(guest, vcpu, world)?;
        }
        self.at = (vcpu as u64) << 32 | n as u64;
        let exit = self.exits.get(n)?;
        Some(
            Record::row("exit")
                .with("vcpu", vcpu as u64)
                .with("ago", ticks(world, self.read_at.saturating_sub(exit.time)))
                .with("pc", Value::Hex(exit.pc))
                .with("what", exit.event().to_string()),
        )
    }

    fn read_exits(&mut self, guest: &Guest, vcpu: usize, world: &impl World) -> Option<()> {
        self.exits = guest.counters.vcpus.get(vcpu)?.ring.read();
        self.read_at = world.now();
        Some(())
    }

    /// Record number `n` of the answer.
    fn record(&self, world: &impl World, n: usize) -> Option<Record> {
        match self.command.verb {
            Verb::Help => {
                self.asker.verbs().nth(n).map(|spec| {
                    Record::row("verb").with("verb", usage(spec)).with("does", spec.help)
                })
            }
            Verb::VmList => {
                let (first, second) = (self.first.as_deref()?, self.second.as_deref()?);
                match n.checked_sub(world.guests().len()) {
                    None => guests::list(world, n, first.get(n)?, second.get(n)?),
                    Some(n) => guests::cores(world, n),
                }
            }
            Verb::Top => load::load(world, self.first.as_deref()?, self.second.as_deref()?, n),
            Verb::VmShow => guests::show(world, self.guest(world)?, n),
            Verb::GroupList => groups::list(world, n),
            Verb::GroupShow => groups::member(world, self.command.group, n),
            Verb::Regs => guests::registers(world, self.guest(world)?, n),
            Verb::Mem => board::memory(world, n),
            Verb::Irq => board::interrupts(world, n),
            Verb::Disk => board::disk(world, n),
            verb if acts(verb) && verb != Verb::Console && n == 0 => {
                let guest = self.guest(world)?;
                let name = String::from(guest.name());
                Some(
                    Record::line("state")
                        .with("name", name)
                        .with("state", guest.life.state().word()),
                )
            }
            _ => None,
        }
    }

    /// Once the end of the answer is on its way: ends the board, if that was asked for.
    pub(super) fn end(self, world: &impl World) -> Result<(), String> {
        match ends_board(self.command.verb) {
            true => world.act(self.command),
            false => Ok(()),
        }
    }
}

/// The verb tells of a time that has to pass first.
fn measures(verb: Verb) -> bool {
    matches!(verb, Verb::VmList | Verb::Top)
}

/// The verb does something, at once.
pub(super) fn acts(verb: Verb) -> bool {
    use Verb::*;
    matches!(verb, VmStart | VmStop | VmKill | VmPause | VmResume | VmReset | Console)
}

/// The verb does something after which there is no answer.
fn ends_board(verb: Verb) -> bool {
    matches!(verb, Verb::Reboot | Verb::Poweroff)
}

/// A duration in ticks of the board's counter.
fn ticks(world: &impl World, ticks: u64) -> Value {
    Value::Nanos(Some(nanos(world, ticks)))
}

/// Ticks of the board's counter as nanoseconds.
pub(super) fn nanos(world: &impl World, ticks: u64) -> u64 {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(world.counter_hz().max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// How long ago `at` is.
fn ago(world: &impl World, at: u64) -> Value {
    ticks(world, world.now().saturating_sub(at))
}
