//! A vCPU's registers as they were when it stopped or somebody looked, and how it got there.

use crate::addr::Ipa;
use crate::guest_mem::GuestRam;
use crate::hw::Hw;
use crate::inject::Stage1;

/// Most return addresses of a back-trace.
pub const MAX_FRAMES: usize = 24;

/// The registers of EL1 that tell most about where a kernel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// X0 to X30.
    pub x: [u64; 31],
    /// The program counter.
    pub pc: u64,
    /// PSTATE, as in SPSR_EL2.
    pub pstate: u64,
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// ELR_EL1.
    pub elr_el1: u64,
    /// SPSR_EL1.
    pub spsr_el1: u64,
    /// ESR_EL1.
    pub esr_el1: u64,
    /// FAR_EL1.
    pub far_el1: u64,
    /// VBAR_EL1.
    pub vbar_el1: u64,
    /// What governs its translation.
    pub stage1: Stage1,
}

/// Registers, and the return addresses above the program counter.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When, on the board's counter.
    pub at: u64,
    /// The registers.
    pub registers: Registers,
    frames: [u64; MAX_FRAMES],
    count: usize,
}

impl Snapshot {
    /// Takes one of a guest whose memory is still there.
    pub fn take(hw: &impl Hw, ram: &GuestRam, registers: Registers) -> Self {
        let mut snapshot = Self { at: hw.now(), registers, frames: [0; MAX_FRAMES], count: 0 };
        snapshot.trace(hw, ram);
        snapshot
    }

    /// Return addresses, innermost first.
    pub fn frames(&self) -> &[u64] {
        self.frames.get(..self.count).unwrap_or_default()
    }

    /// Follows frame records (AAPCS64 6.4.6): two words, the next record's address and a return address. All of it is the
    /// guest's word, so the number of steps is bounded, and a chain that does not go up the stack ends.
    fn trace(&mut self, hw: &impl Hw, ram: &GuestRam) {
        let word = |at: Ipa| {
            let mut bytes = [0; 8];
            ram.read(hw, at, &mut bytes).ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let stage1 = self.registers.stage1;
        let mut record = self.registers.x[29];
        for place in &mut self.frames {
            // A record lies within one page, as it is aligned.
            if record == 0 || !record.is_multiple_of(16) {
                return;
            }
            let Some(at) = stage1.translate(record, word) else { return };
            let (Some(next), Some(back)) = (word(at), word(at.offset(8))) else { return };
            if back == 0 {
                return;
            }
            *place = back;
            self.count += 1;
            if next <= record {
                return;
            }
            record = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::addr::Pa;
    use crate::guest_mem::Extent;
    use crate::hw::fake::FakeHw;

    const BASE: u64 = 0x4000_0000;

    fn memory() -> (FakeHw, GuestRam) {
        let hw = FakeHw::new(Pa(0x8000_0000), 1 << 16);
        let extent = Extent { ipa: Ipa(BASE), pa: Pa(0x8000_0000), len: 0x4000 };
        (hw, GuestRam::new(vec![extent]).unwrap())
    }

    fn record(hw: &FakeHw, ram: &GuestRam, at: u64, next: u64, back: u64) {
        ram.write(hw, Ipa(at), &next.to_le_bytes()).unwrap();
        ram.write(hw, Ipa(at + 8), &back.to_le_bytes()).unwrap();
    }

    fn frames(hw: &FakeHw, ram: &GuestRam, x29: u64) -> vec::Vec<u64> {
        let mut registers = Registers::default();
        registers.x[29] = x29;
        Snapshot::take(hw, ram, registers).frames().to_vec()
    }

    #[test]
    fn a_back_trace_follows_the_frame_records_up_the_stack() {
        let (hw, ram) = memory();
        record(&hw, &ram, BASE + 0x100, BASE + 0x140, 0x1111);
        record(&hw, &ram, BASE + 0x140, BASE + 0x200, 0x2222);
        record(&hw, &ram, BASE + 0x200, 0, 0x3333);
        assert_eq!(frames(&hw, &ram, BASE + 0x100), [0x1111, 0x2222, 0x3333]);
    }

    #[test]
    fn no_chain_that_a_guest_can_make_is_followed_for_ever_or_out_of_its_memory() {
        let (hw, ram) = memory();
        record(&hw, &ram, BASE + 0x100, BASE + 0x100, 0x1111);
        assert_eq!(frames(&hw, &ram, BASE + 0x100), [0x1111], "a record that is its own next");
        assert_eq!(frames(&hw, &ram, BASE + 0x108), [0u64; 0], "not aligned");
        assert_eq!(frames(&hw, &ram, 0x1000), [0u64; 0], "outside its memory");
        for n in 0..100 {
            record(&hw, &ram, BASE + 16 * n, BASE + 16 * (n + 1), 0x1000 + n);
        }
        assert_eq!(frames(&hw, &ram, BASE).len(), MAX_FRAMES);
    }
}
