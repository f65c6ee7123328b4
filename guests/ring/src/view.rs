//! Who of a group is there, in which life.

use tessera_abi::group::membership::{LIVES_SHIFT, State};

use crate::{MAX_MEMBERS, Peers};

/// A state of the membership page, by a number that no other state of it has.
///
/// A member's stamp is twice the number of its lives, and one more while it is gone: it only grows. So does the sum of all
/// stamps, which therefore names one state of all of them. (Modulo 2^32; nobody waits through that many lives.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    stamps: [u32; MAX_MEMBERS],
    members: u32,
    number: u32,
}

impl View {
    /// Nobody is there.
    pub(crate) const NOBODY: Self = Self { stamps: [0; MAX_MEMBERS], members: 0, number: 0 };

    /// The page as it is now.
    pub fn of(peers: &impl Peers) -> Self {
        loop {
            // A word is written before the generation, and one change comes after the other.
            let before = peers.generation();
            let view = Self::read(peers);
            if peers.generation() == before {
                return view;
            }
        }
    }

    fn read(peers: &impl Peers) -> Self {
        let mut view = Self::NOBODY;
        for (index, stamp) in view.stamps.iter_mut().enumerate().take(peers.members()) {
            let word = peers.word(index);
            let there = is_there(word);
            *stamp = ((word >> LIVES_SHIFT) as u32).wrapping_mul(2).wrapping_add(u32::from(!there));
            view.members |= u32::from(there) << index;
            view.number = view.number.wrapping_add(*stamp);
        }
        view
    }

    /// The members that are there, a bit an index.
    pub const fn members(&self) -> u32 {
        self.members
    }

    /// What names this state.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The members of this view that are not in `other` in the same life.
    pub fn without(&self, other: &Self) -> u32 {
        let both = self.stamps.iter().zip(&other.stamps).enumerate();
        let differ = both.filter(|(_, (one, other))| one != other);
        self.members & differ.fold(0, |bits, (index, _)| bits | 1 << index)
    }
}

/// Whether something of a member may still write: one that stands still will go on, and one that leaves is gone soon.
fn is_there(word: u64) -> bool {
    [State::Up, State::Paused, State::Leaving].iter().any(|state| word & 0xff == *state as u64)
}
