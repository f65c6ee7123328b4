//! Whether a core still comes out of EL2.
//!
//! Problem: EL2 runs with interrupts masked, so a core that loops there cannot be interrupted to say where it is, and its
//! guest only seems to compute. Idea: others ask it. Who has nothing else to do sees whether a core left its guest lately; one
//! that did not for a while is kicked. A core in a guest takes the kick at once and answers; one that has not answered for
//! seconds, though asked twice, is stuck in EL2, and whoever asked says so. A core answers where it looks for a panic of another core anyway, so
//! neither exits nor entries cost an instruction more, and nobody ticks on a core that a guest owns.
//!
//! It is asked twice, as the counter may go on while nothing else does: an emulator is suspended, or a debugger holds the cores.
//! Then whoever looks first finds that all others are late; by the second time they had their chance.
//!
//! Idea not taken: a note at each exit and entry of where the core is. It would be two stores on the way of every exit, for
//! something that happens to nobody.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seconds without a sign before a core is asked.
const QUIET_SECONDS: u64 = 10;
/// Seconds within which it has to answer, each of the two times: nothing that EL2 does between two looks at its interrupts
/// takes as long.
pub const PATIENCE_SECONDS: u64 = 5;

/// The core is not watched.
const UNWATCHED: u64 = 0;
/// It was not asked.
const NOT_ASKED: u64 = 0;

/// One core, as others see it. Times are of the board's counter.
#[derive(Debug)]
pub struct Pulse {
    /// When there was the last sign of it, or [`UNWATCHED`].
    sign: AtomicU64,
    /// When it was asked, or [`NOT_ASKED`].
    asked: AtomicU64,
    /// It was asked a second time.
    late: AtomicBool,
}

/// What whoever looked does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Finding {
    /// Nothing.
    Fine,
    /// Looks again after [`PATIENCE_SECONDS`].
    Waits,
    /// Kicks it, and looks again after [`PATIENCE_SECONDS`].
    Ask,
    /// Reports it: there was no sign of it for so many seconds.
    Stuck(u64),
}

impl Pulse {
    /// A core that is not watched yet.
    pub const fn new() -> Self {
        Self {
            sign: AtomicU64::new(UNWATCHED),
            asked: AtomicU64::new(NOT_ASKED),
            late: AtomicBool::new(false),
        }
    }

    /// The core is watched from `now` on: it takes interrupts soon, and again and again.
    pub fn watch(&self, now: u64) {
        self.asked.store(NOT_ASKED, Ordering::Relaxed);
        self.sign.store(now.max(1), Ordering::Relaxed);
    }

    /// The core is about something that takes its time, and is not watched.
    pub fn leave(&self) {
        self.sign.store(UNWATCHED, Ordering::Relaxed);
    }

    /// The core answers.
    pub fn answer(&self) {
        self.asked.store(NOT_ASKED, Ordering::Relaxed);
    }

    /// Another core looks, at time `now` of a counter of `hz`.
    pub fn look(&self, now: u64, hz: u64) -> Finding {
        let sign = self.sign.load(Ordering::Relaxed);
        if sign == UNWATCHED {
            return Finding::Fine;
        }
        let asked = self.asked.load(Ordering::Relaxed);
        if asked == NOT_ASKED {
            if now.saturating_sub(sign) <= hz * QUIET_SECONDS {
                return Finding::Fine;
            }
            // As far as anybody knows the core is well until now; of several who look one asks.
            let mine = self.sign.compare_exchange(sign, now, Ordering::Relaxed, Ordering::Relaxed);
            if mine.is_err() {
                return Finding::Fine;
            }
            self.late.store(false, Ordering::Relaxed);
            self.asked.store(now, Ordering::Relaxed);
            return Finding::Ask;
        }
        if now.saturating_sub(asked) <= hz * PATIENCE_SECONDS {
            return Finding::Waits;
        }
        // It may have begun something else, or answered, just now.
        let same = self.sign.load(Ordering::Relaxed) == sign;
        match self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) if same && self.late.swap(true, Ordering::Relaxed) => {
                Finding::Stuck(now.saturating_sub(sign).checked_div(hz).unwrap_or(0))
            }
            Ok(_) if same => Finding::Ask,
            _ => Finding::Fine,
        }
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 100;

    /// Looks ten times a second for `seconds` from `from` on, and lets the core answer after `delay` ticks if it does: how often
    /// it was asked, and whether it was found stuck.
    fn watched(pulse: &Pulse, from: u64, seconds: u64, delay: Option<u64>) -> (u32, Option<u64>) {
        let (mut asked, mut due) = (0, None);
        for now in (from..from + seconds * HZ).step_by(10) {
            if due.is_some_and(|due| due <= now) {
                pulse.answer();
                due = None;
            }
            match pulse.look(now, HZ) {
                Finding::Fine | Finding::Waits => {}
                Finding::Ask => {
                    asked += 1;
                    due = due.or(delay.map(|delay| now + delay));
                }
                Finding::Stuck(seconds) => return (asked, Some(seconds)),
            }
        }
        (asked, None)
    }

    #[test]
    fn a_core_that_answers_is_asked_now_and_then_and_never_stuck() {
        let pulse = Pulse::new();
        pulse.watch(5);
        assert_eq!(watched(&pulse, 5, 100, Some(20)), (9, None));
        // Slow, but it comes out.
        assert_eq!(watched(&pulse, 20_000, 100, Some(9 * HZ)).1, None);
    }

    #[test]
    fn a_core_that_does_not_answer_is_found() {
        let pulse = Pulse::new();
        pulse.watch(0);
        let (asked, stuck) = watched(&pulse, 0, 60, None);
        assert_eq!((asked, stuck), (2, Some(2 * PATIENCE_SECONDS)));
    }

    #[test]
    fn a_board_that_stood_still_as_a_whole_is_not_stuck() {
        let pulse = Pulse::new();
        pulse.watch(1);
        assert_eq!(pulse.look(11 * HZ, HZ), Finding::Ask);
        // An hour later who looks runs again first.
        let later = 3600 * HZ;
        assert_eq!(pulse.look(later, HZ), Finding::Ask, "asked anew");
        pulse.answer();
        assert_eq!(watched(&pulse, later + HZ, 30, Some(10)).1, None);
    }

    #[test]
    fn a_core_that_is_about_something_long_is_left_alone() {
        let pulse = Pulse::new();
        assert_eq!(watched(&pulse, 0, 60, None), (0, None));
        pulse.watch(6000);
        assert_eq!(
            watched(&pulse, 6000, 15, None),
            (1, None),
            "asked, and then it leaves its guest"
        );
        pulse.leave();
        assert_eq!(watched(&pulse, 7500, 60, None), (0, None));
        pulse.watch(13_500);
        assert_eq!(
            watched(&pulse, 13_500, 15, None),
            (1, None),
            "what it was asked before is forgotten"
        );
    }

    #[test]
    fn several_who_look_at_once_ask_once() {
        let pulse = Pulse::new();
        pulse.watch(0);
        let now = (QUIET_SECONDS + 1) * HZ;
        let asks = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if pulse.look(now, HZ) == Finding::Ask {
                        asks.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(asks.into_inner(), 1);
    }
}
