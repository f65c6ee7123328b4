//! One task's accounts: its virtual time, its cap and its reserve.

use core::num::NonZeroU64;

use super::heap::is_before;
use super::mean::Mean;
use super::{Share, Timing};

/// How it stands with a task that is not the current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It waits for something.
    Blocked,
    /// It waits for the core.
    Ready,
    /// It has used its cap up, and waits for the next window.
    Throttled,
    /// It has the core.
    Current,
}

/// A task with its accounts.
#[derive(Debug)]
pub(super) struct Task<T> {
    pub task: T,
    pub state: State,
    /// Whether a sibling waits for what it does.
    pub preferred: bool,
    pub weight: NonZeroU64,
    /// Its virtual time: what it ran, over its weight.
    pub virt: u64,
    /// What a division by the weight left of the last charge.
    rest: u64,
    cap: Option<Cap>,
    pub reserve: Option<Reserve>,
    /// By how much it goes on in half the latency.
    pub credit: u64,
    /// How long it has the core at a time, in ticks, and by how much it goes on meanwhile.
    pub slice: u64,
    turn: u64,
    /// Up to this virtual time it has just woken.
    fresh_until: u64,
    /// Since when it does not want the core, where it does not.
    pub away_since: u64,
}

impl<T> Task<T> {
    /// Bits behind the point of virtual time.
    const FRACTION: u32 = 16;

    /// The most that is charged at once, and after which nothing is known any more of who was away, so that nothing overflows: hours
    /// of the fastest counter, for which nobody can have waited.
    const LONGEST: u64 = 1 << 44;

    /// How far ahead of the others its virtual time gets, in its credits: else what it got by a reserve, or by calls, would be
    /// held against it for ever.
    const FURTHEST: u64 = 16;

    /// A blocked task that has run nothing by `now`, where the others' virtual time is `virt`.
    pub fn new(task: T, share: Share, timing: &Timing, virt: u64, now: u64) -> Self {
        let weight = NonZeroU64::new(u64::from(share.weight)).unwrap_or(NonZeroU64::MIN);
        let credit = (timing.latency / 2).min(Self::LONGEST) << Self::FRACTION;
        let slice = timing.slice_of(weight.get());
        Self {
            task,
            state: State::Blocked,
            preferred: false,
            weight,
            virt,
            rest: 0,
            cap: share
                .cap
                .filter(|&percent| percent < 100)
                .map(|percent| Cap::new(percent, timing, now)),
            reserve: share.reserve.map(|percent| Reserve::new(percent, timing, now)),
            credit: credit / weight,
            slice,
            turn: (slice.min(Self::LONGEST) << Self::FRACTION) / weight,
            fresh_until: virt,
            away_since: now,
        }
    }

    /// It ran from `since` to `now`: its virtual time goes on, and with it the `mean`.
    #[inline]
    pub fn charge(&mut self, since: u64, now: u64, mean: &mut Mean) {
        let ran = self.charge_plain(since, now, mean);
        if let Some(cap) = &mut self.cap {
            cap.charge(since, now);
        }
        if let Some(reserve) = &mut self.reserve {
            reserve.charge(ran, now);
        }
    }

    /// The same for one that has neither cap nor reserve: for how long it ran.
    #[inline(always)]
    pub fn charge_plain(&mut self, since: u64, now: u64, mean: &mut Mean) -> u64 {
        let ran = now.wrapping_sub(since).min(Self::LONGEST);
        let work = (ran << Self::FRACTION) + self.rest;
        self.rest = work % self.weight;
        self.virt = self.virt.wrapping_add(work / self.weight);
        mean.advance(work - self.rest);
        ran
    }

    /// It moves to where virtual times are later by `by`.
    pub fn shift(&mut self, by: u64) {
        self.virt = self.virt.wrapping_add(by);
        self.fresh_until = self.fresh_until.wrapping_add(by);
    }

    /// Forgets what it is further ahead of the others, whose virtual time is `mean`, than it can be held to.
    pub fn forgive(&mut self, mean: u64) {
        let furthest = mean.wrapping_add(self.credit.saturating_mul(Self::FURTHEST));
        if is_before(furthest, self.virt) {
            self.virt = furthest;
        }
    }

    /// By its virtual time, when it is to have had its next turn. One that has just woken goes before those that ran on.
    #[inline]
    pub fn due(&self) -> u64 {
        let turn = if self.is_fresh() { 0 } else { self.turn };
        self.virt.wrapping_add(turn)
    }

    /// The same for the turn that it is given now, against which others have to hold theirs.
    #[inline]
    pub fn due_now(&self) -> u64 {
        match self.is_fresh() {
            true => self.fresh_until,
            false => self.virt.wrapping_add(self.turn),
        }
    }

    /// How long its next turn is, in ticks: one that has just woken has used up its credit then.
    #[inline]
    pub fn next_turn(&self) -> u64 {
        match self.is_fresh() {
            true => self.fresh_ticks(),
            false => self.slice,
        }
    }

    fn is_fresh(&self) -> bool {
        is_before(self.virt, self.fresh_until)
    }

    fn fresh_ticks(&self) -> u64 {
        let virt = self.fresh_until.wrapping_sub(self.virt);
        virt.saturating_mul(self.weight.get()).div_ceil(1 << Self::FRACTION).min(self.slice)
    }

