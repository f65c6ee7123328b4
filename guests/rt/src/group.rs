//! A member of a group, as the library for messages and barriers wants it: one that sleeps while it waits.
#![allow(
    unsafe_code,
    reason = "the region is memory at an address that the device tree tells, and calls are instructions"
)]

use core::arch::asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use tessera_abi::group::membership::{GENERATION, WORDS};
use tessera_abi::hypercall;
use tessera_ring::Peers;

use crate::mmio::read64;
use crate::mmu::{self, Kind};
use crate::{GroupNode, cpu, gic, trap};

/// Interrupts of all groups.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

impl GroupNode {
    /// Rings member `whom`, or all others; `false` where it is too soon for that, and nothing is done. Whoever is rung sees what was
    /// written before a barrier that stands before this.
    pub fn try_ring(&self, whom: u32) -> bool {
        self.call::<{ hypercall::RING }>(whom)[0] != hypercall::TOO_SOON
    }

    /// Takes who rang, a bit each, and whether the membership page has changed.
    pub fn take(&self) -> (u32, bool) {
        let [rings, changed] = self.call::<{ hypercall::TAKE }>(0);
        (rings as u32, changed != 0)
    }

    /// HVC with this immediate, for this group.
    pub fn call<const IMMEDIATE: u16>(&self, argument: u32) -> [u64; 2] {
        let (mut x0, mut x1) = (u64::from(self.number), u64::from(argument));
        // SAFETY: it changes these two registers, and no memory of Rust's.
        unsafe {
            asm!("hvc #{n}", n = const IMMEDIATE, inout("x0") x0, inout("x1") x1, options(nostack));
        }
        [x0, x1]
    }
}

/// The guest's place in a group whose region it may write.
pub struct Member {
    node: GroupNode,
    page: u64,
    /// Interrupts of which the reason was looked at.
    heard: Cell<u32>,
}

impl Member {
    /// Takes the group's interrupt on this CPU.
    pub fn new(node: &GroupNode) -> Self {
        let page = mmu::map(node.membership, Kind::Normal, false);
        mmu::map_gigabyte(node.region.0);
        trap::set_handler(node.intid, |_| _ = INTERRUPTS.fetch_add(1, SeqCst));
        gic::set_edge(node.intid, true);
        gic::route(node.intid, cpu::affinity());
        gic::enable(node.intid);
        let member = Self { node: *node, page, heard: Cell::new(0) };
        let _ = node.take();
        member
    }

    /// The region.
    pub fn words(&self) -> &'static [AtomicU64] {
        let (at, bytes) = self.node.region;
        // SAFETY: `new` mapped the region, which is normal memory and stays, and nobody reaches it but by atomics.
        unsafe { core::slice::from_raw_parts(at as *const AtomicU64, bytes as usize / 8) }
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
        while !self.node.try_ring(index as u32) {}
    }

    fn pause(&self) -> bool {
        loop {
            let heard = INTERRUPTS.load(SeqCst);
            if self.heard.replace(heard) != heard {
                // The next come with an interrupt.
                let _ = self.node.take();
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
