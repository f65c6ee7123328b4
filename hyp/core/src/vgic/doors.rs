//! Doorbells of groups: SPIs that come as quickly as an SGI where nothing stands against it.
//!
//! Who rings is another guest, on another core. It makes the SPI pending, as any edge, and leaves word for the vCPU that the SPI
//! is routed to, without the lock of the routes. That vCPU most often still has the list register in which the SPI was last,
//! and uses it again. Whatever is not ordinary goes the way of the other SPIs.
//!
//! **Why no ring is lost.** Who rings makes the SPI pending and then asks whom it is routed to; who routes it says so and
//! then asks whether it is pending; a fence is between the two on either side, so one of them sees the other. Where the ringer
//! finds that the SPI is disabled, it asks again with the routes locked, as who enables it does. A vCPU that finds a ring which
//! is not its own any more passes it on, with the routes locked.

use core::sync::atomic::{
    Ordering::{Relaxed, Release, SeqCst},
    fence,
};

use tessera_abi::layout::{GROUP_INTID, MAX_GROUPS, MAX_VCPUS};

use super::routes::Routes;
use super::{LOOK, ListRegisters, Model, ODD, RECALL, SGI_NEWS, Vgic, VgicCpu, lr, members};
use crate::addr::{VcpuId, VcpuSet};

/// News for a vCPU: group `n`'s doorbell rang, at bit `DOOR_NEWS + n`.
const DOOR_NEWS: u32 = 3;
/// All of those.
pub(super) const DOORS: u32 = ((1 << MAX_GROUPS) - 1) << DOOR_NEWS;
const _: () = assert!(DOOR_NEWS + MAX_GROUPS as u32 <= SGI_NEWS);
/// The SPI of group 0, by its bit.
const DOOR_SPI: u32 = GROUP_INTID - 32;
/// The SPIs of all groups.
const DOOR_SPIS: u32 = ((1 << MAX_GROUPS) - 1) << DOOR_SPI;
/// In [`Vgic::doors`]: no vCPU.
pub(super) const NOBODY: u8 = u8::MAX;

impl Vgic {
    /// The doorbell of the guest's group `n` rings. Any core may call this. Returns the vCPUs to kick. Who is interrupted sees
    /// what was written before this, if it has an acquire fence between taking the interrupt and reading.
    #[inline]
    pub fn ring(&self, n: u8) -> VcpuSet {
        let Some(door) = self.doors.get(usize::from(n)) else { return VcpuSet::EMPTY };
        let bit = 1 << (DOOR_SPI + u32::from(n));
        fence(Release);
        self.spis.latch.set(bit);
        // Pairs with that of `note_doors`.
        fence(SeqCst);
        let to = door.load(Relaxed);
        if to == NOBODY || self.spis.forwards(self.groups()) & bit == 0 {
            return self.ring_slowly(bit);
        }
        self.announce(VcpuId(to), ODD | 1 << (DOOR_NEWS + u32::from(n)))
    }

    #[cold]
    #[inline(never)]
    fn ring_slowly(&self, bit: u32) -> VcpuSet {
        let routes = self.routes.lock();
        self.tell(&routes, 0, bit)
    }

    /// SPIs `changed`, a bit each, were routed anew: notes to whom, where they are the doors'. Called with the routes locked,
    /// before it is asked which are pending.
    pub(super) fn note_doors(&self, routes: &Routes, changed: u32) {
        if changed & DOOR_SPIS == 0 {
            return;
        }
        for (n, door) in (DOOR_SPI..).zip(&self.doors) {
            let is_it = |vcpu: &u8| routes.routed(VcpuId(*vcpu)) >> n & 1 != 0;
            door.store((0..MAX_VCPUS as u8).find(is_it).unwrap_or(NOBODY), Relaxed);
        }
        fence(SeqCst);
    }

    /// Puts the doors' SPIs of `news` into the list registers where they were, and sees to what else is in the news. Returns the
    /// vCPUs to kick.
    #[inline(never)]
    pub(super) fn deliver_rings(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
    ) -> VcpuSet {
        let mut left = 0;
        for n in members(((news & DOORS) >> DOOR_NEWS).into()) {
            let n = DOOR_SPI + n;
            // A request that is older than the ring must not take it away.
            if news & RECALL != 0 || !self.ring_at_once(me, lrs, n) {
                left |= 1u32 << n;
            }
        }
        let others = news & !(DOORS | ODD);
        if left | others == 0 {
            return VcpuSet::EMPTY;
        }
        self.deliver_left(me, lrs, others, left)
    }

    /// Puts SPI bit `n` into the list register that it has, if the guest is done with what was there, and nothing stands against
    /// it; whether it did.
    #[inline(always)]
    fn ring_at_once(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, n: u32) -> bool {
        let (intid, bit) = (n + 32, 1 << n);
        let cpu = self.shared(me.id);
        let place = me.place[intid as usize % 64];
        // What is in a list register here is held here: no other vCPU takes it.
        let mine = me.resident >> intid & 1 != 0 && lrs.empty() >> (place % 32) & 1 != 0;
        let forwarded = self.spis.forwards(self.groups()) & bit != 0;
        let calm = cpu.news.load(Relaxed) & RECALL == 0 && !me.overflowing();
        if !(mine && forwarded && calm) {
            return false;
        }
        // Taken already, where another look at the SPIs was before this.
        if self.spis.latch.take(bit) != 0 {
            lrs.write(place.into(), self.identity(me, intid) | lr::PENDING);
            me.occupy(cpu, intid, place.into(), false);
        }
        true
    }

    /// The doors' SPIs that are `left`, and the other `news`.
    #[inline(never)]
    fn deliver_left(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
        left: u32,
    ) -> VcpuSet {
        let mut kick = VcpuSet::EMPTY;
        if left != 0 {
            let routes = self.routes.lock();
            // Another vCPU has them in a list register still, or they were just routed to another.
            let gone = left & self.spis.asserted() & !routes.free_for(me.id);
            if gone != 0 {
                kick = self.tell(&routes, 0, gone).without(me.id);
            }
        }
        let look = if left != 0 { LOOK } else { 0 };
        kick.union(if self.model == Model::V2 {
            self.deliver_sgis(me, lrs, news | look)
        } else {
            self.deliver_more(me, lrs, news | look)
        })
    }
}
