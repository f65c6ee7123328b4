//! The life of a guest: built, running, coming to a stop on all its cores, torn down, built anew.
//!
//! Problem: a guest's cores run at the same time, one of them or somebody outside ends the guest, and nothing of it may
//! be given away before the last core has left it. Idea: two views of one state. A person sees a [`State`], with a table
//! of what may be asked in which. Cores see a [`Phase`], which says what they have to do now. Whoever asks first decides
//! why the guest ends; its first core leads: it tears down, decides by the [`Policy`] what follows, and builds; memory
//! is cleared by all of them, chunk by chunk. Each life is made from the configuration as if there had been none before.
//! Idea not taken: a core that waits for the others at EL2. Nobody spins; whoever has nothing to do sleeps until kicked.

mod changes;
mod facts;
mod policy;
mod reason;
mod table;
#[cfg(test)]
mod tests;

use core::ops::DerefMut;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::lock::Mutex;

use changes::Changes;
pub use changes::{Change, Telling};
pub use facts::{Due, Facts};
pub use policy::{After, LONGEST_WAIT, Policy, Restart, SHORT_LIFE};
pub use reason::{StopReason, Verdict};
pub use table::{Action, Refusal, Request, State};

/// What the cores of a guest have to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Nothing: no memory is the guest's.
    Down = 0,
    /// The first core builds a life: memory, address space, devices.
    Building,
    /// All cores clear its memory.
    Clearing,
    /// Who cleared the last of it loads it.
    Loading,
    /// Its vCPUs run, or are off and wait for CPU_ON.
    Running,
    /// Its cores leave it; then the first one tears it down.
    Leaving,
}

impl Phase {
    const fn from(raw: u8) -> Self {
        match raw {
            1 => Self::Building,
            2 => Self::Clearing,
            3 => Self::Loading,
            4 => Self::Running,
            5 => Self::Leaving,
            _ => Self::Down,
        }
    }
}

#[derive(Debug)]
struct Inner {
    facts: Facts,
    /// Changes that were not told yet.
    changes: Changes,
    /// Why this life ends, from when that is decided.
    reason: Option<StopReason>,
    /// Somebody pressed its power button in this life.
    asked: bool,
    /// When it should have obeyed.
    stop_by: Option<u64>,
    /// Restarts after short lives, one after the other.
    in_a_row: u32,
    /// No life follows this one.
    last: bool,
}

/// The life of one guest, shared by its cores.
#[derive(Debug)]
pub struct Life {
    phase: AtomicU8,
    parked: AtomicU8,
    cores: u8,
    /// Next chunk of memory to clear, and how many are clear.
    next_chunk: AtomicU32,
    cleared: AtomicU32,
    /// Lives that began to run.
    starts: AtomicU64,
    policy: Policy,
    /// Seconds that the guest has for stopping when asked.
    stop_timeout: u32,
    inner: Mutex<Inner>,
}

impl Life {
    /// A guest on `cores` cores that was never started.
    pub const fn new(cores: u8, policy: Policy, stop_timeout: u32) -> Self {
        let facts = Facts {
            state: State::Defined,
            since: 0,
            began: 0,
            starts: 0,
            restarts: 0,
            last_end: None,
            wake_at: None,
        };
        Self {
            phase: AtomicU8::new(Phase::Down as u8),
            parked: AtomicU8::new(0),
            cores,
            next_chunk: AtomicU32::new(0),
            cleared: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            policy,
            stop_timeout,
            inner: Mutex::new(Inner {
                facts,
                changes: Changes::new(),
                reason: None,
                asked: false,
                stop_by: None,
                in_a_row: 0,
                last: false,
            }),
        }
    }

    /// What its cores have to do.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::from(self.phase.load(Ordering::Acquire))
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Lives that began to run.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// One copy of taking the lock, for all that do.
    #[inline(never)]
    #[track_caller]
    fn inner(&self) -> impl DerefMut<Target = Inner> {
        self.inner.lock()
    }

