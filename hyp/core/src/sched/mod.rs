//! Shared cores: who runs next on a core, who is woken where, and who moves to a core that has nothing to do.
//!
//! Problem: a board has four cores, and eight times as many vCPUs want them. Each is to get its share and no more, at once when
//! it wakes after having had less, and nobody is to pay for the others' being many. Idea: a core owns the queue of its vCPUs
//! ([`RunQueue`]) like it owns the one vCPU where it is dedicated: as a value, without a lock, so that a decision costs a few
//! loads. Whatever another core has for one of them, it leaves in the core's [`Mailbox`], and kicks it. Where to, and whether at
//! all, is told by the vCPU's [`Place`]: nobody disturbs a core for a vCPU that will look by itself when its turn comes.
//!
//! Who runs next is decided by weighted virtual time (as in Linux's EEVDF; Stoica et al., "Earliest eligible virtual deadline
//! first", 1995): the clock of a vCPU advances by what it ran over its weight, and the one whose next turn would be over first by its
//! clock is next, where the turn of one that just woke counts for nothing. Caps, reserves and calls come before that, each bounded by what it may cost the others ([`queue`]).
//!
//! Ideas not taken: one queue for all cores, whose lock would be taken at each exit that blocks; and stealing from another
//! core's queue, which makes each of its decisions atomic. Here a core that has nothing to do asks, and the other hands over.
//!
//! A *task* is a vCPU to this module, and may be anything to a test of it.

mod heap;
mod idle;
mod mailbox;
mod mean;
mod place;
mod queue;
mod task;

pub use idle::IdleCores;
pub use mailbox::{Mailbox, Word};
pub use place::{Place, PlaceState, Places, Wake};
pub use queue::{Decision, Parcel, RunQueue};

use crate::addr::{VcpuId, VmId};

/// Tasks that there can be on a board: 32 guests of up to eight vCPUs.
pub const TASKS: usize = 256;

/// Cores that a board can have.
pub const CORES: usize = 8;

/// A vCPU of the board.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct TaskId(pub u8);

impl TaskId {
    /// vCPUs that a guest can have.
    const VCPUS: u8 = 8;

    /// vCPU `vcpu` of guest `vm`, of which there are no more than 8 and 32.
    pub const fn new(vm: VmId, vcpu: VcpuId) -> Self {
        Self(vm.0.wrapping_mul(Self::VCPUS).wrapping_add(vcpu.0 % Self::VCPUS))
    }

    /// Whose it is.
    pub const fn vm(self) -> VmId {
        VmId(self.0 / Self::VCPUS)
    }

    /// Which of that guest's.
    pub const fn vcpu(self) -> VcpuId {
        VcpuId(self.0 % Self::VCPUS)
    }

    /// All of the same guest's, itself among them.
    fn siblings(self) -> impl Iterator<Item = Self> {
        (0..Self::VCPUS).map(move |vcpu| Self::new(self.vm(), VcpuId(vcpu)))
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How much of a core a task is to get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// What it gets in proportion to the others', 1 to 10000.
    pub weight: u32,
    /// The most that it gets, in percent of a core, 1 to 100.
    pub cap: Option<u8>,
    /// The least that it gets where it wants it, in percent of a core, 1 to 100. Those of a core's tasks are 100 at most.
    pub reserve: Option<u8>,
}

/// The times that all queues keep to, in ticks of the board's counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Within which a task that used less than its share runs after it woke.
    pub latency: u64,
    /// What a cap is the percentage of.
    pub window: u64,
}

impl Timing {
    /// Windows in a second.
    const WINDOWS: u64 = 10;
    /// What a task weighs of which nothing is said.
    const USUAL: u64 = 100;
    /// Microseconds in a second.
    const MICROS: u64 = 1_000_000;

    /// For a counter of `hz` and a latency of `micros` microseconds.
    pub fn new(hz: u64, micros: u32) -> Self {
        let latency = u128::from(hz) * u128::from(micros) / u128::from(Self::MICROS);
        Self { latency: (latency as u64).max(1), window: (hz / Self::WINDOWS).max(1) }
    }

    /// How long a task has the core at a time where others want it as well and none has a better claim: longer than the
    /// latency, since who wakes does not wait for its end, and each change of hands costs caches and TLBs.
    pub const fn slice(&self) -> u64 {
        self.latency.saturating_mul(4)
    }

    /// The same for one that weighs less than usual: less, or it would have to wait the longer for its next.
    fn slice_of(&self, weight: u64) -> u64 {
        let part = self.slice().saturating_mul(weight.min(Self::USUAL)) / Self::USUAL;
        part.max(self.granularity())
    }

    /// How long a task runs before another takes its place, unless it blocks.
    pub const fn granularity(&self) -> u64 {
        self.latency / 8
    }
}

/// A set of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct TaskSet([u64; TASKS / 64]);

impl TaskSet {
    const EMPTY: Self = Self([0; TASKS / 64]);

    const fn bit(id: TaskId) -> u64 {
        1 << (id.0 % 64)
    }

    const fn word(id: TaskId) -> usize {
        (id.0 / 64) as usize
    }

    fn insert(&mut self, id: TaskId) {
        self.0[Self::word(id)] |= Self::bit(id);
    }

    fn remove(&mut self, id: TaskId) {
        self.0[Self::word(id)] &= !Self::bit(id);
    }

    fn contains(&self, id: TaskId) -> bool {
        self.0[Self::word(id)] & Self::bit(id) != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; TASKS / 64]
    }

    /// The member that comes first behind `id`, going round.
    fn after(&self, id: TaskId) -> Option<TaskId> {
        let behind = !0 << (id.0 % 64) << 1;
        let words = (0..=self.0.len()).map(|step| {
            let index = (Self::word(id) + step) % self.0.len();
            (index, if step == 0 { self.0[index] & behind } else { self.0[index] })
        });
        let (index, word) = words.into_iter().find(|&(_, word)| word != 0)?;
        Some(TaskId((index * 64) as u8 | word.trailing_zeros() as u8))
    }

    /// The members, lowest first.
    fn iter(mut self) -> impl Iterator<Item = TaskId> {
        core::iter::from_fn(move || {
            let (index, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
            let member = TaskId((index * 64) as u8 | word.trailing_zeros() as u8);
            *word &= word.wrapping_sub(1);
            Some(member)
        })
    }
}

#[cfg(test)]
mod tests;
