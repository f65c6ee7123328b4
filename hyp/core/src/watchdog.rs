//! A guest's watchdog: the generic one of Arm's Base System Architecture (DEN0094, "Generic Watchdog"), for which stock
//! kernels have a driver (Linux `sbsa_gwdt`).
//!
//! It is a comparison with the guest's counter. Whoever has it enabled must refresh it before the counter passes the
//! compare value. If nobody does, the first signal (WS0) is an interrupt for the guest, the compare value moves on by the
//! same offset, and the second signal (WS1) ends the guest. The counter stands still while a guest is paused, so its
//! watchdog does, too. Nothing here looks at a clock: `time` is the guest's counter, given, and what happened since the
//! last access is made up for at the next one or when [`Watchdog::deadline`] has come.

use crate::life::StopReason;

/// Registers (DEN0094, "Watchdog register frames").
mod reg {
    /// Refresh frame: any store refreshes.
    pub const WRR: u64 = 0x000;
    /// Control frame: control and status.
    pub const WCS: u64 = 0x000;
    /// Offset from a refresh to the compare value, low and high half. Version 0 has the low half alone.
    pub const WOR: u64 = 0x008;
    pub const WOR_HIGH: u64 = 0x00c;
    /// Compare value, low and high half.
    pub const WCV: u64 = 0x010;
    pub const WCV_HIGH: u64 = 0x014;
    /// Both frames: who made it, and to which version.
    pub const W_IIDR: u64 = 0xfcc;

    /// WCS.EN, WS0, WS1.
    pub const EN: u32 = 1 << 0;
    pub const WS0: u32 = 1 << 1;
    pub const WS1: u32 = 1 << 2;
    /// W_IIDR: version 1 of the architecture, with an offset of 48 bits; nobody's product.
    pub const IIDR: u32 = 1 << 16;
}

/// Bits of WOR's high half.
const WOR_HIGH_MASK: u64 = 0xffff;

/// The two pages of registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// For whoever has to show that he lives.
    Refresh,
    /// For whoever sets it up.
    Control,
}

/// What the watchdog says now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Signal {
    /// Nothing.
    Quiet,
    /// WS0, its (level) interrupt: it has been waiting for a refresh.
    Warning,
    /// WS1: it has waited twice as long. The guest hangs.
    Hang,
}

/// The watchdog of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    on_hang: StopReason,
    enabled: bool,
    ws0: bool,
    ws1: bool,
    offset: u64,
    compare: u64,
}

impl Watchdog {
    /// A watchdog that is disabled; a guest that hangs ends for the reason `on_hang`.
    pub const fn new(on_hang: StopReason) -> Self {
        Self { on_hang, enabled: false, ws0: false, ws1: false, offset: 0, compare: 0 }
    }

    /// Why a guest ends that hangs.
    pub const fn on_hang(&self) -> StopReason {
        self.on_hang
    }

    /// A load. Registers are 32 bits wide; what is not there, or of another width, reads as 0.
    pub fn read(&mut self, frame: Frame, offset: u64, size: u8, time: u64) -> u32 {
        self.pass(time);
        match (frame, offset) {
            _ if size != 4 => 0,
            (_, reg::W_IIDR) => reg::IIDR,
            (Frame::Control, reg::WCS) => {
                let bit = |set, bit| if set { bit } else { 0 };
                bit(self.enabled, reg::EN) | bit(self.ws0, reg::WS0) | bit(self.ws1, reg::WS1)
            }
            (Frame::Control, reg::WOR) => self.offset as u32,
            (Frame::Control, reg::WOR_HIGH) => (self.offset >> 32) as u32,
            (Frame::Control, reg::WCV) => self.compare as u32,
            (Frame::Control, reg::WCV_HIGH) => (self.compare >> 32) as u32,
            _ => 0,
        }
    }

