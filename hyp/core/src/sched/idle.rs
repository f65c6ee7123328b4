//! Which cores have nothing to do, and which have most.
//!
//! Both are hints: whoever acts on one finds out what is true from the core that it asks. But a core that is published is claimed
//! by one at most, so that two do not both hand something over to it.

use core::sync::atomic::{AtomicU8, Ordering};

use super::CORES;
use crate::addr::{CoreSet, CpuId};

/// What the cores say of themselves.
#[derive(Debug)]
pub struct IdleCores {
    idle: AtomicU8,
    /// How many tasks wait on each that could go elsewhere.
    waiting: [AtomicU8; CORES],
}

impl IdleCores {
    /// All are busy, and nobody waits.
    pub const fn new() -> Self {
        Self { idle: AtomicU8::new(0), waiting: [const { AtomicU8::new(0) }; CORES] }
    }

    /// `core` has nothing to do.
    pub fn publish(&self, core: CpuId) {
        self.idle.fetch_or(CoreSet::only(core).0, Ordering::SeqCst);
    }

    /// `core` has something to do; whether nobody has claimed it since it was published.
    pub fn withdraw(&self, core: CpuId) -> bool {
        self.take(core)
    }

    /// Whether any core has nothing to do.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.idle.load(Ordering::Relaxed) != 0
    }

    /// Those that have nothing to do.
    pub fn published(&self) -> CoreSet {
        CoreSet(self.idle.load(Ordering::SeqCst))
    }

    /// Claims one of `cores` that has nothing to do: it is not published any more, and gets something.
    pub fn claim(&self, cores: CoreSet) -> Option<CpuId> {
        let idle = CoreSet(self.idle.load(Ordering::SeqCst) & cores.0);
        idle.iter().find(|&core| self.take(core))
    }

    fn take(&self, core: CpuId) -> bool {
        let bit = CoreSet::only(core).0;
        self.idle.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// So many tasks wait on `core` that could go elsewhere.
    #[inline]
    pub fn set_waiting(&self, core: CpuId, count: usize) {
        let waiting = &self.waiting[usize::from(core.0) % CORES];
        let count = count.min(usize::from(u8::MAX)) as u8;
        if waiting.load(Ordering::Relaxed) != count {
            waiting.store(count, Ordering::Relaxed);
        }
    }

    /// The one of `cores` on which most wait, if any do.
    pub fn longest(&self, cores: CoreSet) -> Option<CpuId> {
        let waiting = |core: CpuId| {
            let count = self.waiting.get(usize::from(core.0))?.load(Ordering::Relaxed);
            (count > 0).then_some((count, core))
        };
        cores.iter().filter_map(waiting).max().map(|(_, core)| core)
    }
}

impl Default for IdleCores {
    fn default() -> Self {
        Self::new()
    }
}
