//! How a vCPU's time was spent: how long its core ran it, and how much of that it was idle.
//!
//! A vCPU that owns its core sleeps in its own WFI, which nobody sees and which costs nothing. So idle time is known only
//! while somebody looks: then WFI traps, and the core waits at EL2 instead, until an interrupt is there ([`Sampling`]).
//! What was not looked at counts as busy in no reading: a share is made of two readings that were both taken while
//! sampling was on ([`Reading::share_since`]).
//!
//! A vCPU that shares its core leaves it when it is idle and waits for it when it is not, and whoever switches sees both:
//! of such a one all is known at all times. It is always in one of three states, from [`Usage::begin_shared`] on: ready,
//! running, or blocked.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time of a vCPU, in ticks of the physical counter. Written by its core alone.
#[derive(Default)]
pub struct Usage {
    /// Ticks that it ran, without the present stretch.
    ran: AtomicU64,
    /// When the present stretch began; 0 while it is off.
    since: AtomicU64,
    /// Ticks that it waited at EL2 in place of its WFI, without the present wait.
    idle: AtomicU64,
    /// When the present wait began; 0 while it runs.
    idle_since: AtomicU64,
    /// When its WFI began to be trapped; 0 while it is not.
    sampled_since: AtomicU64,
    /// Ticks that it was ready without having a core, without the present wait.
    waited: AtomicU64,
    /// When the present wait for a core began; 0 while it runs or has nothing to do.
    waited_since: AtomicU64,
}

/// What a [`Usage`] said at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reading {
    /// When, in ticks of the physical counter.
    pub at: u64,
    /// Ticks that the vCPU was on, until then.
    pub ran: u64,
    /// Ticks of those that are known to have been idle.
    pub idle: u64,
    /// Ticks of those that it waited for a core that others had.
    pub waited: u64,
    /// Since when idle time is seen; `None` while it is not.
    pub sampled_since: Option<u64>,
}

impl Usage {
    /// The vCPU is switched on.
    pub fn begin(&self, now: u64) {
        self.since.store(now, Relaxed);
    }

    /// The vCPU is off.
    pub fn end(&self, now: u64) {
        self.woke(now);
        add(&self.ran, now, self.since.load(Relaxed));
        self.since.store(0, Relaxed);
        self.sampled_since.store(0, Relaxed);
    }

    /// The core begins to wait in place of the vCPU's WFI.
    pub fn waits(&self, now: u64) {
        self.idle_since.store(now, Relaxed);
    }

    /// The wait is over, if there was one.
    pub fn woke(&self, now: u64) {
        let since = self.idle_since.load(Relaxed);
        if since != 0 {
            add(&self.idle, now, since);
            self.idle_since.store(0, Relaxed);
        }
    }

    /// The vCPU, which shares its core, is switched on, and ready.
    pub fn begin_shared(&self, now: u64) {
        self.since.store(now, Relaxed);
        self.sampled_since.store(now, Relaxed);
        self.waited_since.store(now, Relaxed);
    }

    /// It was ready and gets the core. How long it has waited for one, in all.
    #[inline]
    pub fn runs(&self, now: u64) -> u64 {
        let waited = until(self.waited.load(Relaxed), now, self.waited_since.load(Relaxed));
        self.waited.store(waited, Relaxed);
        self.waited_since.store(0, Relaxed);
        waited
    }

    /// It ran and is made to give way: it is ready.
    #[inline]
    pub fn preempted(&self, now: u64) {
        self.waited_since.store(now, Relaxed);
    }

    /// It ran and has nothing to do.
    #[inline]
    pub fn blocks(&self, now: u64) {
        self.idle_since.store(now, Relaxed);
    }

    /// It had nothing to do and is ready.
    #[inline]
    pub fn wakes(&self, now: u64) {
        add(&self.idle, now, self.idle_since.load(Relaxed));
        self.idle_since.store(0, Relaxed);
        self.waited_since.store(now, Relaxed);
    }

    /// It is switched off, in whatever state it was.
    pub fn end_shared(&self, now: u64) {
        self.runs(now);
        self.end(now);
    }

