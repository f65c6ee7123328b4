//! What others leave for a core: whom to wake, whom to call, who wants work, and that work was handed over.
//!
//! A bit for each, so that nothing is lost, nothing takes room, and what is left twice is done once. One word tells where to
//! look, as a core asks at each exit whether there is anything.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::{TASKS, TaskId, TaskSet};
use crate::addr::{CoreSet, CpuId};

const WORDS: usize = TASKS / 64;

/// Bits of [`Mailbox::any`]: a bit for each word of `woken` from here on.
const WOKEN: usize = 0;
/// And for each of `called`.
const CALLED: usize = WORDS;
/// Cores want work.
const ASKING: u32 = 1 << (2 * WORDS);
/// There are parcels.
const PARCELS: u32 = 1 << (2 * WORDS + 1);

/// What is left for one core. Whoever leaves something kicks the core afterwards.
#[derive(Debug)]
pub struct Mailbox {
    any: AtomicU32,
    woken: [AtomicU64; WORDS],
    called: [AtomicU64; WORDS],
    asking: AtomicU8,
}

/// What was in a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Word {
    woken: TaskSet,
    called: TaskSet,
    asking: CoreSet,
    parcels: bool,
}

impl Word {
    /// Tasks to wake.
    pub fn woken(&self) -> impl Iterator<Item = TaskId> {
        self.woken.iter()
    }

    /// Tasks to call.
    pub fn called(&self) -> impl Iterator<Item = TaskId> {
        self.called.iter()
    }

    /// Cores that want work.
    pub fn asking(&self) -> CoreSet {
        self.asking
    }

    /// Whether something was handed over.
    pub fn parcels(&self) -> bool {
        self.parcels
    }
}

impl Mailbox {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            any: AtomicU32::new(0),
            woken: [const { AtomicU64::new(0) }; WORDS],
            called: [const { AtomicU64::new(0) }; WORDS],
            asking: AtomicU8::new(0),
        }
    }

    /// Whether there may be something in it. A core that was kicked sees what was left before the kick.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed) != 0
    }

    /// `id` is to be woken.
    pub fn leave_wake(&self, id: TaskId) {
        self.leave(&self.woken, WOKEN, id);
    }

    /// `id` is to be called.
    pub fn leave_call(&self, id: TaskId) {
        self.leave(&self.called, CALLED, id);
    }

    fn leave(&self, words: &[AtomicU64; WORDS], first: usize, id: TaskId) {
        let index = TaskSet::word(id);
        words[index].fetch_or(TaskSet::bit(id), Ordering::Relaxed);
        self.any.fetch_or(1 << (first + index), Ordering::Release);
    }

    /// `core` wants work.
    pub fn leave_ask(&self, core: CpuId) {
        self.asking.fetch_or(CoreSet::only(core).0, Ordering::Relaxed);
        self.any.fetch_or(ASKING, Ordering::Release);
    }

    /// Something was handed over.
    pub fn leave_parcel_note(&self) {
        self.any.fetch_or(PARCELS, Ordering::Release);
    }

    /// Takes all that is in it.
    pub fn take(&self) -> Word {
        let any = self.any.swap(0, Ordering::Acquire);
        let take = |words: &[AtomicU64; WORDS], first: usize| {
            let mut taken = TaskSet::EMPTY;
            for (index, word) in words.iter().enumerate() {
                if any >> (first + index) & 1 != 0 {
                    taken.0[index] = word.swap(0, Ordering::Relaxed);
                }
            }
            taken
        };
        Word {
            woken: take(&self.woken, WOKEN),
            called: take(&self.called, CALLED),
            asking: match any & ASKING {
                0 => CoreSet::EMPTY,
                _ => CoreSet(self.asking.swap(0, Ordering::Relaxed)),
            },
            parcels: any & PARCELS != 0,
        }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}
