//! Whose turn it is, and for how long.

use super::{RunQueue, State, TaskId, is_before};

/// What the core is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// To run a task.
    Run {
        /// Which.
        id: TaskId,
        /// When to ask again at the latest. `None`: nothing demands it.
        until: Option<u64>,
    },
    /// To wait.
    Idle {
        /// When to ask again at the latest. `None`: nothing demands it.
        until: Option<u64>,
    },
}

/// Why a task has the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// It was called.
    Called,
    /// It had less than its reserve.
    Reserve,
    /// It was its turn.
    Fair,
}

/// The task that has the core.
#[derive(Debug)]
pub(super) struct Current {
    pub id: TaskId,
    why: Why,
    /// Since when it has the core.
    since: u64,
    /// When this turn of it began; it may have several in a row.
    from: u64,
    /// When this turn ends, if anybody else wants the core.
    until: u64,
    /// The same by its virtual time, where it has the core as its fair share: who is to have had a turn by then goes first.
    due: u64,
    /// Whether it wants to let others go first.
    yields: bool,
    /// Whether it has a cap.
    capped: bool,
    /// Whether it has the core as its fair share, and neither cap nor reserve.
    is_plain: bool,
}

impl<T> RunQueue<T> {
    /// What all calls get of the core at most: a part in one and this many.
    const CALLS: u64 = 8;

    /// The current task waits for another by spinning: a ready sibling goes first, one that is preferred before the others, or
    /// else whoever is next. A sibling does not get ahead of the others by more than half the latency through this.
    pub fn yields(&mut self, now: u64) {
        self.charge(now);
        let contended = self.is_contended();
        if let Some(current) = &mut self.current {
            current.yields = contended;
        }
    }

    /// Decides who has the core from `now` on. `woke` is told who was blocked and is not any more, as its timer went off.
    pub fn pick(&mut self, now: u64, mut woke: impl FnMut(TaskId, &mut T)) -> Decision {
        self.charge(now);
        if self.alarms.peek().is_some_and(|alarm| !is_before(now, alarm.key)) {
            self.ring(&mut woke);
        }
        if !self.goes_on() {
            self.change();
        }
        self.decision()
    }

    /// As [`RunQueue::block`] and [`RunQueue::pick`] together, in the ordinary case: nobody was called, nothing is reserved or
    /// capped, no alarm is due, and somebody waits. Nothing is done in any other.
    #[inline(always)]
    pub fn pass_on(&mut self, now: u64) -> Option<(TaskId, Option<u64>)> {
        let from = self.current.as_ref().filter(|current| current.is_plain)?.id;
        let alarm = self.alarms.peek().map(|alarm| alarm.key);
        if self.any_called
            || !self.reserved.is_empty()
            || alarm.is_some_and(|at| !is_before(now, at))
        {
            return None;
        }
        let id = self.ready.peek()?.id;
        let task = self.tasks[id.index()].as_deref_mut().filter(|task| !task.is_capped())?;
        task.state = State::Current;
        task.preferred = false;
        let (due, turn) = (task.due_now(), task.next_turn());
        self.ready.remove_first();

        let since = core::mem::replace(&mut self.now, now);
        if let Some(task) = self.tasks[from.index()].as_deref_mut() {
            if is_before(since, now) {
                task.charge_plain(since, now, &mut self.mean);
            } else {
                self.now = since;
            }
            task.state = State::Blocked;
            task.away_since = now;
            self.mean.leave(task.virt, task.weight.get());
        }
        let until = now.wrapping_add(turn);
        self.current = Some(Current {
            id,
            why: Why::Fair,
            since: now,
            from: now,
            until,
            due,
            yields: false,
            capped: false,
            is_plain: true,
        });
        let contended = !self.ready.is_empty();
        Some((id, if contended { Some(sooner(until, alarm)) } else { alarm }))
    }

    /// Ends the waits whose time has come.
    #[inline(never)]
    fn ring(&mut self, woke: &mut impl FnMut(TaskId, &mut T)) {
        while let Some(alarm) = self.alarms.peek()
            && !is_before(self.now, alarm.key)
        {
            self.alarms.remove(alarm.id);
            if let Some(task) = self.entry(alarm.id)
                && task.state == State::Blocked
            {
                woke(alarm.id, &mut task.task);
            }
            self.rise(alarm.id);
        }
    }