    /// A store. A hang that is due is not averted by it: it has come.
    pub fn write(&mut self, frame: Frame, offset: u64, size: u8, value: u32, time: u64) {
        self.pass(time);
        if size != 4 || self.ws1 {
            return;
        }
        let (low, high) = (u64::from(u32::MAX), u64::from(value) << 32);
        match (frame, offset) {
            (Frame::Refresh, reg::WRR) => {}
            (Frame::Control, reg::WCS) => self.enabled = value & reg::EN != 0,
            (Frame::Control, reg::WOR) => self.offset = self.offset & !low | u64::from(value),
            (Frame::Control, reg::WOR_HIGH) => {
                self.offset = self.offset & low | high & WOR_HIGH_MASK << 32;
            }
            (Frame::Control, reg::WCV) => {
                self.compare = self.compare & !low | u64::from(value);
                return;
            }
            (Frame::Control, reg::WCV_HIGH) => {
                self.compare = self.compare & low | high;
                return;
            }
            _ => return,
        }
        // Every store to the refresh register, the offset or the control refreshes (DEN0094, "Watchdog operation").
        self.ws0 = false;
        self.compare = time.saturating_add(self.offset);
    }

    /// What it says at `time`.
    pub fn signal(&mut self, time: u64) -> Signal {
        self.pass(time);
        match (self.ws0, self.ws1) {
            (_, true) => Signal::Hang,
            (true, false) => Signal::Warning,
            (false, false) => Signal::Quiet,
        }
    }

    /// When it says something new if nobody refreshes it: the guest's time at which to ask for [`Watchdog::signal`].
    pub fn deadline(&self) -> Option<u64> {
        if self.enabled && !self.ws1 { self.compare.checked_add(1) } else { None }
    }

