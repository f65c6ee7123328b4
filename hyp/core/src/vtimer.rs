//! A guest's time: its counter, and the EL1 physical timer that it believes to own.
//!
//! The virtual timer is the core's, untrapped: CNTVOFF_EL2 makes its counter begin at 0 with the guest. The physical
//! counter has no offset on most cores (CNTPOFF_EL2 came with Armv8.6), so a guest that reads it would see the board's
//! time, and a pause. Hence the physical counter and timer trap and are computed here, with the same offset, so that
//! both counters of a guest agree to the tick. Nothing here looks at a clock: `now` is the board's counter, given.

use crate::sysreg::TimerReg;

/// CNTP_CTL_EL0 (DDI 0487 D24.10.17).
mod control {
    pub const ENABLE: u64 = 1 << 0;
    pub const IMASK: u64 = 1 << 1;
    pub const ISTATUS: u64 = 1 << 2;
}

/// The counter of one guest: the board's less an offset, and standing still while the guest is paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// CNTVOFF_EL2.
    offset: u64,
    /// The guest's time while it is paused.
    standing: Option<u64>,
}

impl Clock {
    /// A clock that shows 0 at the board's time `now`, and runs.
    pub const fn starting(now: u64) -> Self {
        Self { offset: now, standing: None }
    }

    /// What the guest's counter shows.
    #[inline]
    pub const fn time(&self, now: u64) -> u64 {
        match self.standing {
            None => now.wrapping_sub(self.offset),
            Some(time) => time,
        }
    }

    /// CNTVOFF_EL2 for a guest that runs, or `None` while it is paused.
    pub const fn offset(&self) -> Option<u64> {
        match self.standing {
            None => Some(self.offset),
            Some(_) => None,
        }
    }

    /// Stops the counter. Where it stands already, a vCPU ran on longer than others: it stands at what that has seen.
    pub fn pause(&mut self, now: u64) {
        let seen = now.wrapping_sub(self.offset);
        self.standing = Some(self.standing.unwrap_or(0).max(seen));
    }

    /// Lets it run on from where it stands. Nothing where it runs already.
    pub const fn resume(&mut self, now: u64) {
        if let Some(time) = self.standing {
            *self = Self { offset: now.wrapping_sub(time), standing: None };
        }
    }
}

/// The EL1 physical timer of one vCPU (DDI 0487 D12.2.4). `time` is always the guest's: [`Clock::time`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PhysicalTimer {
    control: u64,
    compare: u64,
}

impl PhysicalTimer {
    /// What a register reads as.
    #[inline]
    pub const fn read(&self, reg: TimerReg, time: u64) -> u64 {
        match reg {
            TimerReg::Counter => time,
            TimerReg::CompareValue => self.compare,
            TimerReg::TimerValue => self.compare.wrapping_sub(time) & 0xffff_ffff,
            TimerReg::Control if self.fires(time) => self.control | control::ISTATUS,
            TimerReg::Control => self.control,
        }
    }

    /// Writes a register. The interrupt and the deadline may have changed.
    #[inline]
    pub const fn write(&mut self, reg: TimerReg, value: u64, time: u64) {
        match reg {
            TimerReg::Counter => {}
            TimerReg::CompareValue => self.compare = value,
            // A signed 32-bit number of ticks from now.
            TimerReg::TimerValue => self.compare = time.wrapping_add(value as i32 as i64 as u64),
            TimerReg::Control => self.control = value & (control::ENABLE | control::IMASK),
        }
    }

    const fn fires(&self, time: u64) -> bool {
        self.control & control::ENABLE != 0 && time >= self.compare
    }

    /// Whether the interrupt line is asserted.
    #[inline]
    pub const fn level(&self, time: u64) -> bool {
        self.fires(time) && self.control & control::IMASK == 0
    }

    /// The guest's time at which the interrupt will be asserted, or `None` where it is not going to be. It may be past.
    #[inline]
    pub const fn deadline(&self) -> Option<u64> {
        if self.control & (control::ENABLE | control::IMASK) == control::ENABLE {
            Some(self.compare)
        } else {
            None
        }
    }

    /// [`PhysicalTimer::deadline`] on the board's counter: none where the guest is paused or it lies beyond the end of
    /// that counter.
    #[inline]
    pub fn physical_deadline(&self, clock: &Clock) -> Option<u64> {
        self.deadline()?.checked_add(clock.offset()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimerReg::{CompareValue, Control, Counter, TimerValue};

    #[test]
    fn a_guests_counter_begins_at_zero_and_stops_while_paused() {
        let mut clock = Clock::starting(1000);
        assert_eq!((clock.time(1000), clock.time(1500)), (0, 500));
        assert_eq!(clock.offset(), Some(1000));
        clock.pause(1600);
        clock.pause(1650);
        clock.pause(1640);
        assert_eq!((clock.time(9000), clock.offset()), (650, None), "as the last vCPU saw it");
        clock.resume(2000);
        clock.resume(3000);
        assert_eq!((clock.time(2000), clock.offset()), (650, Some(1350)));
    }

    #[test]
    fn a_counter_wraps_as_64_bits_do() {
        let mut clock = Clock::starting(u64::MAX - 9);
        assert_eq!(clock.time(10), 20);
        clock.pause(10);
        clock.resume(0);
        assert_eq!(clock.time(0), 20);
    }

    #[test]
    fn the_timer_fires_when_the_counter_reaches_its_value() {
        let mut timer = PhysicalTimer::default();
        timer.write(CompareValue, 100, 0);
        assert!(!timer.level(100));
        assert_eq!((timer.deadline(), timer.read(Control, 100)), (None, 0));
        timer.write(Control, 0xff01, 0);
        assert_eq!((timer.level(99), timer.level(100), timer.level(u64::MAX)), (false, true, true));
        assert_eq!((timer.read(Control, 99), timer.read(Control, 100)), (1, 5));
        timer.write(Control, 3, 0);
        assert_eq!(
            (timer.read(Control, 100), timer.level(100), timer.deadline()),
            (7, false, None)
        );
        assert_eq!(timer.read(Counter, 55), 55);
    }

    #[test]
    fn the_timer_value_counts_down_in_32_signed_bits() {
        let mut timer = PhysicalTimer::default();
        timer.write(TimerValue, 0xdead_0000_0010, 1000);
        assert_eq!(timer.read(CompareValue, 0), 1016);
        assert_eq!(timer.read(TimerValue, 1006), 10);
        assert_eq!(timer.read(TimerValue, 1017), 0xffff_ffff);
        timer.write(TimerValue, 0xffff_ffff, 1000);
        assert_eq!(timer.read(CompareValue, 0), 999);
        timer.write(TimerValue, 0xffff_ffff, 0);
        assert_eq!(timer.read(CompareValue, 0), u64::MAX);
    }

    #[test]
    fn a_deadline_is_on_the_boards_counter() {
        let mut clock = Clock::starting(500);
        let mut timer = PhysicalTimer::default();
        timer.write(CompareValue, 100, 0);
        timer.write(Control, 1, 0);
        assert_eq!(timer.physical_deadline(&clock), Some(600));
        timer.write(CompareValue, u64::MAX, 0);
        assert_eq!(timer.physical_deadline(&clock), None);
        clock.pause(600);
        timer.write(CompareValue, 100, 0);
        assert_eq!(timer.physical_deadline(&clock), None);
    }
}