    /// Whether the current task keeps the core without a question.
    fn goes_on(&mut self) -> bool {
        let (now, contended) = (self.now, self.is_contended());
        let Some(&Current { id, why, until, yields, capped, .. }) = self.current.as_ref() else {
            return false;
        };
        let over = !is_before(now, until);
        match why {
            Why::Called => return !over,
            _ if contended && (over || yields) => return false,
            _ => {}
        }
        !capped || self.entry(id).is_some_and(|task| task.throttled(now).is_none())
    }

    /// Gives the core to whoever is next, which may be the one that has it.
    fn change(&mut self) {
        self.close_turn();
        self.throttle();
        let next = self.next_called().map(|id| (id, Why::Called));
        let next = next.or_else(|| Some((self.next_reserved()?, Why::Reserve)));
        if let Some((id, why)) = next.or_else(|| Some((self.next_fair()?, Why::Fair))) {
            self.give(id, why);
        }
    }

    /// The turn of the current task is over.
    #[inline]
    pub(super) fn close_turn(&mut self) {
        if let Some(Current { why: Why::Called | Why::Reserve, .. }) = self.current {
            self.close_special_turn();
        }
    }

    #[inline(never)]
    fn close_special_turn(&mut self) {
        let Some(Current { id, why, from, .. }) = self.current else { return };
        if why == Why::Called {
            let ran = self.now.wrapping_sub(from);
            self.calls_from = self.now.wrapping_add(ran.saturating_mul(Self::CALLS));
        }
        // What it got by such a turn is held against it for a while only.
        let mean = self.mean.settle();
        if let Some(task) = self.tasks[id.index()].as_deref_mut() {
            self.mean.leave(task.virt, task.weight.get());
            task.forgive(mean);
            self.mean.join(task.virt, task.weight.get());
        }
    }

    /// Takes the core from the current task, if that has used up its cap.
    fn throttle(&mut self) {
        let now = self.now;
        if let Some(&Current { id, capped: true, .. }) = self.current.as_ref()
            && let Some(task) = self.tasks[id.index()].as_deref_mut()
            && let Some(end) = task.throttled(now)
        {
            task.state = State::Throttled;
            task.away_since = now;
            self.mean.leave(task.virt, task.weight.get());
            self.alarms.insert(id, end);
            self.current = None;
        }
    }

    fn next_called(&self) -> Option<TaskId> {
        if !self.any_called {
            return None;
        }
        let alone = self.current.is_none() && self.ready.is_empty();
        let id = self.called.after(self.last_called)?;
        (alone || !is_before(self.now, self.calls_from)).then_some(id)
    }

    fn next_reserved(&self) -> Option<TaskId> {
        let due = |id: TaskId| {
            let clock =
                self.task(id)?.reserve.as_ref().filter(|reserve| reserve.is_due(self.now))?;
            Some((id, clock.clock))
        };
        let current = self.current.as_ref().filter(|current| !current.yields);
        let current = current.and_then(|current| due(current.id));
        let first = self.reserved.peek().and_then(|first| due(first.id));
        match (current, first) {
            (Some(current), Some(first)) if is_before(first.1, current.1) => Some(first.0),
            (current, first) => current.or(first).map(|it| it.0),
        }
    }

    fn next_fair(&self) -> Option<TaskId> {
        let first = self.ready.peek().map(|first| first.id);
        let Some(current) = &self.current else { return first };
        if current.yields {
            return self.sibling(current.id).or(first).or(Some(current.id));
        }
        let due = self.task(current.id).map_or(0, |task| task.due());
        let goes_first = self.ready.peek().is_some_and(|first| !is_before(due, first.key));
        first.filter(|_| goes_first).or(Some(current.id))
    }

