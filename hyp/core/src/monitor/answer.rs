//! Answers: the records of each verb, one at a time.
//!
//! An answer is pulled: nothing of it is made before there is room for it, so that a long one takes no large buffer and
//! no exit does more than a piece of it. It tells what is true when each record is made, not of one moment.

use alloc::string::String;

use super::record::Record;
use super::verbs::{Asker, Command, Verb, usage};
use super::world::World;

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    command: Command,
    asker: Asker,
    /// How far it got; what that means is the verb's.
    at: u64,
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
        Ok(Self { command, asker, at: 0 })
    }

    /// The next record.
    pub(super) fn next(&mut self, world: &impl World) -> Option<Record> {
        match self.command.verb {
            Verb::Help => {
                let spec = self.asker.verbs().nth(self.at as usize)?;
                self.at += 1;
                Some(Record::row("verb").with("verb", usage(spec)).with("does", spec.help))
            }
            Verb::Log => Some(Record::line("log").with("text", world.log_line(&mut self.at)?)),
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

/// The verb does something, at once.
fn acts(verb: Verb) -> bool {
    use Verb::*;
    matches!(verb, VmStart | VmStop | VmKill | VmPause | VmResume | VmReset | Console)
}

/// The verb does something after which there is no answer.
fn ends_board(verb: Verb) -> bool {
    matches!(verb, Verb::Reboot | Verb::Poweroff)
}
