//! The last exits of a vCPU: written at each, read when somebody asks.
//!
//! Problem: why a guest does what it does, or why it died, shows in what it last asked of its machine, and nobody knows
//! beforehand when that will be wanted. Idea: always write, never decode. The way out of a guest (`vectors.S`) has the
//! syndrome in a register anyway and leaves it with three more words in a ring, in seven instructions; what they mean is
//! found out from the copy that a reader takes ([`Record::event`]). A ring has one writer, its vCPU's core, and no lock.

mod decode;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use decode::Event;

/// Exits that a ring keeps.
pub const EXITS: usize = 64;
/// Bytes of an exit in the ring.
pub const RECORD_BYTES: usize = size_of::<Slot>();
/// Bytes of the ring. Its address is a multiple of twice as much.
pub const RING_BYTES: usize = size_of::<Ring>();

/// An exit in the ring.
#[derive(Default)]
#[repr(C)]
struct Slot {
    /// As in [`Record`], in its order, which is that of the assembly's stores.
    words: [AtomicU64; 4],
}

/// The last exits. Written by assembly, which is told where by [`crate::vcpu::Registers`].
#[repr(C)]
pub struct Ring {
    slots: [Slot; EXITS],
}

impl Default for Ring {
    fn default() -> Self {
        Self { slots: [const { Slot { words: [const { AtomicU64::new(0) }; 4] } }; EXITS] }
    }
}

/// An exit as it was written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// ESR_EL2, or [`crate::exit::INTERRUPT`].
    pub why: u64,
    /// ELR_EL2: where the guest goes on, or the instruction that trapped.
    pub pc: u64,
    /// The physical counter, in ticks. 0 where nothing was written yet.
    pub time: u64,
    /// The guest's x0, so the function of a call. Of an abort the IPA, of an interrupt what its acknowledgement gave.
    pub detail: u64,
}

impl Ring {
    /// A copy, the oldest exit first. Of a vCPU that runs on meanwhile, exits that were overwritten during the copy are
    /// left out.
    pub fn read(&self) -> Vec<Record> {
        // On the heap: it is half of what a stack may be stepped over by.
        let before: Vec<Record> = self.slots.iter().map(Slot::read).collect();
        // The newest is where the time falls back to that of the oldest.
        let falls = |&n: &usize| before[n].time > before[(n + 1) % EXITS].time;
        let newest = (0..EXITS).find(falls).unwrap_or(EXITS - 1);
        (1..=EXITS)
            .map(|n| (newest + n) % EXITS)
            .filter(|&n| before[n].time != 0 && before[n] == self.slots[n].read())
            .map(|n| before[n])
            .collect()
    }

    /// Writes exit number `n`, as the assembly does.
    #[cfg(test)]
    pub(crate) fn write(&self, n: usize, record: Record) {
        let words = [record.why, record.pc, record.time, record.detail];
        for (word, value) in self.slots[n % EXITS].words.iter().zip(words) {
            word.store(value, Relaxed);
        }
    }
}

impl Slot {
    fn read(&self) -> Record {
        let [why, pc, time, detail] = [0, 1, 2, 3].map(|n| self.words[n].load(Relaxed));
        Record { why, pc, time, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(time: u64) -> Record {
        Record { why: 1, pc: time * 4, time, detail: 0 }
    }

    #[test]
    fn a_new_ring_has_no_exits() {
        assert!(Ring::default().read().is_empty());
    }

    #[test]
    fn exits_come_back_in_their_order_before_and_after_the_ring_went_round() {
        for count in [1, 2, EXITS - 1, EXITS, EXITS + 1, 3 * EXITS + 7] {
            let ring = Ring::default();
            (0..count).for_each(|n| ring.write(n, exit(10 + n as u64)));
            let first = count.saturating_sub(EXITS);
            let want: Vec<Record> = (first..count).map(|n| exit(10 + n as u64)).collect();
            assert_eq!(ring.read(), want, "{count} exits");
        }
    }

    #[test]
    fn an_exit_is_as_long_as_the_assembly_steps() {
        assert_eq!((RECORD_BYTES, RING_BYTES), (32, 2048));
    }
}
