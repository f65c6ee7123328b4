//! Where each task is, for whoever wants to wake it.
//!
//! Problem: whoever has an interrupt for a vCPU must see to it that the vCPU takes it soon: by a kick where it runs, by waking it
//! where it is blocked, and by nothing at all where it waits for its core, as it looks by itself when it gets it. He must not
//! take it for running at the moment at which it blocks. Idea: one atomic for each. Whoever wakes has left the news before he
//! looks at the place; the owner has changed the place before it looks for news; and a full fence lies between on either side.
//! So one of them sees the other. Only the owner changes a place, but that whoever wakes makes a blocked one queued: who does
//! so, and nobody else, leaves word in the core's mailbox.

use core::sync::atomic::{AtomicU16, Ordering, fence};

use super::{TASKS, TaskId};
use crate::addr::CpuId;

/// How it stands with a task, as others see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceState {
    /// It waits for news.
    Blocked,
    /// It waits for the core.
    Queued,
    /// It has the core.
    Running,
}

/// A core and how it stands there, in one word that changes at once.
#[derive(Debug)]
pub struct Place(AtomicU16);

impl Place {
    const STATES: u16 = 4;

    const fn pack(core: CpuId, state: PlaceState) -> u16 {
        (core.0 as u16 * Self::STATES) | state as u16
    }

    const fn unpack(word: u16) -> (CpuId, PlaceState) {
        let state = match word % Self::STATES {
            0 => PlaceState::Blocked,
            1 => PlaceState::Queued,
            _ => PlaceState::Running,
        };
        (CpuId((word / Self::STATES) as u8), state)
    }
}

/// What whoever wakes a task has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Wake {
    /// To kick this core: it runs the task.
    Kick(CpuId),
    /// To leave word in this core's mailbox, and kick it: the task was blocked.
    Leave(CpuId),
    /// Nothing: the task will look, or somebody else wakes it.
    Nothing,
}

/// The places of all tasks. At first all are blocked on core 0.
#[derive(Debug)]
pub struct Places([Place; TASKS]);

impl Places {
    /// For a board.
    pub const fn new() -> Self {
        Self([const { Place(AtomicU16::new(Place::pack(CpuId(0), PlaceState::Blocked))) }; TASKS])
    }

    fn of(&self, id: TaskId) -> &AtomicU16 {
        &self.0[id.index()].0
    }

    /// Where `id` is.
    pub fn get(&self, id: TaskId) -> (CpuId, PlaceState) {
        Place::unpack(self.of(id).load(Ordering::Acquire))
    }

    /// The owner says where `id` is: also to whom it is handed over, before it is. It blocks and runs by [`Places::block`] and
    /// [`Places::run`].
    pub fn put(&self, id: TaskId, core: CpuId, state: PlaceState) {
        self.of(id).store(Place::pack(core, state), Ordering::Release);
    }

    /// There is news for `id`, which was left before this call. Says what is to be done about it.
    pub fn wake(&self, id: TaskId) -> Wake {
        fence(Ordering::SeqCst);
        let place = self.of(id);
        let mut word = place.load(Ordering::Relaxed);
        loop {
            let (core, queued) = match Place::unpack(word) {
                (core, PlaceState::Running) => return Wake::Kick(core),
                (_, PlaceState::Queued) => return Wake::Nothing,
                (core, PlaceState::Blocked) => (core, Place::pack(core, PlaceState::Queued)),
            };
            match place.compare_exchange(word, queued, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Wake::Leave(core),
                // Somebody else has changed it meanwhile, and got further.
                Err(other) => word = other,
            }
        }
    }

    /// The owner, `core`, blocks `id`. It looks for news after this, and takes it back where there is any.
    pub fn block(&self, id: TaskId, core: CpuId) {
        self.put(id, core, PlaceState::Blocked);
        fence(Ordering::SeqCst);
    }

    /// The owner, `core`, has a reason by itself to wake `id`, which it had blocked. Whether nobody else did: whoever did leaves
    /// word, or has.
    pub fn unblock(&self, id: TaskId, core: CpuId) -> bool {
        let [blocked, queued] =
            [PlaceState::Blocked, PlaceState::Queued].map(|state| Place::pack(core, state));
        let place = self.of(id);
        place.compare_exchange(blocked, queued, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The owner, `core`, switches `id` in. It looks for news after this, before the task runs.
    pub fn run(&self, id: TaskId, core: CpuId) {
        self.put(id, core, PlaceState::Running);
        fence(Ordering::SeqCst);
    }
}

impl Default for Places {
    fn default() -> Self {
        Self::new()
    }
}
