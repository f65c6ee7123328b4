//! A member of a group, as the library for messages and barriers wants it: one that sleeps while it waits.
#![allow(unsafe_code, reason = "the region is memory at an address that the device tree tells")]

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use tessera_abi::group::doorbell::{CHANGED, PENDING, RING};
use tessera_abi::group::membership::{GENERATION, WORDS};
use tessera_ring::Peers;

use crate::mmio::{read32, read64, write32};
use crate::mmu::{self, Kind};
use crate::{GroupNode, cpu, gic, trap};

/// Interrupts of all groups.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// The guest's place in a group whose region it may write.
pub struct Member {
    node: GroupNode,
    doorbell: u64,
    page: u64,
    /// Interrupts of which the reason was looked at.
    heard: Cell<u32>,
}

impl Member {
    /// Takes the group's interrupt on this CPU.
    pub fn new(node: &GroupNode) -> Self {
        let doorbell = mmu::map(node.doorbell, Kind::Device, false);
        let page = mmu::map(node.membership, Kind::Normal, false);
        mmu::map_gigabyte(node.region.0);
        trap::set_handler(node.intid, |_| _ = INTERRUPTS.fetch_add(1, SeqCst));
        gic::set_edge(node.intid, true);
        gic::route(node.intid, cpu::affinity());
        gic::enable(node.intid);
        let member = Self { node: *node, doorbell, page, heard: Cell::new(0) };
        member.look();
        member
    }

    /// The region.
    pub fn words(&self) -> &'static [AtomicU64] {
        let (at, bytes) = self.node.region;
        // SAFETY: `new` mapped the region, which is normal memory and stays, and nobody reaches it but by atomics.
        unsafe { core::slice::from_raw_parts(at as *const AtomicU64, bytes as usize / 8) }
    }

    /// Takes note of whoever rang, and of changes: the next come with an interrupt.
    fn look(&self) {
        let _ = (read32(self.doorbell + PENDING), read32(self.doorbell + CHANGED));
    }
}

impl Drop for Member {
    /// Who is done with the group takes no more of its interrupts: one that came for what was already found by looking would
    /// stay pending, as nobody unmasks interrupts any more, and the CPU would never sleep in WFI.
    fn drop(&mut self) {
        gic::disable(self.node.intid);
    }
}

impl Peers for Member {
    fn me(&self) -> usize {
        self.node.index as usize
    }

    fn members(&self) -> usize {
        self.node.members as usize
    }

    fn generation(&self) -> u64 {
        read64(self.page + GENERATION)
    }

    fn word(&self, index: usize) -> u64 {
        read64(self.page + WORDS + 8 * index as u64)
    }

    fn ring(&self, index: usize) {
        cpu::dsb();
        write32(self.doorbell + RING, index as u32);
    }

    fn pause(&self) -> bool {
        loop {
            let heard = INTERRUPTS.load(SeqCst);
            if self.heard.replace(heard) != heard {
                self.look();
                return true;
            }
            // Masked, it wakes all the same, and none is lost between the look and the sleep.
            cpu::wfi();
            cpu::irq_unmask();
            cpu::isb();
            cpu::irq_mask();
        }
    }
}
