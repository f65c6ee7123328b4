//! A tree of members in which all wait for all, and which tells who is missing.
//!
//! Arrivals go up the tree of those that are there, releases down. Each member has a line of the region that it alone writes: two
//! marks, of its subtree's arrival and of its release of its children, each with a value. A mark has the number of the view
//! ([`View`]) and that of the barrier since, so what a former life or a former tree left is nobody's mark.
//!
//! Whoever waits looks at the membership page too. When a member went or came, all that wait are told, and then *join*: the first
//! barrier of a new tree. As the change may have come between the releases of one barrier, some have passed it and others not.
//! So each says how far it is when it joins, and all are given the least of that: from there they go on together.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, fence};

use crate::{Peers, View};

/// Words of a member's line; a barrier has one for each member.
pub const LINE: usize = 8;
/// Children of a member in the tree.
const FAN: usize = 4;

/// In a line.
const ARRIVED: usize = 0;
const RELEASED: usize = 4;

/// Why a barrier was not passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Members went or came, each a bit by index; one that was away and is back is in both.
    Changed {
        /// Who was waited for and is gone.
        gone: u32,
        /// Who is there now and was not waited for.
        came: u32,
    },
    /// [`Peers::pause`] gave up.
    GaveUp,
    /// The barrier was never joined.
    NotJoined,
}

/// A barrier that was joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The members of its tree, a bit an index.
    pub members: u32,
    /// The least of what they brought.
    pub least: u64,
}

/// A member's place in the barrier.
pub struct Barrier<'a, P> {
    peers: &'a P,
    lines: &'a [AtomicU64],
    view: View,
    /// Barriers since the view was joined.
    count: u32,
    /// The page's generation when it was last found as in the view.
    looked: u64,
}

impl<'a, P: Peers> Barrier<'a, P> {
    /// The barrier in the first [`LINE`] words a member of `words`; `None` where there are fewer.
    pub fn new(words: &'a [AtomicU64], peers: &'a P) -> Option<Self> {
        let lines = words.get(..peers.members() * LINE)?;
        let looked = peers.generation();
        Some(Self { peers, lines, view: View::NOBODY, count: 0, looked })
    }

    /// Waits until all that are there have joined, and all of `wanted`, a bit an index, are among them. `value` is how far this
    /// member is, or whatever else the least of is to be known.
    pub fn join(&mut self, wanted: u32, value: u64) -> Result<Joined, Broken> {
        loop {
            let generation = self.peers.generation();
            let view = View::of(self.peers);
            if view.members() & wanted != wanted || rank(view.members(), self.peers.me()).is_none()
            {
                if !self.peers.pause() {
                    return Err(Broken::GaveUp);
                }
                continue;
            }
            self.count = if view == self.view { self.count.wrapping_add(1) } else { 0 };
            self.view = view;
            self.looked = generation;
            match self.pass(value) {
                Ok(least) => return Ok(Joined { members: view.members(), least }),
                Err(Broken::Changed { .. }) => {}
                Err(other) => return Err(other),
            }
        }
    }

    /// Waits for all that joined, and gives the least of their values.
    pub fn wait(&mut self, value: u64) -> Result<u64, Broken> {
        self.count = self.count.wrapping_add(1);
        self.pass(value)
    }

    fn pass(&mut self, value: u64) -> Result<u64, Broken> {
        let members = self.view.members();
        let mark = u64::from(self.view.number()) << 32 | u64::from(self.count);
        let me = self.peers.me();
        let rank = rank(members, me).ok_or(Broken::NotJoined)?;
        let children = rank * FAN + 1..=rank * FAN + FAN;
        let children = || children.clone().filter_map(|rank| nth(members, rank));
        let mut least = value;
        for child in children() {
            least = least.min(self.until(child, ARRIVED, mark)?);
        }
        if let Some(above) = rank.checked_sub(1)
            && let Some(parent) = nth(members, above / FAN)
        {
            self.publish(me, ARRIVED, mark, least);
            self.peers.ring(parent);
            least = self.until(parent, RELEASED, mark)?;
        }
        self.publish(me, RELEASED, mark, least);
        children().for_each(|child| self.peers.ring(child));
        Ok(least)
    }

    /// Waits for a mark of a member, and gives the value with it.
    fn until(&mut self, member: usize, which: usize, mark: u64) -> Result<u64, Broken> {
        loop {
            if let Some(value) = self.published(member, which, mark) {
                return Ok(value);
            }
            let generation = self.peers.generation();
            if generation != self.looked {
                let now = View::of(self.peers);
                if now.number() != self.view.number() {
                    let (gone, came) = (self.view.without(&now), now.without(&self.view));
                    return Err(Broken::Changed { gone, came });
                }
                self.looked = generation;
            }
            if !self.peers.pause() {
                return Err(Broken::GaveUp);
            }
        }
    }

    fn publish(&self, member: usize, which: usize, mark: u64, value: u64) {
        if let Some([place, with]) = self.place(member, which) {
            // Who finds the new value finds no longer the old mark.
            place.store(0, Relaxed);
            fence(Release);
            with.store(value, Relaxed);
            place.store(mark, Release);
        }
    }

    fn published(&self, member: usize, which: usize, mark: u64) -> Option<u64> {
        let [place, with] = self.place(member, which)?;
        if place.load(Acquire) != mark {
            return None;
        }
        let value = with.load(Acquire);
        (place.load(Relaxed) == mark).then_some(value)
    }

    fn place(&self, member: usize, which: usize) -> Option<[&'a AtomicU64; 2]> {
        let at = member * LINE + which;
        Some([self.lines.get(at)?, self.lines.get(at + 1)?])
    }
}

/// How many of `members` come before `member`, where that is one of them.
fn rank(members: u32, member: usize) -> Option<usize> {
    let bit = 1u32.checked_shl(member as u32)?;
    (members & bit != 0).then(|| (members & (bit - 1)).count_ones() as usize)
}

/// The member before which so many of `members` come.
fn nth(members: u32, rank: usize) -> Option<usize> {
    let rest = (0..rank).fold(members, |rest, _| rest & rest.wrapping_sub(1));
    (rest != 0).then(|| rest.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests;