    /// It becomes ready after it was not, at `now` and the others' virtual time `mean`: what it left unused is gone, but
    /// for a turn, which may have been its due when it blocked.
    pub fn wake(&mut self, now: u64, mean: u64) {
        let furthest = mean.wrapping_sub(self.credit.max(self.turn));
        if is_before(self.virt, furthest) || now.wrapping_sub(self.away_since) > Self::LONGEST {
            self.virt = furthest;
        }
        self.fresh_until = self.virt.wrapping_add(self.credit);
        if let Some(reserve) = &mut self.reserve {
            reserve.wake(now);
        }
    }

    /// Until when it must not run, where its cap is used up at `now`.
    pub fn throttled(&mut self, now: u64) -> Option<u64> {
        self.cap.as_mut()?.throttled(now)
    }

    /// Whether it has a cap.
    pub fn is_capped(&self) -> bool {
        self.cap.is_some()
    }

    /// When its cap will be used up if it runs on from `now`, where it is not.
    pub fn cap_ends(&self, now: u64) -> Option<u64> {
        self.cap.as_ref().map(|cap| cap.ends_at(now))
    }
}

/// What a task may run in each window.
#[derive(Debug)]
struct Cap {
    budget: u64,
    window: u64,
    /// Used of this window's budget; more where it was called.
    used: u64,
    /// When this window ends.
    end: u64,
}

impl Cap {
    fn new(percent: u8, timing: &Timing, now: u64) -> Self {
        let budget = timing.window.saturating_mul(u64::from(percent.max(1))) / 100;
        let end = now.wrapping_add(timing.window);
        Self { budget: budget.max(1), window: timing.window, used: 0, end }
    }

    /// Goes on to the window in which `now` lies. What was used beyond the budget counts in the next.
    fn roll(&mut self, now: u64) {
        if !is_before(now, self.end) {
            let windows = now.wrapping_sub(self.end) / self.window + 1;
            self.used = self.used.saturating_sub(self.budget.saturating_mul(windows));
            self.end = self.end.wrapping_add(windows.wrapping_mul(self.window));
        }
    }

    fn charge(&mut self, mut since: u64, now: u64) {
        self.roll(since);
        if !is_before(now, self.end) {
            self.used = self.used.saturating_add(self.end.wrapping_sub(since));
            since = self.end;
            self.roll(since);
            // Windows that it ran through: nobody asked for so long.
            let windows = now.wrapping_sub(since) / self.window;
            let over = self.window.saturating_sub(self.budget);
            self.used = self.used.saturating_add(windows.saturating_mul(over));
            since = since.wrapping_add(windows.wrapping_mul(self.window));
            self.end = self.end.wrapping_add(windows.wrapping_mul(self.window));
        }
        self.used = self.used.saturating_add(now.wrapping_sub(since));
    }

    fn throttled(&mut self, now: u64) -> Option<u64> {
        self.roll(now);
        (self.used >= self.budget).then_some(self.end)
    }

    fn ends_at(&self, now: u64) -> u64 {
        let left = self.budget.saturating_sub(self.used);
        match left <= self.end.wrapping_sub(now) {
            true => now.wrapping_add(left),
            // This window ends first, and the next has its own.
            false => self.end.wrapping_add(self.budget),
        }
    }
}

/// What a task is promised: its own clock, which runs by as much faster than the counter as its part is smaller, while it has the
/// core. Where the clock is behind the counter, it has had less than its part ("virtual clock", Zhang, SIGCOMM 1990).
#[derive(Debug)]
pub(super) struct Reserve {
    percent: u64,
    pub clock: u64,
    rest: u64,
    /// By how much the clock gets ahead of the counter in a piece of twice the granularity.
    piece: u64,
    latency: u64,
    /// By how much the clock is behind the counter at most.
    oldest: u64,
}

impl Reserve {
    /// The part that is not charged, one in this many: what goes by while the core is given to the task is not the task's own,
    /// and it is promised what it can use.
    const SWITCHING: u64 = 32;

    fn new(percent: u8, timing: &Timing, now: u64) -> Self {
        let percent = u64::from(percent.clamp(1, 100));
        let piece = timing.granularity().saturating_mul(2 * (100 - percent)) / percent;
        let oldest = timing.window.saturating_mul(10);
        Self { percent, clock: now, rest: 0, piece, latency: timing.latency, oldest }
    }

    fn charge(&mut self, ran: u64, now: u64) {
        let own = ran - ran / Self::SWITCHING;
        let work = own.saturating_mul(100).saturating_add(self.rest);
        self.rest = work % self.percent;
        self.clock = self.clock.wrapping_add(work / self.percent);
        // What it got as its fair share is held against it for a while only: else it had no reserve when the others come.
        let furthest = now.wrapping_add(self.piece).wrapping_add(self.latency);
        if is_before(furthest, self.clock) {
            self.clock = furthest;
        }
        // Where all of a core is promised, that falls behind by what switching takes.
        self.forget(now.wrapping_sub(self.oldest));
    }

    fn wake(&mut self, now: u64) {
        self.forget(now.wrapping_sub(self.piece));
    }

    /// What was missing before `oldest` is not made up for.
    fn forget(&mut self, oldest: u64) {
        if is_before(self.clock, oldest) {
            self.clock = oldest;
        }
    }

    /// Whether it is behind.
    pub fn is_due(&self, now: u64) -> bool {
        !is_before(now, self.clock)
    }

    /// When it is ahead by a piece if it runs from `now`, where it is behind; after the latency at the latest.
    pub fn ends_at(&self, now: u64) -> u64 {
        let missing = now.wrapping_sub(self.clock).saturating_add(self.piece);
        let run = match 100 - self.percent {
            0 => self.latency,
            others => missing.saturating_mul(self.percent) / others + 1,
        };
        now.wrapping_add(run.min(self.latency))
    }
}