    /// How long it has waited for a core, in all, up to when it last got one.
    pub fn waited(&self) -> u64 {
        self.waited.load(Relaxed)
    }

    /// WFI traps from now on, or no longer.
    pub fn sampled(&self, on: Option<u64>) {
        self.sampled_since.store(on.unwrap_or(0), Relaxed);
    }

    /// Whether WFI traps.
    pub fn is_sampled(&self) -> bool {
        self.sampled_since.load(Relaxed) != 0
    }

    /// How it stands at `now`. Of a vCPU that changes its state at this moment, a wait may be in it twice or not at all; the
    /// next reading has it right.
    pub fn read(&self, now: u64) -> Reading {
        let (since, idle_since) = (self.since.load(Relaxed), self.idle_since.load(Relaxed));
        let (sampled_since, waited_since) =
            (self.sampled_since.load(Relaxed), self.waited_since.load(Relaxed));
        Reading {
            at: now,
            ran: until(self.ran.load(Relaxed), now, since),
            idle: until(self.idle.load(Relaxed), now, idle_since),
            waited: until(self.waited.load(Relaxed), now, waited_since),
            sampled_since: (sampled_since != 0).then_some(sampled_since),
        }
    }
}

/// `sum` with the stretch that began at `since`, if one did.
fn until(sum: u64, now: u64, since: u64) -> u64 {
    if since == 0 { sum } else { sum.saturating_add(now.saturating_sub(since)) }
}

fn add(sum: &AtomicU64, now: u64, since: u64) {
    sum.store(until(sum.load(Relaxed), now, since), Relaxed);
}

impl Reading {
    /// The share of the time since `earlier` in which the vCPU was busy, in thousandths of one core: off is 0. `None`
    /// where idle time was not seen all along, or no time has passed.
    pub fn share_since(&self, earlier: &Self) -> Option<u32> {
        let passed = self.at.checked_sub(earlier.at).filter(|&passed| passed != 0)?;
        let ran = self.ran.saturating_sub(earlier.ran).min(passed);
        if ran == 0 {
            return Some(0);
        }
        // One that was switched on or off in between is sampled anew.
        self.sampled_since.filter(|&since| since <= earlier.at)?;
        let idle = self.idle.saturating_sub(earlier.idle).min(ran);
        let waited = self.waited.saturating_sub(earlier.waited).min(ran - idle);
        thousandths(ran - idle - waited, passed)
    }

    /// The share of the time since `earlier` in which the vCPU waited for a core, in thousandths; `None` where no time has
    /// passed.
    pub fn waited_since(&self, earlier: &Self) -> Option<u32> {
        let passed = self.at.checked_sub(earlier.at).filter(|&passed| passed != 0)?;
        thousandths(self.waited.saturating_sub(earlier.waited).min(passed), passed)
    }
}

fn thousandths(part: u64, whole: u64) -> Option<u32> {
    u32::try_from(u128::from(part) * 1000 / u128::from(whole)).ok()
}

/// Until when somebody wants to know how busy vCPUs are: one for the board.
#[derive(Default)]
pub struct Sampling(AtomicU64);

impl Sampling {
    /// Not yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Somebody looks until `deadline`, in ticks of the physical counter; whether that is news, so that the cores are
    /// to be kicked.
    pub fn until(&self, deadline: u64, now: u64) -> bool {
        self.0.fetch_max(deadline, Relaxed) <= now
    }

    /// Whether somebody looks.
    #[inline]
    pub fn is_on(&self, now: u64) -> bool {
        now < self.0.load(Relaxed)
    }