    /// The sibling of `id` that is to go before whoever is first in the queue.
    fn sibling(&self, id: TaskId) -> Option<TaskId> {
        let first = self.ready.peek()?.key;
        let order = |sibling: TaskId| {
            let task = self.task(sibling).filter(|task| task.state == State::Ready)?;
            let ahead = task.due().wrapping_sub(first) as i64;
            let near = ahead <= task.credit as i64;
            near.then_some((!task.preferred, ahead, sibling))
        };
        id.siblings().filter_map(order).min().map(|(.., sibling)| sibling)
    }

    /// Gives `id` the core, or lets it keep it, for a turn.
    fn give(&mut self, id: TaskId, why: Why) {
        let now = self.now;
        let mut since = now;
        match self.current.take() {
            Some(current) if current.id == id => since = current.since,
            Some(current) => self.enter(current.id),
            None => {}
        }
        if why == Why::Called {
            self.fetch_called(id);
        }
        self.leave(id);
        let Some(task) = self.entry(id) else { return };
        task.state = State::Current;
        task.preferred = false;
        let (due, capped) = (task.due_now(), task.is_capped());
        let is_plain = why == Why::Fair && !capped && task.reserve.is_none();
        let turn = match (why, &task.reserve) {
            (Why::Called, _) => None,
            (Why::Reserve, Some(reserve)) => Some(reserve.ends_at(now)),
            _ => Some(now.wrapping_add(task.next_turn())),
        };
        let until = turn.unwrap_or(now.wrapping_add(self.timing.granularity()));
        self.current = Some(Current {
            id,
            why,
            since,
            from: now,
            until,
            due,
            yields: false,
            capped,
            is_plain,
        });
        self.end_turn_for_reserves();
        self.end_turn_for_calls();
    }

    /// `id`, which was called, is next, also where it has used up its cap.
    #[inline(never)]
    fn fetch_called(&mut self, id: TaskId) {
        self.last_called = id;
        if let Some(task) = self.tasks[id.index()].as_deref_mut()
            && task.state == State::Throttled
        {
            self.alarms.remove(id);
            self.mean.join(task.virt, task.weight.get());
        }
    }

    /// `id` has become ready: the turn of the current task is over soon where `id` is to go first.
    pub(super) fn end_turn_for(&mut self, id: TaskId) {
        let Some(&Current { why: Why::Fair, from, due, .. }) = self.current.as_ref() else {
            return;
        };
        if self.task(id).is_some_and(|task| !is_before(due, task.due())) {
            self.end_turn(from);
        }
        self.end_turn_for_reserves();
    }

    /// The current task's fair turn ends when the first reserve is due.
    fn end_turn_for_reserves(&mut self) {
        if let Some(Current { why: Why::Fair, .. }) = self.current
            && let Some(first) = self.reserved.peek()
        {
            self.end_turn(first.key);
        }
    }

    /// The current task's turn ends when a called one may run.
    pub(super) fn end_turn_for_calls(&mut self) {
        if let Some(&Current { why: Why::Reserve | Why::Fair, .. }) = self.current.as_ref()
            && self.any_called
        {
            self.end_turn(self.calls_from);
        }
    }

    /// Ends the turn of the current task at `at` at the latest, but not before it had the core for the granularity.
    fn end_turn(&mut self, at: u64) {
        let granularity = self.timing.granularity();
        if let Some(current) = &mut self.current {
            let earliest = current.since.wrapping_add(granularity);
            let at = if is_before(at, earliest) { earliest } else { at };
            if is_before(at, current.until) {
                current.until = at;
            }
        }
    }

    /// What follows from how it stands.
    fn decision(&self) -> Decision {
        let alarm = self.alarms.peek().map(|alarm| alarm.key);
        let Some(&Current { id, why, until, capped, .. }) = self.current.as_ref() else {
            return Decision::Idle { until: alarm };
        };
        let contended = self.is_contended();
        let called = why == Why::Called && (contended || capped);
        let mut first = alarm;
        if called || contended {
            first = Some(sooner(until, first));
        }
        if capped
            && !called
            && let Some(end) = self.task(id).and_then(|task| task.cap_ends(self.now))
        {
            first = Some(sooner(end, first));
        }
        Decision::Run { id, until: first }
    }
}

/// The first of two times.
#[inline]
fn sooner(time: u64, other: Option<u64>) -> u64 {
    other.filter(|&other| is_before(other, time)).unwrap_or(time)
}
