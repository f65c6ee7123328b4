//! What a guest's cores have to look at when they are kicked: its end, a pause, a look at registers, its disks' news.
//!
//! A core that runs its vCPU is interrupted by a kick and reads one word, most often 0. All that is seldom hides behind
//! that word: whether the guest ends, whether it stands still, whose registers or idle time somebody wants to see, and
//! whether the board's disk has something for it.
//!
//! A pause is over for all vCPUs at once. The guest's counter stands from when the last of them stopped, so that none
//! sees it go backwards, and so nobody goes on before all have stopped: who resumes only leaves word, and whoever
//! completes the set lets all go on.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::lock::Mutex;

use crate::addr::{VcpuId, VcpuSet};
use crate::vtimer::Clock;

/// The guest ends: leave it.
const STOP: u32 = 1 << 0;
/// The guest stands still.
const PAUSE: u32 = 1 << 1;
/// What the guest has to do by the clock changed: set the deadline anew.
const CLOCK: u32 = 1 << 2;
/// The board's disk has news for the guest.
const DISK: u32 = 1 << 3;
/// Somebody wants to see the registers of vCPU `n`: bit `LOOK << n`.
const LOOK: u32 = 1 << 8;
/// Somebody looks at how busy vCPUs are, and vCPU `n` has not taken note: bit `USAGE << n`.
const USAGE: u32 = 1 << 16;

/// What a core does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Standing {
    /// It waits to be kicked, and asks again.
    Wait,
    /// It goes on.
    Go,
    /// It goes on, and kicks the others, which may do so too.
    GoAll,
}

#[derive(Debug, Default)]
struct Pause {
    /// It is to be over once all stand.
    resume: bool,
    /// vCPUs that have stopped.
    standing: u8,
}

/// The word, and the pause behind it.
#[derive(Debug, Default)]
pub struct Attention {
    word: AtomicU32,
    pause: Mutex<Pause>,
}

