//! A fake virtual CPU interface: what the hardware does with list registers while the guest runs (IHI 0069 chapter 6).

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::vgic::lr::{ACTIVE, EOI, HW, PENDING, is_empty};
use crate::vgic::{ListRegisters, gich, hcr, vmcr};

/// The INTID that says "nothing".
pub const SPURIOUS: u32 = 1023;

/// One core's virtual CPU interface.
pub struct FakeCpu {
    pub lr: Vec<u64>,
    pub hcr: u64,
    pub vmcr: u64,
    /// Priorities of acknowledged interrupts whose priority is not dropped yet, newest last.
    pub running: Vec<u8>,
    /// Priority mask: only more urgent ones are signalled.
    pub pmr: u8,
    /// Physical interrupts that the guest's ends deactivated.
    pub deactivated: Vec<u32>,
    /// List register writes, counted.
    pub writes: usize,
    /// Reads and writes of anything, counted.
    pub touched: Cell<usize>,
    /// List registers as a GICv2 has them.
    pub v2: bool,
}

/// An INTID without the source that an SGI of a GICv2 has in it.
pub const INTID: u32 = 0x3ff;

fn priority(lr: u64) -> u8 {
    (lr >> 48) as u8
}

fn intid(lr: u64) -> u32 {
    lr as u32
}

impl FakeCpu {
    pub fn new(count: usize) -> Self {
        Self {
            lr: vec![0; count],
            hcr: 0,
            vmcr: vmcr::VENG0 | vmcr::VENG1,
            running: Vec::new(),
            pmr: 0xff,
            deactivated: Vec::new(),
            writes: 0,
            touched: Cell::new(0),
            v2: false,
        }
    }

    fn touch(&self) {
        self.touched.set(self.touched.get() + 1);
    }

    fn enabled(&self, lr: u64) -> bool {
        let group1 = lr >> 60 & 1 != 0;
        self.vmcr & if group1 { vmcr::VENG1 } else { vmcr::VENG0 } != 0
    }

    /// The list register that the guest's next acknowledge takes, any group.
    fn highest(&self) -> Option<usize> {
        let running = self.running.last().copied().map_or(0x100, u16::from);
        if self.hcr & hcr::EN == 0 {
            return None;
        }
        (0..self.lr.len())
            .filter(|&i| self.lr[i] & (PENDING | ACTIVE) == PENDING && self.enabled(self.lr[i]))
            .min_by_key(|&i| priority(self.lr[i]))
            .filter(|&i| priority(self.lr[i]) < self.pmr)
            .filter(|&i| u16::from(priority(self.lr[i])) < running)
    }

    /// Whether the guest would be interrupted.
    pub fn signalled(&self) -> bool {
        self.highest().is_some()
    }

    /// `ICC_IAR<n>_EL1`.
    pub fn acknowledge(&mut self) -> u32 {
        let Some(i) = self.highest() else { return SPURIOUS };
        self.lr[i] = self.lr[i] & !PENDING | ACTIVE;
        self.running.push(priority(self.lr[i]));
        intid(self.lr[i])
    }

    /// `ICC_EOIR<n>_EL1`. What has another priority than the one that is dropped stays active (IHI 0069 4.8).
    pub fn end(&mut self, id: u32) {
        let Some(dropped) = self.running.pop() else { return };
        let other = |lr: &u64| intid(*lr) == id && *lr & ACTIVE != 0 && priority(*lr) != dropped;
        if self.vmcr & vmcr::VEOIM == 0 && !self.lr.iter().any(other) {
            self.deactivate(id);
        }
    }

    /// `ICC_DIR_EL1` where it does not trap, and the second half of the end of an interrupt.
    pub fn deactivate(&mut self, id: u32) {
        let found = self.lr.iter_mut().find(|lr| intid(**lr) == id && **lr & ACTIVE != 0);
        match found {
            Some(lr) => {
                *lr &= !ACTIVE;
                if *lr & HW != 0 {
                    self.deactivated.push((*lr >> 32) as u32 & 0x1fff);
                }
            }
            None => {
                let count = (hcr::eoi_count(self.hcr) as u64 + 1).min(31);
                self.hcr =
                    self.hcr & !(0x1f << hcr::EOI_COUNT_SHIFT) | count << hcr::EOI_COUNT_SHIFT;
            }
        }
    }

    /// Whether the maintenance interrupt is asserted (`ICH_MISR_EL2` is not zero).
    pub fn maintenance(&self) -> bool {
        let on = |bit| self.hcr & bit != 0;
        let eoi = |lr: &u64| lr & (PENDING | ACTIVE | HW | EOI) == EOI;
        let pending = self.lr.iter().any(|lr| lr & (PENDING | ACTIVE) == PENDING);
        let groups = (self.vmcr & vmcr::VENG0 != 0, self.vmcr & vmcr::VENG1 != 0);
        on(hcr::EN)
            && (self.lr.iter().any(eoi)
                || on(hcr::NPIE) && !pending
                || on(hcr::LRENPIE) && hcr::eoi_count(self.hcr) != 0
                || on(hcr::VGRP0EIE) && groups.0
                || on(hcr::VGRP0DIE) && !groups.0
                || on(hcr::VGRP1EIE) && groups.1
                || on(hcr::VGRP1DIE) && !groups.1)
    }

    /// No two list registers have the same interrupt, and none is in a state that is unpredictable.
    pub fn check(&self) {
        for (i, &lr) in self.lr.iter().enumerate() {
            if lr & (PENDING | ACTIVE) == 0 {
                continue;
            }
            let twins = self.lr.iter().filter(|other| {
                **other & (PENDING | ACTIVE) != 0 && (intid(**other) ^ intid(lr)) & INTID == 0
            });
            assert_eq!(twins.count(), 1, "INTID {} twice: {:x?}", intid(lr), self.lr);
            assert!(lr & HW == 0 || lr & (PENDING | ACTIVE) != PENDING | ACTIVE, "LR{i} {lr:x}");
        }
    }
}

impl ListRegisters for FakeCpu {
    fn count(&self) -> usize {
        self.lr.len()
    }
    fn read(&self, index: usize) -> u64 {
        self.touch();
        self.lr[index]
    }
    fn write(&mut self, index: usize, value: u64) {
        self.writes += 1;
        self.touch();
        if self.v2 {
            assert_eq!(gich::to_lr(gich::from_lr(value)), value, "is lost on the way: {value:#x}");
        }
        self.lr[index] = value;
    }
    fn empty(&self) -> u32 {
        self.touch();
        (0..self.lr.len()).filter(|&i| is_empty(self.lr[i])).fold(0, |set, i| set | 1 << i)
    }
    fn machine_control(&self) -> u64 {
        self.touch();
        self.vmcr
    }
    fn control(&self) -> u64 {
        self.touch();
        self.hcr
    }
    fn set_control(&mut self, value: u64) {
        self.touch();
        assert!(!self.v2 || value & !0xf800_00ff == 0, "GICH_HCR has no such bits: {value:#x}");
        self.hcr = value;
    }
}
