//! How much a guest can make Tessera say.
//!
//! Problem: a guest that starts anew again and again has Tessera tell so each time, and what matters to a reader scrolls away
//! or is dropped from the back-log. Idea: what is said because of a guest is paid for from a bucket of that guest: a burst
//! passes, then a line every few seconds. The line that empties the bucket tells that more is left out, the next one that
//! passes tells how many were. What Tessera says of itself is not limited: no guest causes it.

use core::fmt;

use super::Console;
use crate::addr::VmId;

/// Lines that pass at once.
const BURST: u64 = 8;
/// Seconds for which one more line passes.
const SECONDS_A_LINE: u64 = 4;

/// What a guest may still have said.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Quota {
    /// The time at which the bucket is full again (generic cell rate algorithm, ITU-T I.371 A.1).
    full_at: u64,
    /// Lines left out since one passed.
    left_out: u32,
}

/// Whether a line passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It does, after so many that did not; it may be the last one for a while.
    Passes { left_out: u32, last: bool },
    /// It does not.
    LeftOut,
}

impl Quota {
    /// Asks for one line at time `now` of a counter of `hz`.
    fn ask(&mut self, now: u64, hz: u64) -> Verdict {
        let price = hz.saturating_mul(SECONDS_A_LINE);
        let full_at = self.full_at.max(now).saturating_add(price);
        let owed = full_at - now;
        if owed > price.saturating_mul(BURST) {
            self.left_out = self.left_out.saturating_add(1);
            return Verdict::LeftOut;
        }
        self.full_at = full_at;
        let last = owed.saturating_add(price) > price.saturating_mul(BURST);
        Verdict::Passes { left_out: core::mem::take(&mut self.left_out), last }
    }
}

impl Console {
    /// Tessera prints `text` because of what guest `vm`, called `name`, did: as long as it does not do so too often. `now` is
    /// the counter, of `hz`.
    pub fn log_about(
        &mut self,
        (vm, name): (VmId, &str),
        now: u64,
        hz: u64,
        text: fmt::Arguments<'_>,
    ) {
        let Some(quota) = self.quotas.get_mut(usize::from(vm.0)) else { return self.log(text) };
        let Verdict::Passes { left_out, last } = quota.ask(now, hz) else { return };
        if left_out > 0 {
            self.log(format_args!("{left_out} lines about {name} were left out"));
        }
        self.log(text);
        if last {
            self.log(format_args!("more about {name} is left out while it comes this fast"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1000;

    #[test]
    fn a_burst_passes_and_then_a_line_every_few_seconds() {
        let mut quota = Quota::default();
        let mut passed = 0;
        // A line every 10 ms for 400 seconds.
        for now in (0..400 * HZ).step_by(10) {
            passed += u64::from(quota.ask(now, HZ) != Verdict::LeftOut);
        }
        assert_eq!(passed, BURST - 1 + 400 / SECONDS_A_LINE);
    }

    #[test]
    fn whoever_is_quiet_has_his_burst_again() {
        let mut quota = Quota::default();
        while quota.ask(0, HZ) != Verdict::LeftOut {}
        let later = BURST * SECONDS_A_LINE * HZ;
        assert_eq!(quota.ask(later, HZ), Verdict::Passes { left_out: 1, last: false });
        for _ in 2..BURST {
            assert_eq!(quota.ask(later, HZ), Verdict::Passes { left_out: 0, last: false });
        }
        assert_eq!(quota.ask(later, HZ), Verdict::Passes { left_out: 0, last: true });
        assert_eq!(quota.ask(later, HZ), Verdict::LeftOut);
    }

    #[test]
    fn a_clock_that_is_extreme_or_goes_back_stops_nothing() {
        let mut quota = Quota::default();
        for now in [u64::MAX, 0, u64::MAX - 1, 1] {
            for _ in 0..20 {
                let _ = quota.ask(now, u64::MAX);
                let _ = quota.ask(now, 0);
            }
        }
        assert_ne!(Quota::default().ask(u64::MAX / 2, HZ), Verdict::LeftOut);
    }
}