    /// What is known of it.
    pub fn facts(&self) -> Facts {
        Facts { starts: self.starts(), ..self.inner().facts }
    }

    /// Takes the oldest change of state that was not taken yet, if it may be told at `now` of a counter with `hz` ticks a
    /// second.
    pub fn take_change(&self, now: u64, hz: u64) -> Telling {
        self.inner().changes.take(now, hz)
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.inner().facts.state
    }

    /// Lives that began to run, the state and the phase, of one moment.
    pub fn standing(&self) -> (u64, State, Phase) {
        let inner = self.inner();
        (self.starts(), inner.facts.state, self.phase())
    }

    /// Somebody outside asks for something, at `now` of a counter with `hz` ticks a second. The state has changed when
    /// this returns; what else is to be done the [`Action`] says.
    pub fn ask(&self, request: Request, now: u64, hz: u64) -> Result<Action, Refusal> {
        let mut inner = self.inner();
        let (action, state) = table::answer(inner.facts.state, request)?;
        let down = self.phase() == Phase::Down;
        inner.enter(state, now);
        match request {
            Request::Start => {
                inner.in_a_row = 0;
                inner.begin_building();
                self.set_phase(Phase::Building);
            }
            Request::Stop => {
                inner.asked = true;
                inner.stop_by = Some(now + u64::from(self.stop_timeout) * hz);
            }
            Request::Kill if down => {
                inner.facts.wake_at = None;
                inner.enter(State::Stopped, now);
                return Ok(Action::Forget);
            }
            Request::Kill | Request::Reset => {
                let reason = match request {
                    Request::Kill => StopReason::Killed,
                    _ => StopReason::ResetFromOutside,
                };
                inner.reason = Some(reason);
                inner.stop_by = None;
                // What is still being built ends when it would begin to run.
                if self.phase() == Phase::Running {
                    self.set_phase(Phase::Leaving);
                }
            }
            Request::Pause | Request::Resume => {}
        }
        Ok(action)
    }

    /// No life follows this one by itself, however it ends: the board goes off.
    pub fn be_the_last(&self) {
        self.inner().last = true;
    }

    /// This life ends, for a reason of its own. `true` where this call decided that: the caller makes its cores leave.
    pub fn end(&self, reason: StopReason, now: u64) -> bool {
        let mut inner = self.inner();
        if inner.reason.is_some() || self.phase() != Phase::Running {
            return false;
        }
        inner.reason = Some(reason);
        let anew = reason.verdict() == Verdict::Anew;
        inner.enter(if anew { State::Restarting } else { State::Stopping }, now);
        self.set_phase(Phase::Leaving);
        true
    }

    /// Why this life ends, where that is decided.
    pub fn reason(&self) -> Option<StopReason> {
        self.inner().reason
    }

    /// A core has left the guest for good, in [`Phase::Leaving`]. Each core calls this once a life; `true` for the last.
    pub fn park(&self) -> bool {
        self.parked.fetch_add(1, Ordering::AcqRel) + 1 >= self.cores
    }

