//! Several reasons to be woken, for one timer.
//!
//! A core has one timer of its own at EL2. What it is for is more than one thing: its vCPU's emulated physical timer,
//! what its guest has to do by the clock (a restart that waits, a watchdog), and what the board has to do (the monitor's
//! live view). Each has a slot, and the timer is set to the earliest. Atomics only because the slots lie in data that
//! others can see: one core writes and reads its own.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Who wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// The core's vCPU: its emulated physical timer.
    Vcpu,
    /// Its guest: restarts, watchdog, a stop that takes too long.
    Guest,
    /// The board: the monitor.
    Board,
    /// What others cannot do without: a disk that falls silent, an interrupt line in a break, a core that is stuck.
    Care,
}

/// All slots.
pub const SLOTS: [Slot; 4] = [Slot::Vcpu, Slot::Guest, Slot::Board, Slot::Care];

/// What stands in a slot that nobody uses: no counter reaches it.
const NEVER: u64 = u64::MAX;

/// The deadlines of one core, on the board's counter.
#[derive(Debug)]
pub struct Deadlines {
    at: [AtomicU64; SLOTS.len()],
}

impl Deadlines {
    /// None at all.
    pub const fn new() -> Self {
        Self { at: [const { AtomicU64::new(NEVER) }; SLOTS.len()] }
    }

    /// Sets one and gives the earliest of all.
    #[inline]
    pub fn set(&self, slot: Slot, at: Option<u64>) -> Option<u64> {
        self.of(slot).store(at.unwrap_or(NEVER), Relaxed);
        self.next()
    }

    /// Sets one, and gives the earliest of all where that was something else.
    #[inline(always)]
    pub fn set_anew(&self, slot: Slot, at: Option<u64>) -> Option<Option<u64>> {
        let (of, at) = (self.of(slot), at.unwrap_or(NEVER));
        if of.load(Relaxed) == at {
            return None;
        }
        of.store(at, Relaxed);
        Some(self.next())
    }

    /// Sets one to `at` if that is earlier than what it is, and gives the earliest of all.
    pub fn set_earlier(&self, slot: Slot, at: u64) -> Option<u64> {
        let at = self.of(slot).load(Relaxed).min(at);
        self.set(slot, Some(at))
    }

    #[inline]
    fn of(&self, slot: Slot) -> &AtomicU64 {
        let [vcpu, guest, board, care] = &self.at;
        match slot {
            Slot::Vcpu => vcpu,
            Slot::Guest => guest,
            Slot::Board => board,
            Slot::Care => care,
        }
    }

    /// The earliest.
    #[inline]
    pub fn next(&self) -> Option<u64> {
        let [vcpu, guest, board, care] = &self.at;
        let own = vcpu.load(Relaxed).min(guest.load(Relaxed));
        let boards = board.load(Relaxed).min(care.load(Relaxed));
        Some(own.min(boards)).filter(|&at| at != NEVER)
    }

    /// Takes the slots that are due at `now`: they are empty afterwards.
    pub fn take_due(&self, now: u64) -> Due {
        let mut due = Due::NONE;
        for (slot, at) in SLOTS.into_iter().zip(&self.at) {
            if at.load(Relaxed) <= now {
                at.store(NEVER, Relaxed);
                due.0 |= 1 << slot as u8;
            }
        }
        due
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

/// Slots that were due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due(u8);

impl Due {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether `slot` was.
    pub const fn has(self, slot: Slot) -> bool {
        self.0 >> slot as u8 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_counts_and_each_comes_once() {
        let deadlines = Deadlines::new();
        assert_eq!(deadlines.next(), None);
        assert_eq!(deadlines.set(Slot::Guest, Some(300)), Some(300));
        assert_eq!(deadlines.set(Slot::Vcpu, Some(500)), Some(300));
        assert_eq!(deadlines.set(Slot::Board, Some(200)), Some(200));
        let due = deadlines.take_due(300);
        assert!(due.has(Slot::Guest) && due.has(Slot::Board) && !due.has(Slot::Vcpu));
        assert_eq!(deadlines.next(), Some(500));
        assert_eq!(deadlines.take_due(499), Due::NONE, "what was taken is not due again");
        assert_eq!(deadlines.set(Slot::Vcpu, None), None);
        assert_eq!(deadlines.set_earlier(Slot::Care, 700), Some(700));
        assert_eq!(deadlines.set_earlier(Slot::Care, 900), Some(700));
        assert_eq!(deadlines.set_earlier(Slot::Care, 600), Some(600));
        assert_eq!(deadlines.set_anew(Slot::Care, Some(600)), None);
        assert_eq!(deadlines.set_anew(Slot::Care, None), Some(None));
        assert_eq!(deadlines.set_anew(Slot::Care, None), None);
    }
}