    /// Makes up for what happened until `time`. From the first signal to the second the guest has the whole offset, from
    /// when it can have seen the first.
    fn pass(&mut self, time: u64) {
        if !self.enabled || self.ws1 || time <= self.compare {
            return;
        }
        if self.ws0 {
            self.ws1 = true;
        } else {
            self.ws0 = true;
            self.compare = time.saturating_add(self.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::model::Random;
    use Frame::{Control, Refresh};

    const OFFSET: u64 = 1000;

    /// As Linux's driver sets one up at `time`: offset first, then enabled.
    fn started(time: u64) -> Watchdog {
        let mut watchdog = Watchdog::new(StopReason::WatchdogReset);
        watchdog.write(Control, reg::WOR, 4, OFFSET as u32, time);
        watchdog.write(Control, reg::WOR_HIGH, 4, 0, time);
        watchdog.write(Control, reg::WCS, 4, 1, time);
        watchdog
    }

    #[test]
    fn a_watchdog_that_nobody_enabled_never_says_anything() {
        let mut watchdog = Watchdog::new(StopReason::WatchdogReset);
        assert_eq!((watchdog.deadline(), watchdog.signal(u64::MAX)), (None, Signal::Quiet));
        assert_eq!(watchdog.read(Control, reg::WCS, 4, 0), 0);
        watchdog.write(Control, reg::WOR, 4, 5, 0);
        watchdog.write(Refresh, reg::WRR, 4, 0, 0);
        assert_eq!((watchdog.deadline(), watchdog.signal(u64::MAX)), (None, Signal::Quiet));
    }

    #[test]
    fn first_it_warns_and_after_the_same_time_again_the_guest_hangs() {
        let mut watchdog = started(500);
        assert_eq!(watchdog.deadline(), Some(1501));
        assert_eq!(watchdog.signal(1500), Signal::Quiet);
        assert_eq!(watchdog.signal(1501), Signal::Warning);
        assert_eq!(watchdog.read(Control, reg::WCS, 4, 1501), 0b011);
        assert_eq!(watchdog.deadline(), Some(2502));
        assert_eq!(watchdog.signal(2501), Signal::Warning);
        assert_eq!(watchdog.signal(2502), Signal::Hang);
        assert_eq!((watchdog.read(Control, reg::WCS, 4, 2502), watchdog.deadline()), (0b111, None));
        watchdog.write(Refresh, reg::WRR, 4, 0, 2503);
        assert_eq!(watchdog.signal(2503), Signal::Hang, "too late");
    }

    #[test]
    fn who_feeds_it_lives_and_a_warning_is_withdrawn_by_it() {
        let mut watchdog = started(0);
        for time in (0..100_000).step_by(OFFSET as usize) {
            watchdog.write(Refresh, reg::WRR, 4, 0xabc, time);
            assert_eq!(watchdog.signal(time + OFFSET), Signal::Quiet);
        }
        assert_eq!(watchdog.signal(200_000), Signal::Warning);
        watchdog.write(Refresh, reg::WRR, 4, 0, 200_001);
        assert_eq!(watchdog.signal(200_001), Signal::Quiet);
        assert_eq!(watchdog.deadline(), Some(201_002));
        watchdog.write(Control, reg::WCS, 4, 0, 200_500);
        assert_eq!((watchdog.deadline(), watchdog.signal(u64::MAX)), (None, Signal::Quiet));
    }

    #[test]
    fn a_warning_that_is_seen_late_leaves_the_guest_its_time() {
        let mut watchdog = started(0);
        assert_eq!(watchdog.signal(9000), Signal::Warning);
        assert_eq!(watchdog.deadline(), Some(9000 + OFFSET + 1));
    }

    #[test]
    fn offset_and_compare_value_are_read_as_written_in_halves() {
        let mut watchdog = Watchdog::new(StopReason::WatchdogReset);
        watchdog.write(Control, reg::WOR, 4, 0x89ab_cdef, 1 << 40);
        watchdog.write(Control, reg::WOR_HIGH, 4, 0xffff_4567, 1 << 40);
        assert_eq!(watchdog.read(Control, reg::WOR, 4, 0), 0x89ab_cdef);
        assert_eq!(watchdog.read(Control, reg::WOR_HIGH, 4, 0), 0x4567, "48 bits");
        let compare = 0x4567_89ab_cdef + (1u64 << 40);
        assert_eq!(watchdog.read(Control, reg::WCV, 4, 0), compare as u32);
        assert_eq!(watchdog.read(Control, reg::WCV_HIGH, 4, 0), (compare >> 32) as u32);
        watchdog.write(Control, reg::WCV, 4, 1, 0);
        watchdog.write(Control, reg::WCV_HIGH, 4, 2, 0);
        assert_eq!(watchdog.read(Control, reg::WCV, 4, 0), 1);
        assert_eq!(watchdog.read(Control, reg::WCV_HIGH, 4, 0), 2);
        for frame in [Refresh, Control] {
            assert_eq!(watchdog.read(frame, reg::W_IIDR, 4, 0) >> 16 & 0xf, 1);
            assert_eq!(watchdog.read(frame, 0xfd0, 4, 0), 0);
        }
        // The refresh frame has nothing of the control frame; other widths have nothing at all.
        assert_eq!(watchdog.read(Refresh, reg::WOR, 4, 0), 0);
        watchdog.write(Refresh, reg::WOR, 4, 7, 0);
        watchdog.write(Control, reg::WOR, 1, 7, 0);
        assert_eq!(watchdog.read(Control, reg::WOR, 4, 0), 0x89ab_cdef);
        assert_eq!(watchdog.read(Control, reg::WOR, 8, 0), 0);
    }

    #[test]
    fn a_deadline_beyond_the_end_of_the_counter_never_comes() {
        let mut watchdog = started(u64::MAX - 10);
        assert_eq!((watchdog.deadline(), watchdog.signal(u64::MAX)), (None, Signal::Quiet));
    }

    #[test]
    fn no_sequence_of_accesses_hangs_a_guest_before_two_offsets_or_asks_for_a_deadline_in_the_past()
    {
        let mut hangs = 0;
        for seed in 0..200 {
            let (mut random, mut watchdog, mut time) = (Random(seed), started(0), 0u64);
            let mut quiet_since = 0;
            for _ in 0..500 {
                time += random.below(2 * OFFSET);
                let frame = if random.below(3) == 0 { Refresh } else { Control };
                let offset =
                    [0, 0, 8, 0xc, 0x10, 0xfcc, random.below(0x1000)][random.below(7) as usize];
                let size = [4, 4, 4, 1, 2, 8][random.below(6) as usize];
                if random.below(4) == 0 {
                    let value = [0, 1, 1, 1, random.next() as u32][random.below(5) as usize];
                    watchdog.write(frame, offset, size, value, time);
                } else {
                    let _ = watchdog.read(frame, offset, size, time);
                }
                let signal = watchdog.signal(time);
                if signal == Signal::Quiet {
                    quiet_since = time;
                }
                if let Some(deadline) = watchdog.deadline() {
                    assert!(deadline > time);
                }
                if signal == Signal::Hang {
                    assert!(time > quiet_since, "not at once");
                    assert_eq!(watchdog.deadline(), None);
                    hangs += 1;
                    break;
                }
            }
        }
        assert!(hangs > 50, "{hangs}");
    }
}