    /// Whether somebody has ever looked: for a test that needs no clock.
    #[inline(always)]
    pub fn was_ever_on(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vCPU that was switched on and sampled at 1000.
    fn running() -> Usage {
        let usage = Usage::default();
        usage.begin(1000);
        usage.sampled(Some(1000));
        usage
    }

    #[test]
    fn a_busy_guest_has_all_of_its_core() {
        let usage = running();
        let first = usage.read(1500);
        assert_eq!(usage.read(2500).share_since(&first), Some(1000));
    }

    #[test]
    fn an_idle_guest_has_what_it_did_between_its_waits() {
        let usage = running();
        let first = usage.read(1500);
        for n in 0..10 {
            usage.waits(1500 + n * 100 + 5);
            usage.woke(1500 + n * 100 + 100);
        }
        assert_eq!(usage.read(2500).share_since(&first), Some(50), "5 ticks of each 100");
    }

    #[test]
    fn a_wait_that_goes_on_counts_up_to_now() {
        let usage = running();
        usage.waits(1200);
        let first = usage.read(2000);
        assert_eq!(usage.read(3000).share_since(&first), Some(0));
        usage.woke(3500);
        assert_eq!(usage.read(4000).share_since(&first), Some(250), "500 of 2000");
    }

    #[test]
    fn a_vcpu_that_is_off_is_not_busy() {
        let usage = running();
        usage.waits(1500);
        usage.end(2000);
        let first = usage.read(3000);
        assert_eq!((first.ran, first.idle, first.sampled_since), (1000, 500, None));
        assert_eq!(usage.read(4000).share_since(&first), Some(0));
    }

    #[test]
    fn without_sampling_nobody_knows_how_busy_a_vcpu_is() {
        let usage = Usage::default();
        usage.begin(1000);
        let first = usage.read(1500);
        assert_eq!(usage.read(2500).share_since(&first), None);
        usage.sampled(Some(2600));
        assert_eq!(
            usage.read(3000).share_since(&first),
            None,
            "idle time before 2600 was not seen"
        );
        let second = usage.read(3000);
        assert_eq!(usage.read(4000).share_since(&second), Some(1000));
        assert_eq!(second.share_since(&second), None, "no time has passed");
    }

    #[test]
    fn of_a_vcpu_that_shares_its_core_all_is_known_at_every_moment() {
        let usage = Usage::default();
        usage.begin_shared(1000);
        let first = usage.read(1100);
        assert_eq!((first.ran, first.idle, first.waited), (100, 0, 100), "it waits for a core");
        assert_eq!(usage.runs(1200), 200);
        usage.preempted(1500);
        assert_eq!(usage.runs(1600), 300);
        usage.blocks(1700);
        let blocked = usage.read(1900);
        assert_eq!((blocked.ran, blocked.idle, blocked.waited), (900, 200, 300));
        usage.wakes(2000);
        assert_eq!(usage.read(2050).waited, 350);
        assert_eq!((usage.runs(2100), usage.waited()), (400, 400));
        let last = usage.read(2100);
        assert_eq!((last.ran, last.idle, last.waited), (1100, 300, 400));
        // 400 of 1000 on the core, 300 without one.
        assert_eq!((last.share_since(&first), last.waited_since(&first)), (Some(400), Some(300)));
        assert_eq!(last.waited_since(&last), None);
    }

    #[test]
    fn a_vcpu_that_shares_its_core_ends_in_any_state_with_its_times_right() {
        for (state, want) in [(0, (1000, 0, 600)), (1, (1000, 0, 500)), (2, (1000, 100, 500))] {
            let usage = Usage::default();
            usage.begin_shared(1000);
            usage.runs(1500);
            match state {
                0 => usage.preempted(1900),
                1 => {}
                _ => usage.blocks(1900),
            }
            usage.end_shared(2000);
            let ended = usage.read(3000);
            assert_eq!((ended.ran, ended.idle, ended.waited), want);
            assert_eq!(ended.sampled_since, None);
            assert_eq!(usage.read(4000).share_since(&ended), Some(0));
            // It starts anew where it ended.
            usage.begin_shared(5000);
            assert_eq!(usage.runs(5010), want.2 + 10);
        }
    }

    #[test]
    fn sampling_goes_on_as_long_as_the_last_who_looks() {
        let sampling = Sampling::new();
        assert!(!sampling.was_ever_on() && !sampling.is_on(5));
        assert!(sampling.until(100, 10), "it was off");
        assert!(!sampling.until(50, 20), "it is on");
        assert!(sampling.is_on(99) && !sampling.is_on(100));
        assert!(sampling.until(200, 100), "it was over");
    }
}
