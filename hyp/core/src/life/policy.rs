//! Whether and when a guest that ended is started again.

use super::reason::{StopReason, Verdict};

/// What the configuration says of restarts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restart {
    /// Not at all, unless the guest asks for a reset.
    #[default]
    Never,
    /// After it failed.
    OnCrash,
    /// Also after it switched itself off.
    Always,
}

/// Restarts, and what keeps them from going on for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When it is started again.
    pub restart: Restart,
    /// Most restarts in a row after lives shorter than [`SHORT_LIFE`] seconds.
    pub limit: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { restart: Restart::Never, limit: 5 }
    }
}

/// A life shorter than this, in seconds, does not count as one: the next restart waits longer.
pub const SHORT_LIFE: u64 = 60;
/// The longest wait before a restart, in seconds.
pub const LONGEST_WAIT: u64 = 60;

/// What follows the end of a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum After {
    /// The guest is built anew at once.
    Anew,
    /// It is built anew after this many seconds.
    Wait(u64),
    /// It stays down, as it wanted to or was made to.
    Stopped,
    /// It stays down, since it failed.
    Crashed,
    /// It stays down, since it failed too often in a row.
    TooOften,
}

impl Policy {
    /// What follows a life that ended for `reason` after `seconds`, with `in_a_row` restarts after short lives before it.
    /// `asked` says that somebody had asked the guest to stop.
    pub fn after(&self, reason: StopReason, asked: bool, seconds: u64, in_a_row: u32) -> After {
        let failed = match reason.verdict() {
            Verdict::Anew => return After::Anew,
            Verdict::Killed => return After::Stopped,
            Verdict::Ended => false,
            Verdict::Crashed => true,
        };
        let again = match self.restart {
            Restart::Never => false,
            Restart::OnCrash => failed,
            Restart::Always => true,
        };
        match again && !asked {
            false if failed => After::Crashed,
            false => After::Stopped,
            true if seconds >= SHORT_LIFE => After::Wait(1),
            true if in_a_row >= self.limit => After::TooOften,
            true => After::Wait((1 << in_a_row.min(6)).min(LONGEST_WAIT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Policy = Policy { restart: Restart::Always, limit: 9 };
    const ON_CRASH: Policy = Policy { restart: Restart::OnCrash, limit: 3 };
    const NEVER: Policy = Policy { restart: Restart::Never, limit: 3 };

    #[test]
    fn who_asks_for_a_reset_gets_it_whatever_the_policy() {
        for policy in [ALWAYS, ON_CRASH, NEVER] {
            for reason in [StopReason::Reset, StopReason::WarmReset, StopReason::WatchdogReset] {
                assert_eq!(policy.after(reason, true, 0, 100), After::Anew);
            }
            assert_eq!(policy.after(StopReason::Killed, false, 0, 0), After::Stopped);
        }
    }

    #[test]
    fn the_policy_decides_about_failures_and_ends() {
        let crash = StopReason::AllCpusOff;
        assert_eq!(NEVER.after(crash, false, 99, 0), After::Crashed);
        assert_eq!(NEVER.after(StopReason::Off, false, 99, 0), After::Stopped);
        assert_eq!(ON_CRASH.after(crash, false, 99, 0), After::Wait(1));
        assert_eq!(ON_CRASH.after(StopReason::Off, false, 99, 0), After::Stopped);
        assert_eq!(ALWAYS.after(StopReason::Off, false, 99, 0), After::Wait(1));
        assert_eq!(ALWAYS.after(StopReason::Off, true, 99, 0), After::Stopped, "it was asked to");
        assert_eq!(ALWAYS.after(crash, true, 99, 0), After::Crashed);
    }

    #[test]
    fn restarts_in_a_row_wait_longer_each_time_and_come_to_an_end() {
        let wait = |n| ALWAYS.after(StopReason::AllCpusOff, false, 1, n);
        let waits = [1, 2, 4, 8, 16, 32, 60, 60, 60];
        for (n, seconds) in (0..).zip(waits) {
            assert_eq!(wait(n), After::Wait(seconds));
        }
        assert_eq!(wait(9), After::TooOften);
        let patient = Policy { limit: u32::MAX, ..ALWAYS };
        assert_eq!(patient.after(StopReason::AllCpusOff, false, 1, 999), After::Wait(60));
        assert_eq!(ON_CRASH.after(StopReason::AllCpusOff, false, SHORT_LIFE, 3), After::Wait(1));
    }
}