    /// Whether all its cores have left the guest.
    pub fn all_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire) >= self.cores
    }

    /// Nothing of the life is left: what follows. For the leader.
    pub fn ended(&self, now: u64, hz: u64) -> (StopReason, After) {
        let mut inner = self.inner();
        let reason = inner.reason.take().unwrap_or(StopReason::Killed);
        let seconds = now.saturating_sub(inner.facts.began) / hz.max(1);
        if seconds >= SHORT_LIFE {
            inner.in_a_row = 0;
        }
        let after = match (inner.last, reason.verdict()) {
            (false, _) => self.policy.after(reason, inner.asked, seconds, inner.in_a_row),
            (true, Verdict::Crashed) => After::Crashed,
            (true, _) => After::Stopped,
        };
        inner.facts.last_end = Some((reason, now));
        inner.stop_by = None;
        match after {
            After::Anew => {
                inner.facts.restarts = inner.facts.restarts.saturating_add(1);
                inner.begin_building();
                inner.enter(State::Restarting, now);
                self.set_phase(Phase::Building);
                return (reason, after);
            }
            After::Wait(seconds) => {
                inner.in_a_row = inner.in_a_row.saturating_add(1);
                inner.facts.wake_at = Some(now + seconds * hz);
                inner.enter(State::Restarting, now);
            }
            After::Stopped => inner.enter(State::Stopped, now),
            After::Crashed | After::TooOften => inner.enter(State::Crashed, now),
        }
        self.set_phase(Phase::Down);
        (reason, after)
    }

    /// The life could not be built; nothing of it is left. As [`Life::ended`].
    pub fn not_built(&self, now: u64, hz: u64) -> (StopReason, After) {
        self.fail_loading();
        self.inner().facts.began = now;
        self.ended(now, hz)
    }

    /// The life could not be loaded: it ends when it would begin to run.
    pub fn fail_loading(&self) {
        self.inner().reason.get_or_insert(StopReason::NotLoaded);
    }

    /// The life is built: its cores clear its memory.
    pub fn begin_clearing(&self) {
        self.next_chunk.store(0, Ordering::Relaxed);
        self.cleared.store(0, Ordering::Relaxed);
        self.set_phase(Phase::Clearing);
    }

    /// A chunk for this core to clear, of `chunks`; `None` where all are taken.
    pub fn take_chunk(&self, chunks: u32) -> Option<u32> {
        let take = |next: u32| (next < chunks).then_some(next + 1);
        self.next_chunk.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// A chunk is clear. `true` for the last of `chunks`: this core now loads the guest.
    pub fn chunk_cleared(&self, chunks: u32) -> bool {
        let last = self.cleared.fetch_add(1, Ordering::AcqRel) + 1 == chunks;
        if last {
            self.set_phase(Phase::Loading);
        }
        last
    }

    /// The guest is loaded: its cores may run it, unless its end was decided meanwhile, and then `false`. The caller
    /// kicks them.
    pub fn begin_running(&self, now: u64) -> bool {
        let mut inner = self.inner();
        self.parked.store(0, Ordering::Relaxed);
        self.starts.fetch_add(1, Ordering::Relaxed);
        inner.facts.began = now;
        let runs = inner.reason.is_none();
        if runs {
            inner.enter(State::Running, now);
        }
        self.set_phase(if runs { Phase::Running } else { Phase::Leaving });
        runs
    }

    /// What is due at `now`. For the leader.
    pub fn due(&self, now: u64) -> Due {
        let mut inner = self.inner();
        if inner.facts.wake_at.is_some_and(|at| at <= now) {
            inner.facts.restarts = inner.facts.restarts.saturating_add(1);
            inner.begin_building();
            self.set_phase(Phase::Building);
            return Due::Build;
        }
        if inner.stop_by.is_some_and(|at| at <= now) {
            inner.stop_by = None;
            if inner.facts.state == State::Stopping && inner.reason.is_none() {
                // It may be asked again.
                inner.asked = false;
                inner.enter(State::Running, now);
                return Due::NotListening;
            }
        }
        Due::Nothing
    }

    /// When [`Life::due`] is to be asked next.
    pub fn deadline(&self) -> Option<u64> {
        let inner = self.inner();
        [inner.facts.wake_at, inner.stop_by].into_iter().flatten().min()
    }
}

impl Inner {
    fn enter(&mut self, state: State, now: u64) {
        if self.facts.state == state {
            return;
        }
        self.facts.state = state;
        self.facts.since = now;
        // Whose end is decided has a reason, who is down had one.
        let last = self.facts.last_end.filter(|_| state.is_down()).map(|(reason, _)| reason);
        let reason = self.reason.or(last);
        self.changes.note(Change { state, reason, at: now, left_out: 0 });
    }

    fn begin_building(&mut self) {
        self.reason = None;
        self.asked = false;
        self.stop_by = None;
        self.facts.wake_at = None;
    }
}
