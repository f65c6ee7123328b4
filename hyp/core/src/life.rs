//! The life of a guest: running, coming to a stop on all its cores, being rebuilt.
//!
//! Problem: a guest's cores run at the same time, and one of them asks for a reset, or does something that ends the
//! guest. No memory may be cleared before the last core has left the guest, and no core may enter it before the memory
//! is whole again. Idea: one word with the phase and one with the cores that have parked. Whoever asks first decides
//! what happens; the last core to park leads the next step; memory is cleared by all of them, chunk by chunk.
//! Idea not taken: a core that waits for the others at EL2. Nobody spins; whoever has nothing to do sleeps until kicked.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Where a guest is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Its vCPUs run, or are off and wait for CPU_ON.
    Running = 0,
    /// A stop was asked for: its cores leave it.
    Stopping = 1,
    /// All cores left it; its memory is being cleared.
    Clearing = 2,
    /// Memory is clear; the leader loads it anew.
    Loading = 3,
    /// It will not run again.
    Stopped = 4,
}

impl Phase {
    const fn from(raw: u8) -> Self {
        match raw {
            0 => Self::Running,
            1 => Self::Stopping,
            2 => Self::Clearing,
            3 => Self::Loading,
            _ => Self::Stopped,
        }
    }
}

/// Why a guest stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StopReason {
    /// It switched itself off (PSCI SYSTEM_OFF).
    Off = 1,
    /// It asked for a reset (PSCI SYSTEM_RESET or SYSTEM_RESET2).
    Reset = 2,
    /// All its vCPUs are off, so nothing can wake it.
    AllCpusOff = 3,
    /// A system error hit while it ran.
    SystemError = 4,
    /// An exception that none of our traps makes.
    UnexpectedExit = 5,
}

impl StopReason {
    const fn from(raw: u8) -> Self {
        match raw {
            1 => Self::Off,
            2 => Self::Reset,
            3 => Self::AllCpusOff,
            4 => Self::SystemError,
            _ => Self::UnexpectedExit,
        }
    }

    /// Whether the guest is built anew and starts again.
    pub const fn starts_again(self) -> bool {
        matches!(self, Self::Reset)
    }
}

impl core::fmt::Display for StopReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Off => "it switched itself off",
            Self::Reset => "it asked for a reset",
            Self::AllCpusOff => "all its vCPUs switched themselves off",
            Self::SystemError => "a system error (SError) hit while it ran",
            Self::UnexpectedExit => "an exception that Tessera does not expect from a guest",
        })
    }
}

/// What a core that has parked does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parked {
    /// Others still run the guest: sleep until kicked.
    Wait,
    /// It was the last: it decides what becomes of the guest.
    Lead(StopReason),
}

/// The life of one guest, shared by its cores.
pub struct Life {
    phase: AtomicU8,
    reason: AtomicU8,
    parked: AtomicU8,
    cores: u8,
    /// Next chunk of memory to clear, and how many are clear.
    next_chunk: AtomicU32,
    cleared: AtomicU32,
    /// Times the guest was started.
    starts: AtomicU64,
}

impl Life {
    /// A guest on `cores` cores, all parked, about to be cleared and loaded for the first time.
    pub const fn new(cores: u8) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Clearing as u8),
            reason: AtomicU8::new(0),
            parked: AtomicU8::new(cores),
            cores,
            next_chunk: AtomicU32::new(0),
            cleared: AtomicU32::new(0),
            starts: AtomicU64::new(0),
        }
    }

    /// Where the guest is.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::from(self.phase.load(Ordering::Acquire))
    }

    /// Times the guest was started.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Asks for a stop. `true` where this call made the guest stop: the caller kicks its other cores. Later reasons
    /// are dropped.
    pub fn stop(&self, reason: StopReason) -> bool {
        let first =
            self.reason.compare_exchange(0, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            self.phase.store(Phase::Stopping as u8, Ordering::Release);
        }
        first.is_ok()
    }

    /// A core has left the guest for good, after it saw [`Phase::Stopping`]. Each core calls this once a stop.
    pub fn park(&self) -> Parked {
        let parked = self.parked.fetch_add(1, Ordering::AcqRel) + 1;
        if parked < self.cores {
            return Parked::Wait;
        }
        Parked::Lead(StopReason::from(self.reason.load(Ordering::Relaxed)))
    }

    /// The leader lets the cores clear the memory.
    pub fn begin_clearing(&self) {
        self.next_chunk.store(0, Ordering::Relaxed);
        self.cleared.store(0, Ordering::Relaxed);
        self.phase.store(Phase::Clearing as u8, Ordering::Release);
    }

    /// A chunk for this core to clear, of `chunks`; `None` where all are taken.
    pub fn take_chunk(&self, chunks: u32) -> Option<u32> {
        let take = |next: u32| (next < chunks).then_some(next + 1);
        self.next_chunk.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// A chunk is clear. `true` for the last of `chunks`: this core now leads the loading.
    pub fn chunk_cleared(&self, chunks: u32) -> bool {
        let last = self.cleared.fetch_add(1, Ordering::AcqRel) + 1 == chunks;
        if last {
            self.phase.store(Phase::Loading as u8, Ordering::Release);
        }
        last
    }

    /// The guest is loaded: its cores may run it. The caller kicks them.
    pub fn begin_running(&self) {
        self.parked.store(0, Ordering::Relaxed);
        self.reason.store(0, Ordering::Relaxed);
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.phase.store(Phase::Running as u8, Ordering::Release);
    }

    /// The guest does not run again.
    pub fn end(&self) {
        self.phase.store(Phase::Stopped as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_to_stop_counts() {
        let life = running(2);
        assert!(life.stop(StopReason::Reset));
        assert!(!life.stop(StopReason::Off));
        assert_eq!(life.park(), Parked::Wait);
        assert_eq!(life.park(), Parked::Lead(StopReason::Reset));
    }

    #[test]
    fn a_reset_clears_every_chunk_once_and_then_loads() {
        let life = running(2);
        assert!(life.stop(StopReason::Reset));
        let _ = (life.park(), life.park());
        life.begin_clearing();
        let mut leaders = 0;
        for expected in 0..5 {
            assert_eq!(life.take_chunk(5), Some(expected));
        }
        assert_eq!(life.take_chunk(5), None);
        for _ in 0..5 {
            leaders += u32::from(life.chunk_cleared(5));
        }
        assert_eq!((leaders, life.phase()), (1, Phase::Loading));
        life.begin_running();
        assert_eq!((life.phase(), life.starts()), (Phase::Running, 2));
        assert!(life.stop(StopReason::Off), "a guest that runs again can stop again");
    }

    #[test]
    fn cores_racing_for_chunks_get_each_once() {
        let life = Life::new(4);
        let taken: std::vec::Vec<u32> = std::thread::scope(|scope| {
            let worker = || {
                let mut mine = std::vec::Vec::new();
                while let Some(chunk) = life.take_chunk(1000) {
                    mine.push(chunk);
                }
                mine
            };
            let workers: std::vec::Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
        });
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
    }

    fn running(cores: u8) -> Life {
        let life = Life::new(cores);
        let chunks = 1;
        assert_eq!(life.take_chunk(chunks), Some(0));
        assert!(life.chunk_cleared(chunks));
        life.begin_running();
        life
    }
}
