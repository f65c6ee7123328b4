//! A device of the board whose interrupt line stays asserted.
//!
//! Problem: a line that no handler can quieten interrupts its core again before the guest there has executed an instruction:
//! one broken device stops a guest for ever. Idea: a handler tells whether there was anything for it to do. After many
//! interrupts in a row that were about nothing, the line is switched off for a while; then its handler looks once, in case
//! something was missed, and the line has another chance. As long as it stays stuck the breaks double, up to [`LONGEST_MS`].
//! What the device has to say meanwhile is late, not lost.
//!
//! Idea not taken: a limit of interrupts a second. What a fast disk may do in a second and what a stuck line does are not far
//! enough apart on an emulator.

/// Interrupts about nothing, one after the other, that make a line stuck. A line that is shared with a device that nobody
/// drives, or an interrupt that is on its way while its cause is handled, makes a few.
const STUCK: u32 = 1000;
/// Milliseconds of the first break.
const FIRST_MS: u64 = 10;
/// Milliseconds of the longest one.
const LONGEST_MS: u64 = 10_000;
/// Interrupts about something, without a break between, after which a line counts as sound.
const SOUND: u32 = 1000;

/// A line, as far as it is watched.
#[derive(Clone, Copy, Default, Debug)]
pub struct Line {
    /// Interrupts about nothing since the last one about something.
    idle: u32,
    /// Interrupts about something since the last break.
    useful: u32,
    /// Breaks, since it last was sound.
    breaks: u32,
    /// When the break is over.
    until: Option<u64>,
    /// All interrupts.
    count: u64,
    /// Those of them that were about nothing.
    for_nothing: u64,
}

/// A line is to be switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Break {
    /// The counter at its end.
    pub until: u64,
    /// Milliseconds that it lasts.
    pub ms: u64,
    /// The first one: to be told.
    pub first: bool,
}

impl Line {
    /// A line of which nothing is known yet.
    pub const fn new() -> Self {
        Self { idle: 0, useful: 0, breaks: 0, until: None, count: 0, for_nothing: 0 }
    }

    /// An interrupt was handled; `useful` says whether there was anything to do. `clock` gives the counter and its frequency:
    /// it is not asked when all is well. Returns what to do with the line, if anything.
    #[inline]
    pub fn handled(&mut self, useful: bool, clock: impl FnOnce() -> (u64, u64)) -> Option<Break> {
        self.count += 1;
        if useful {
            self.idle = 0;
            if self.breaks > 0 {
                self.recover();
            }
            return None;
        }
        self.idle += 1;
        self.for_nothing += 1;
        if self.idle < STUCK {
            return None;
        }
        Some(self.pause(clock()))
    }

    /// Interrupts since the board's start.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those of [`Line::count`] that were about nothing.
    pub fn for_nothing(&self) -> u64 {
        self.for_nothing
    }

    /// When the break is over, if there is one.
    pub fn until(&self) -> Option<u64> {
        self.until
    }

    /// Whether a break is over at `now`: then the handler looks, and the line is switched on.
    pub fn comes_back(&mut self, now: u64) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    #[cold]
    fn recover(&mut self) {
        self.useful += 1;
        if self.useful >= SOUND {
            (self.breaks, self.useful) = (0, 0);
        }
    }

    #[cold]
    fn pause(&mut self, (now, hz): (u64, u64)) -> Break {
        let ms = LONGEST_MS.min(FIRST_MS << self.breaks.min(16));
        let until = now.saturating_add((hz / 1000).saturating_mul(ms));
        let first = self.breaks == 0;
        (self.idle, self.useful) = (0, 0);
        self.breaks = self.breaks.saturating_add(1);
        self.until = Some(until);
        Break { until, ms, first }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const HZ: u64 = 1_000_000;

    /// A device, its line, and a core that handles it: each pass of the loop takes a microsecond.
    struct Board {
        line: Line,
        now: u64,
        enabled: bool,
        breaks: Vec<Break>,
        /// Passes in which the guest could execute something.
        guest: u64,
    }

    impl Board {
        fn new() -> Self {
            Board { line: Line::new(), now: 0, enabled: true, breaks: Vec::new(), guest: 0 }
        }

        /// `passes` of the loop; `device` says at each whether its line is asserted, and whether its handler finds anything.
        fn run(&mut self, passes: u64, mut device: impl FnMut(u64) -> (bool, bool)) {
            for _ in 0..passes {
                self.now += 1;
                if self.line.comes_back(self.now) {
                    self.enabled = true;
                }
                let (asserted, useful) = device(self.now);
                if !(asserted && self.enabled) {
                    self.guest += 1;
                } else if let Some(pause) = self.line.handled(useful, || (self.now, HZ)) {
                    self.enabled = false;
                    self.breaks.push(pause);
                }
            }
        }
    }

    #[test]
    fn a_line_that_stays_asserted_leaves_the_guest_nearly_all_of_its_time() {
        let mut board = Board::new();
        board.run(60 * HZ, |_| (true, false));
        assert!(board.guest > 59 * HZ, "{}", board.guest);
        let told: Vec<bool> = board.breaks.iter().map(|pause| pause.first).collect();
        assert!(told[0] && told[1..].iter().all(|first| !first), "it is told once");
        let lengths: Vec<u64> = board.breaks.iter().map(|pause| pause.ms).collect();
        assert_eq!(lengths[..4], [10, 20, 40, 80]);
        assert_eq!(lengths.last(), Some(&LONGEST_MS));
    }

    #[test]
    fn a_busy_line_is_left_alone_however_busy_it_is() {
        let mut board = Board::new();
        board.run(10 * HZ, |now| (true, now % 500 == 0));
        assert_eq!(board.breaks, []);
        assert_eq!((board.line.count(), board.line.for_nothing()), (10 * HZ, 10 * HZ / 500 * 499));
    }

    #[test]
    fn a_line_that_recovers_is_on_again_soon_and_is_told_anew_when_it_gets_stuck_again() {
        let mut board = Board::new();
        board.run(100_000, |_| (true, false));
        let breaks = board.breaks.len();
        assert!(breaks > 1);
        board.run(HZ, |_| (false, false));
        assert!(board.enabled);
        board.run(2 * u64::from(SOUND), |_| (true, true));
        assert_eq!(board.breaks.len(), breaks);
        board.run(2 * u64::from(STUCK), |_| (true, false));
        assert_eq!(board.breaks.len(), breaks + 1);
        assert!(board.breaks.last().is_some_and(|pause| pause.first && pause.ms == FIRST_MS));
    }

    #[test]
    fn a_clock_near_its_end_stops_nothing() {
        let mut line = Line::new();
        for _ in 0..100_000 {
            if line.handled(false, || (u64::MAX - 1, u64::MAX)).is_some() {
                assert!(line.comes_back(u64::MAX));
            }
        }
    }
}
