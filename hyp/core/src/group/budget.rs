//! How often rings interrupt a guest, and for how long at most who rings it is held.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often rings interrupt a guest in all of its groups, in the long run. One costs it about 800 instructions: some two
/// microseconds of a Cortex-A72, a twentieth of its time.
pub(super) const INTERRUPTS_A_SECOND: u64 = 25_000;
/// How many of them may come at once after a quiet time.
pub(super) const BURST: u64 = 64;
/// For so many of them counts one that comes by a line of the GPIO as well: that wakes a program, by two handlers of the kernel.
pub(super) const GPIO: u64 = 8;
/// So many guests can be held for the sake of one. None is held for longer than all of them have an interrupt in, so that those
/// which insist take no more of that one's time than the others do.
const INSIST: u64 = crate::config::MAX_GUESTS as u64;

/// A guest's, for all of its groups. Times are on the board's counter.
#[derive(Debug, Default)]
pub struct Budget {
    /// When it may be interrupted again by a ring (generic cell rate algorithm, ITU-T I.371 A.1).
    open_from: AtomicU64,
    /// Until when it can be held when it rings others.
    insists_from: AtomicU64,
}

impl Budget {
    /// Whether a ring may interrupt the guest.
    #[inline]
    pub(super) fn is_open(&self, now: u64) -> bool {
        now >= self.open_from.load(Relaxed)
    }

    /// A ring interrupted it, which counts for `cost`. `price` is the ticks for which it has one.
    #[inline]
    pub(super) fn charge(&self, now: u64, price: u64, cost: u64) {
        // After a quiet time it has no more than the burst.
        let least = now.saturating_sub(BURST * price);
        if self.open_from.load(Relaxed) < least {
            self.open_from.fetch_max(least, Relaxed);
        }
        self.open_from.fetch_add(cost, Relaxed);
    }

    /// Whether the guest, which would ring too soon, does so all the same: it has not for a long time.
    ///
    /// `cost` is what that counts for with who is rung: it insists the more seldom, the more it takes.
    #[cold]
    pub(super) fn insists(&self, now: u64, cost: u64) -> bool {
        let from = self.insists_from.load(Relaxed);
        let next = now + INSIST * cost;
        now >= from && self.insists_from.compare_exchange(from, next, Relaxed, Relaxed).is_ok()
    }

    /// A life of the guest begins.
    pub(super) fn renew(&self) {
        self.open_from.store(0, Relaxed);
    }
}