impl Attention {
    /// Whether there is anything to look at. Whoever takes it acquires what it is about.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.word.load(Ordering::Relaxed) != 0
    }

    /// Makes all vCPUs leave. The caller kicks them.
    pub fn stop(&self) {
        self.word.fetch_or(STOP, Ordering::Release);
    }

    /// Whether vCPUs have to leave.
    pub fn stops(&self) -> bool {
        self.word.load(Ordering::Acquire) & STOP != 0
    }

    /// Whether vCPUs stand still, or are about to.
    pub fn pauses(&self) -> bool {
        self.word.load(Ordering::Acquire) & PAUSE != 0
    }

    /// Makes all vCPUs stand still. The caller kicks them.
    pub fn pause(&self) {
        self.pause.lock().resume = false;
        self.word.fetch_or(PAUSE, Ordering::Release);
    }

    /// Lets all go on, as soon as all of `on` stand. The caller kicks them.
    pub fn resume(&self, on: VcpuSet, clock: &Mutex<Clock>, now: u64) {
        let mut pause = self.pause.lock();
        pause.resume = true;
        self.go_on_if_all_stand(&mut pause, on, clock, now);
    }

    /// vCPU `me` stands still, or asks whether it may go on; `on` are those that are on.
    pub fn stand(&self, me: VcpuId, on: VcpuSet, clock: &Mutex<Clock>, now: u64) -> Standing {
        let mut pause = self.pause.lock();
        if !self.pauses() {
            pause.standing &= !VcpuSet::only(me).0;
            return Standing::Go;
        }
        if pause.standing & VcpuSet::only(me).0 == 0 {
            pause.standing |= VcpuSet::only(me).0;
            clock.lock().pause(now);
        }
        match self.go_on_if_all_stand(&mut pause, on, clock, now) {
            true => Standing::GoAll,
            false => Standing::Wait,
        }
    }

    /// A vCPU went off instead of standing still, and `on` are left.
    pub fn went_off(&self, me: VcpuId, on: VcpuSet, clock: &Mutex<Clock>, now: u64) -> Standing {
        let mut pause = self.pause.lock();
        pause.standing &= !VcpuSet::only(me).0;
        match self.pauses() && self.go_on_if_all_stand(&mut pause, on, clock, now) {
            true => Standing::GoAll,
            false => Standing::Go,
        }
    }

    fn go_on_if_all_stand(
        &self,
        pause: &mut Pause,
        on: VcpuSet,
        clock: &Mutex<Clock>,
        now: u64,
    ) -> bool {
        let all = pause.resume && on.0 & !pause.standing == 0;
        if all {
            *pause = Pause::default();
            clock.lock().resume(now);
            self.word.fetch_and(!PAUSE, Ordering::Release);
        }
        all
    }

    /// Has some core set the deadline of what the guest has to do by the clock. The caller kicks them.
    pub fn mind_the_clock(&self) {
        self.word.fetch_or(CLOCK, Ordering::Release);
    }

    /// Whether this core is to do that.
    pub fn take_clock(&self) -> bool {
        self.take(CLOCK)
    }

    /// Has some core take what the board's disk has for the guest. The caller kicks one.
    pub fn mind_the_disk(&self) {
        self.word.fetch_or(DISK, Ordering::Release);
    }

    /// Whether this core is to do that.
    #[inline]
    pub fn take_disk(&self) -> bool {
        self.take(DISK)
    }

    /// Asks for the registers of these vCPUs. The caller kicks them.
    pub fn look(&self, vcpus: VcpuSet) {
        self.word.fetch_or(u32::from(vcpus.0) * LOOK, Ordering::Release);
    }

    /// Whether somebody wants to see the registers of `me`; the wish is fulfilled by this.
    pub fn take_look(&self, me: VcpuId) -> bool {
        self.take(u32::from(VcpuSet::only(me).0) * LOOK)
    }

    /// Has these vCPUs take note that somebody looks at how busy they are. The caller kicks them.
    pub fn mind_usage(&self, vcpus: VcpuSet) {
        self.word.fetch_or(u32::from(vcpus.0) * USAGE, Ordering::Release);
    }

    /// Whether `me` is to do that.
    pub fn take_usage(&self, me: VcpuId) -> bool {
        self.take(u32::from(VcpuSet::only(me).0) * USAGE)
    }

    #[inline]
    fn take(&self, bit: u32) -> bool {
        self.word.load(Ordering::Relaxed) & bit != 0
            && self.word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: VcpuSet = VcpuSet(0b11);

    #[test]
    fn time_stands_from_when_the_last_vcpu_stopped_until_all_go_on() {
        let attention = Attention::default();
        let clock = Mutex::new(Clock::starting(1000));
        assert!(!attention.any());
        attention.pause();
        assert!(attention.any() && attention.pauses() && !attention.stops());
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 1100), Standing::Wait);
        assert_eq!(attention.stand(VcpuId(1), BOTH, &clock, 1130), Standing::Wait);
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 1500), Standing::Wait);
        assert_eq!(clock.lock().time(1600), 130);
        attention.resume(BOTH, &clock, 2000);
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 2001), Standing::Go);
        assert_eq!(attention.stand(VcpuId(1), BOTH, &clock, 2002), Standing::Go);
        assert_eq!(clock.lock().time(2010), 140);
        assert!(!attention.any());
    }

    #[test]
    fn nobody_goes_on_before_the_last_has_stopped() {
        let attention = Attention::default();
        let clock = Mutex::new(Clock::starting(0));
        attention.pause();
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 10), Standing::Wait);
        attention.resume(BOTH, &clock, 20);
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 21), Standing::Wait);
        assert_eq!(attention.stand(VcpuId(1), BOTH, &clock, 30), Standing::GoAll);
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 31), Standing::Go);
        assert_eq!(clock.lock().time(40), 40, "vCPU 1 never stood, and sees no time missing");
    }

    #[test]
    fn a_vcpu_that_goes_off_keeps_nobody_waiting() {
        let attention = Attention::default();
        let clock = Mutex::new(Clock::starting(0));
        attention.pause();
        assert_eq!(attention.stand(VcpuId(0), BOTH, &clock, 10), Standing::Wait);
        attention.resume(BOTH, &clock, 20);
        let left = VcpuSet::only(VcpuId(0));
        assert_eq!(attention.went_off(VcpuId(1), left, &clock, 25), Standing::GoAll);
        assert_eq!(attention.stand(VcpuId(0), left, &clock, 26), Standing::Go);
    }

    #[test]
    fn each_vcpu_takes_note_of_usage_once() {
        let attention = Attention::default();
        attention.mind_usage(BOTH);
        assert!(attention.take_usage(VcpuId(1)) && !attention.take_usage(VcpuId(1)));
        assert!(attention.any() && !attention.take_look(VcpuId(0)));
        assert!(attention.take_usage(VcpuId(0)) && !attention.any());
    }

    #[test]
    fn each_look_is_taken_once_by_the_vcpu_that_it_means() {
        let attention = Attention::default();
        attention.look(VcpuSet(0b10));
        assert!(!attention.take_look(VcpuId(0)));
        assert!(attention.any() && attention.take_look(VcpuId(1)));
        assert!(!attention.any() && !attention.take_look(VcpuId(1)));
        attention.look(VcpuSet(0b1));
        attention.stop();
        assert!(attention.stops() && attention.take_look(VcpuId(0)) && attention.stops());
        attention.mind_the_clock();
        assert!(attention.take_clock() && !attention.take_clock());
        attention.mind_the_disk();
        assert!(attention.take_disk() && !attention.take_disk() && !attention.take_clock());
    }
}
