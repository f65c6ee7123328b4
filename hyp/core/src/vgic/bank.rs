//! Thirty-two interrupts: a word of one bit each for every property.
//!
//! A vCPU's SGIs and PPIs are one bank, the guest's SPIs another, so everything is written once. The words are atomics
//! because a redistributor may be written by any vCPU; the bank of the SPIs changes only under the lock of its routes.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use super::{lr, priority_bits};

/// What a bit of a bank's word can be asked or told through registers (IHI 0069 12.9 and 12.11, `<n>` of 32 bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// Which interrupts a change concerns.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// Their list registers are to be folded back: the change takes something from them.
    pub recall: u32,
    /// They may have become deliverable.
    pub look: u32,
}

/// Interrupts forwarded by group, `GICD_CTLR.EnableGrp0` and `EnableGrp1`.
#[derive(Clone, Copy)]
pub(super) struct Groups(pub u32);

impl Groups {
    /// Of the interrupts whose group bits are `group`: those of enabled groups.
    #[inline]
    fn forward(self, group: u32) -> u32 {
        let zero = 0u32.wrapping_sub(self.0 & 1);
        let one = 0u32.wrapping_sub(self.0 >> 1 & 1);
        group & one | !group & zero
    }
}

/// The state of 32 interrupts as far as it is not in a list register.
#[derive(Default)]
pub(super) struct Bank {
    /// Group 1, or group 0 where clear.
    pub group: Word,
    /// Forwarding is enabled.
    pub enabled: Word,
    /// Pending, remembered: an edge, an SGI, or a write to `ISPENDR`.
    pub latch: Word,
    /// A level line that is high.
    pub line: Word,
    /// The physical twin is active and waits to be linked to a list register (PPIs only; the owner alone writes it).
    pub hw: Word,
    /// Edge-triggered, or level-sensitive where clear.
    pub edge: Word,
    /// Active, as last folded.
    pub active: Word,
    /// Request to the holder of the list register: a pending state that was written away through `ICPENDR`.
    pub drop_pending: Word,
    /// Request to the holder: an active state that was written away through `ICACTIVER`.
    pub drop_active: Word,
    /// Request to the owner: make active, from `ISACTIVER`.
    pub make_active: Word,
    priority: [AtomicU8; 32],
}

impl Bank {
    /// Back to what a reset leaves. `sgis` for the bank whose lower half are SGIs, which are always edges.
    pub fn reset(&self, sgis: bool) {
        for word in [&self.group, &self.enabled, &self.latch, &self.line, &self.hw, &self.active] {
            word.put(0);
        }
        for word in [&self.drop_pending, &self.drop_active, &self.make_active] {
            word.put(0);
        }
        self.edge.put(if sgis { 0xffff } else { 0 });
        for priority in &self.priority {
            priority.store(0, Relaxed);
        }
    }

    /// Pending outside list registers: remembered, or by a line that is high.
    #[inline]
    pub fn asserted(&self) -> u32 {
        self.latch.get() | self.hw.get() | self.line.get() & !self.edge.get()
    }

    /// Enabled, and of an enabled group.
    #[inline]
    pub fn forwards(&self, groups: Groups) -> u32 {
        self.enabled.get() & groups.forward(self.group.get())
    }

    /// Lines that are high, of level-sensitive interrupts.
    #[inline]
    pub fn high(&self) -> u32 {
        self.line.get() & !self.edge.get()
    }

    /// The priority of interrupt `n` of the bank; lower is more urgent.
    #[inline]
    pub fn priority(&self, n: u32) -> u8 {
        self.priority[n as usize % 32].load(Relaxed)
    }

    /// What a list register says of interrupt `intid`, which is in the bank, besides its state.
    #[inline(always)]
    pub fn identity(&self, intid: u32) -> u64 {
        let group = self.group.get() >> (intid % 32) & 1;
        lr::identity(intid, self.priority(intid), group.into())
    }

    /// Sets the priority of interrupt `n` of the bank.
    pub fn set_priority(&self, n: u32, value: u8) {
        self.priority[n as usize % 32].store(priority_bits(value), Relaxed);
    }

    /// Raises or lowers lines; a rising edge is remembered where edges count. Returns the lines that changed.
    pub fn drive(&self, bits: u32, high: bool) -> u32 {
        if !high {
            return self.line.clear(bits) & bits;
        }
        let rising = bits & !self.line.set(bits);
        self.latch.set(rising & self.edge.get());
        rising
    }

    /// Writes a register of 32 bits. `loaded`: the interrupts that may be in a list register. `forget` drops word of interrupts that
    /// came and were not found yet.
    pub fn write(&self, field: Field, bits: u32, loaded: u32, forget: impl Fn(u32)) -> Change {
        match field {
            Field::Group => {
                let changed = self.group.swap(bits) ^ bits;
                Change { recall: changed & loaded, look: changed }
            }
            Field::SetEnable => Change { recall: 0, look: bits & !self.enabled.set(bits) },
            Field::ClearEnable => {
                Change { recall: self.enabled.clear(bits) & bits & loaded, look: 0 }
            }
            Field::SetPending => {
                self.latch.set(bits);
                Change { recall: 0, look: bits }
            }
            Field::ClearPending => {
                forget(bits);
                self.latch.clear(bits);
                self.drop_pending.set(bits & loaded);
                Change { recall: bits & loaded, look: 0 }
            }
            Field::SetActive => {
                self.drop_active.clear(bits);
                self.make_active.set(bits);
                Change { recall: bits, look: 0 }
            }
            Field::ClearActive => {
                self.make_active.clear(bits);
                self.drop_active.set(bits & loaded);
                Change { recall: bits & loaded, look: 0 }
            }
        }
    }

    /// Reads a register of 32 bits. `pending`: the interrupts that are pending in list registers.
    pub fn read(&self, field: Field, pending: u32) -> u32 {
        match field {
            Field::Group => self.group.get(),
            Field::SetEnable | Field::ClearEnable => self.enabled.get(),
            Field::SetPending | Field::ClearPending => {
                self.asserted() | pending & !self.drop_pending.get()
            }
            Field::SetActive | Field::ClearActive => {
                self.active.get() & !self.drop_active.get() | self.make_active.get()
            }
        }
    }
}

/// A word of bits that several cores change, a bit at a time.
///
/// Relaxed throughout: who changes state for another vCPU says so afterwards by a release store to that vCPU's news,
/// or under the lock of the routes.
#[derive(Default)]
pub(super) struct Word(AtomicU32);

impl Word {
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub fn put(&self, value: u32) {
        self.0.store(value, Relaxed);
    }

    /// Sets bits; returns what was there.
    #[inline]
    pub fn set(&self, bits: u32) -> u32 {
        self.0.fetch_or(bits, Relaxed)
    }

    /// Clears bits; returns what was there.
    #[inline]
    pub fn clear(&self, bits: u32) -> u32 {
        self.0.fetch_and(!bits, Relaxed)
    }

    /// Takes those of `bits` that are set.
    #[inline]
    pub fn take(&self, bits: u32) -> u32 {
        if self.get() & bits == 0 { 0 } else { self.clear(bits) & bits }
    }

    fn swap(&self, value: u32) -> u32 {
        self.0.swap(value, Relaxed)
    }
}
