//! The tasks of one core, and which of them has it.
//!
//! Only the core itself touches its queue. All times are of the board's counter, and one that is earlier than the last is taken
//! for that. What is decided, and in which order ([`RunQueue::pick`]):
//!
//! 1. Nobody is disturbed for nothing: whoever has the core keeps it for the *granularity*, an eighth of the latency, unless it
//!    blocks, yields, or has used up its cap. This bounds what wake-ups and calls cost the others.
//! 2. A *called* task is next, so that what is asked of its guest is done soon. All calls together get no more than a ninth of
//!    the core by this: what a guest does to have itself called again and again is of no use to it.
//! 3. A task that has had less than its *reserve* is next, in pieces of about twice the granularity.
//! 4. Else it is the one whose next turn would be over first by its virtual time. It has the core for a *slice*, four times the
//!    latency. The turn of a task that just woke counts for nothing until it ran for half the latency, and its time is behind
//!    the others', but by no more than a slice's worth: so it has the core once the current one has had it for the
//!    granularity, and does not keep it.
//! 5. A *capped* task that has used its budget is out of it until the window's end.
//!
//! Nothing here takes longer the more tasks there are, but for the depth of a heap; where the current task goes on, no heap
//! changes. Only [`RunQueue::hand_over`] looks at all that wait, for a core that has nothing to do.

mod turn;

use alloc::boxed::Box;

use super::heap::{Heap, is_before};
use super::mean::Mean;
use super::task::{State, Task};
use super::{Share, TASKS, TaskId, TaskSet, Timing};
use turn::Current;
pub use turn::Decision;

/// One core's tasks.
#[derive(Debug)]
pub struct RunQueue<T> {
    timing: Timing,
    /// By their numbers. Boxed, so that one moves to another core without a copy, and nothing is allocated for it.
    tasks: Box<[Option<Box<Task<T>>>; TASKS]>,
    count: usize,
    current: Option<Current>,
    /// Ready tasks by when their next turns are over, of virtual time.
    ready: Heap,
    /// The virtual time of these and the current one.
    mean: Mean,
    /// Those of them that have a reserve, by their clocks.
    reserved: Heap,
    /// Blocked tasks by their timers, and throttled ones by the ends of their windows.
    alarms: Heap,
    /// Ready and throttled tasks that were called.
    called: TaskSet,
    /// Whether there are any.
    any_called: bool,
    /// The last one that ran for that.
    last_called: TaskId,
    /// Before this time none runs for that, unless nothing else is to be done.
    calls_from: u64,
    /// Until when all is charged.
    pub(super) now: u64,
}

/// A task on its way to another core.
#[derive(Debug)]
pub struct Parcel<T> {
    id: TaskId,
    task: Box<Task<T>>,
}

impl<T> Parcel<T> {
    /// Which one.
    pub fn id(&self) -> TaskId {
        self.id
    }
}

impl<T> RunQueue<T> {
    /// Timers that are set for later than this many ticks from now go off then: a time in the far future is not to look like
    /// one that is over. (Years, of the fastest counter.)
    const FURTHEST_TIMER: u64 = 1 << 62;

