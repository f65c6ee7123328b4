//! A barrier that is left in the middle, in each way there is to go.
//!
//! The guest is the root of the barrier's tree, for which all others wait. Each of its lives goes in another way and is back in the
//! next: while they wait for it, or when it has let them pass and told nobody yet. The others (`load=nodes nodes.first=1`) say
//! who is gone, and get their result all the same. The life behind the last way stays until all barriers are passed.

use core::cell::Cell;

use tessera_ring::{Barrier, Peers};
use tessera_rt::Machine;
use tessera_rt::abi::group::membership::LIVES_SHIFT;
use tessera_rt::group::Member;

use crate::ending;
use crate::tally::Tally;

/// Barriers that the others pass: one for each row of their board.
const STEPS: u64 = 11;

/// When it goes.
#[derive(Clone, Copy)]
enum Moment {
    /// It has not come to the barrier in which the others wait.
    Awaited,
    /// It has let the others pass, and rung none of them.
    Passing,
}

/// How each life goes, the first one first, and as [`ending`] names it; who waits is ended from outside.
const WAYS: [(Moment, &str); 5] = [
    (Moment::Awaited, "lost-vectors"),
    (Moment::Passing, "reset"),
    (Moment::Awaited, "off"),
    (Moment::Passing, "wait"),
    (Moment::Awaited, "wait"),
];

/// Attack 23, on the first member of a group of which the others are at their barriers.
pub fn run(machine: &Machine, tally: &mut Tally) {
    let Some(node) = machine.groups().first() else { return };
    let member = Member::new(node);
    let lives = member.word(member.me()) >> LIVES_SHIFT;
    let way = lives.checked_sub(1).and_then(|life| WAYS.get(life as usize)).copied();
    let leaver = Leaver { member: &member, goes: Cell::new(None) };
    let everyone = u32::MAX >> (32 - member.members());
    let Some(mut barrier) = Barrier::new(member.words(), &leaver) else {
        return tally.complain("a region without room for a barrier", node.region.0, node.region.1);
    };
    loop {
        // It has nothing to say of how far the others are.
        let Ok(joined) = barrier.join(everyone, u64::MAX) else { continue };
        match way {
            Some((Moment::Awaited, how)) => ending::by(how),
            Some((Moment::Passing, how)) => leaver.goes.set(Some(how)),
            None => {}
        }
        if (joined.least..STEPS).all(|step| barrier.wait(step).is_ok()) {
            return;
        }
    }
}

/// A member that can go when it is to ring another.
struct Leaver<'a> {
    member: &'a Member,
    goes: Cell<Option<&'static str>>,
}

impl Peers for Leaver<'_> {
    fn me(&self) -> usize {
        self.member.me()
    }

    fn members(&self) -> usize {
        self.member.members()
    }

    fn generation(&self) -> u64 {
        self.member.generation()
    }

    fn word(&self, index: usize) -> u64 {
        self.member.word(index)
    }

    fn ring(&self, index: usize) {
        if let Some(how) = self.goes.take() {
            ending::by(how);
        }
        self.member.ring(index);
    }

    fn pause(&self) -> bool {
        self.member.pause()
    }
}
