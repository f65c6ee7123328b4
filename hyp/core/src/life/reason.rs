//! Why a life of a guest ended.

use core::fmt;

/// Why a guest stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// It switched itself off (PSCI SYSTEM_OFF).
    Off,
    /// It asked for a reset (PSCI SYSTEM_RESET).
    Reset,
    /// It asked for a warm or vendor-specific reset (PSCI SYSTEM_RESET2), as Linux does for `reboot=warm`.
    WarmReset,
    /// All its vCPUs are off, so nothing can wake it.
    AllCpusOff,
    /// A system error hit while it ran.
    SystemError,
    /// An exception that none of our traps makes.
    UnexpectedExit,
    /// The exception vectors of the only vCPU that is on lie where nothing is: it would take the same abort for ever.
    LostVectors,
    /// It did not feed its watchdog, and is to start anew.
    WatchdogReset,
    /// It did not feed its watchdog, and is to stop.
    WatchdogStop,
    /// It could not be loaded.
    NotLoaded,
    /// It was ended from outside, without being asked.
    Killed,
    /// It was reset from outside.
    ResetFromOutside,
}

use StopReason::*;

/// What a reason means for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It starts anew at once, whatever the configuration says: somebody asked for that.
    Anew,
    /// It ended as it wanted to.
    Ended,
    /// It was ended: nothing starts it but a person.
    Killed,
    /// It failed.
    Crashed,
}

impl StopReason {
    /// What becomes of the guest.
    pub const fn verdict(self) -> Verdict {
        match self {
            Reset | WarmReset | ResetFromOutside | WatchdogReset => Verdict::Anew,
            Off => Verdict::Ended,
            Killed => Verdict::Killed,
            AllCpusOff | SystemError | UnexpectedExit | LostVectors | WatchdogStop | NotLoaded => {
                Verdict::Crashed
            }
        }
    }

    /// Whether something went wrong in the guest, so that a report of it is kept: its watchdog's reset is one, too.
    pub const fn is_failure(self) -> bool {
        matches!(self.verdict(), Verdict::Crashed) || matches!(self, WatchdogReset)
    }

    /// One word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Off => "off",
            Reset => "reset",
            WarmReset => "warm-reset",
            AllCpusOff => "all-vcpus-off",
            SystemError => "system-error",
            UnexpectedExit => "unexpected-exception",
            LostVectors => "lost-vectors",
            WatchdogReset | WatchdogStop => "watchdog",
            NotLoaded => "not-loaded",
            Killed => "killed",
            ResetFromOutside => "reset-from-outside",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Off => "it switched itself off",
            Reset => "it asked for a reset",
            WarmReset => "it asked for a warm reset (SYSTEM_RESET2)",
            AllCpusOff => "all its vCPUs switched themselves off",
            SystemError => "a system error (SError) hit while it ran",
            UnexpectedExit => "an exception that Tessera does not expect from a guest",
            LostVectors => {
                "its exception vectors lie where nothing is, so it took one abort after the other"
            }
            WatchdogReset | WatchdogStop => "it hung: its watchdog was not fed in time",
            NotLoaded => "it could not be loaded",
            Killed => "it was killed from outside",
            ResetFromOutside => "it was reset from outside",
        })
    }
}