    /// A queue without tasks. Allocates all that it needs but for the tasks themselves.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            tasks: Box::new([const { None }; TASKS]),
            count: 0,
            current: None,
            ready: Heap::new(),
            mean: Mean::new(0),
            reserved: Heap::new(),
            alarms: Heap::new(),
            called: TaskSet::EMPTY,
            any_called: false,
            last_called: TaskId(u8::MAX),
            calls_from: 0,
            now: 0,
        }
    }

    /// Adds `task` as `id`, which is in no queue. It is blocked.
    pub fn add(&mut self, id: TaskId, share: Share, task: T) {
        let task = Task::new(task, share, &self.timing, self.mean.get(), self.now);
        self.put(id, Box::new(task));
    }

    fn put(&mut self, id: TaskId, task: Box<Task<T>>) {
        if self.tasks[id.index()].replace(task).is_none() {
            self.count += 1;
        }
    }

    /// How many tasks it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it has `id`.
    pub fn contains(&self, id: TaskId) -> bool {
        self.task(id).is_some()
    }

    /// The task that has the core.
    pub fn current(&self) -> Option<TaskId> {
        self.current.as_ref().map(|current| current.id)
    }

    /// Task `id`.
    pub fn task_mut(&mut self, id: TaskId) -> Option<&mut T> {
        self.entry(id).map(|task| &mut task.task)
    }

    /// All tasks, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        let numbered = (0..=u8::MAX).map(TaskId).zip(self.tasks.iter());
        numbered.filter_map(|(id, task)| Some((id, &task.as_ref()?.task)))
    }

    fn task(&self, id: TaskId) -> Option<&Task<T>> {
        self.tasks[id.index()].as_deref()
    }

    fn entry(&mut self, id: TaskId) -> Option<&mut Task<T>> {
        self.tasks[id.index()].as_deref_mut()
    }

    fn state(&self, id: TaskId) -> Option<State> {
        self.task(id).map(|task| task.state)
    }

    /// Wakes `id`, if it is blocked: it waits for the core from now on, and its timer is dropped. Whether it was.
    pub fn wake(&mut self, id: TaskId, now: u64) -> bool {
        self.charge(now);
        let blocked = self.state(id) == Some(State::Blocked);
        if blocked {
            self.alarms.remove(id);
            self.rise(id);
        }
        blocked
    }

    /// As [`RunQueue::wake`]; and it is next, also where it has used up its cap. Nothing where it has the core. Whether it is
    /// in this queue.
    pub fn call(&mut self, id: TaskId, now: u64) -> bool {
        self.wake(id, now);
        let state = self.state(id);
        if matches!(state, Some(State::Ready | State::Throttled)) {
            self.called.insert(id);
            self.any_called = true;
            self.end_turn_for_calls();
        }
        state.is_some()
    }

    /// The current task blocks, until it is woken, or until `timer`.
    pub fn block(&mut self, now: u64, timer: Option<u64>) {
        self.charge(now);
        self.close_turn();
        if let Some(Current { id, .. }) = self.current.take()
            && let Some(task) = self.tasks[id.index()].as_deref_mut()
        {
            task.state = State::Blocked;
            task.away_since = self.now;
            self.mean.leave(task.virt, task.weight.get());
            if timer.is_some() {
                self.set_timer(id, timer);
            }
        }
    }

    /// Sets, or drops, the timer of `id`, if that is blocked.
    pub fn set_timer(&mut self, id: TaskId, at: Option<u64>) {
        if self.state(id) != Some(State::Blocked) {
            return;
        }
        self.alarms.remove(id);
        if let Some(at) = at {
            let wait = at.saturating_sub(self.now).min(Self::FURTHEST_TIMER);
            self.alarms.insert(id, self.now.wrapping_add(wait));
        }
    }

    /// A sibling of `id` waits for it: where one yields, it comes first.
    pub fn prefer(&mut self, id: TaskId) {
        if let Some(task) = self.entry(id) {
            task.preferred = true;
        }
    }

    /// Whether anybody waits for the core.
    pub fn is_contended(&self) -> bool {
        self.any_called || !self.ready.is_empty()
    }

    /// How many wait for the core that could go to another.
    pub fn waiting(&self) -> usize {
        self.ready.len().saturating_sub(self.reserved.len())
    }

    /// Whether [`RunQueue::hand_over`] finds one. Looks at all.
    pub fn has_for(&self, may: impl Fn(TaskId, &T) -> bool) -> bool {
        self.ready.iter().any(|item| self.may_leave(item.id, &may))
    }

    fn may_leave(&self, id: TaskId, may: &impl Fn(TaskId, &T) -> bool) -> bool {
        let task = self.task(id).filter(|task| task.reserve.is_none());
        !self.called.contains(id) && task.is_some_and(|task| may(id, &task.task))
    }

    /// Takes a task out for a core that has nothing to do: of those that wait here, have no reserve, were not called, and for
    /// which `may` says so, the one that would wait longest. Looks at all.
    pub fn hand_over(&mut self, now: u64, may: impl Fn(TaskId, &T) -> bool) -> Option<Parcel<T>> {
        self.charge(now);
        let mean = self.mean.settle();
        let all = self.ready.iter().filter(|item| self.may_leave(item.id, &may));
        let id = all.max_by_key(|item| item.key.wrapping_sub(mean) as i64)?.id;
        self.leave(id);
        let mut task = self.tasks[id.index()].take()?;
        self.count -= 1;
        self.mean.leave(task.virt, task.weight.get());
        // Virtual time means nothing on another core but relative to the others'.
        task.shift(mean.wrapping_neg());
        Some(Parcel { id, task })
    }

    /// Takes in what another core handed over. It waits for this core now.
    pub fn adopt(&mut self, parcel: Parcel<T>, now: u64) -> TaskId {
        self.charge(now);
        let Parcel { id, mut task } = parcel;
        task.shift(self.mean.settle());
        self.mean.join(task.virt, task.weight.get());
        self.put(id, task);
        self.enter(id);
        self.end_turn_for(id);
        id
    }

    /// Charges the current task until `now`.
    #[inline]
    pub(super) fn charge(&mut self, now: u64) {
        let since = self.now;
        if !is_before(since, now) {
            return;
        }
        self.now = now;
        if let Some(current) = &self.current
            && let Some(task) = self.tasks[current.id.index()].as_deref_mut()
        {
            task.charge(since, now, &mut self.mean);
        }
    }

    /// `id`, which was blocked or throttled, wants the core.
    fn rise(&mut self, id: TaskId) {
        let now = self.now;
        let Some(task) = self.tasks[id.index()].as_deref_mut() else { return };
        task.wake(now, self.mean.settle());
        if let Some(end) = task.throttled(now) {
            task.state = State::Throttled;
            return self.alarms.insert(id, end);
        }
        self.mean.join(task.virt, task.weight.get());
        self.enter(id);
        self.end_turn_for(id);
    }

    /// `id`, which is in no heap, waits for the core.
    #[inline]
    fn enter(&mut self, id: TaskId) {
        let Some(task) = self.entry(id) else { return };
        task.state = State::Ready;
        let due = task.due();
        let clock = task.reserve.as_ref().map(|reserve| reserve.clock);
        self.ready.insert(id, due);
        if let Some(clock) = clock {
            self.reserved.insert(id, clock);
        }
    }

    /// `id` waits for nothing any more.
    #[inline]
    fn leave(&mut self, id: TaskId) {
        if self.ready.peek().is_some_and(|first| first.id == id) {
            self.ready.remove_first();
        } else {
            self.ready.remove(id);
        }
        if !self.reserved.is_empty() {
            self.reserved.remove(id);
        }
        if self.any_called {
            self.called.remove(id);
            self.any_called = !self.called.is_empty();
        }
    }
}
