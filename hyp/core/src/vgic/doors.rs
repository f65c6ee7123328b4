//! Doorbells of groups: SPIs that come as quickly as an SGI where nothing stands against it.
//!
//! Who rings is another guest, on another core. It leaves word for the vCPU that the SPI is routed to, without the lock of the
//! routes, if that one is *armed* for the doorbell: it has a list register of its SPI, and was not told yet of any change that
//! stands against it. That vCPU uses the list register again, if the guest is done with what was there. Whatever is not
//! ordinary goes the way of the other SPIs.
//!
//! **Why no ring is lost.** Word that a vCPU finds and cannot use makes the SPI pending, and whoever it is for then is told, with
//! the routes locked. A vCPU that is off finds nothing; it is owed the interrupt until that is routed to another. So who routes
//! it says whom it is for, and then takes word back from whom it was for; who rings leaves word, and then asks again whom it is
//! for. A fence is between the two on either side, so one of them sees the other. Word that has not been found is pending for all who
//! ask, and gone when they clear that. For as long as a vCPU that found it and cannot use it waits for the routes, it is as if it
//! came later.

use core::sync::atomic::{
    Ordering::{Acquire, Relaxed, SeqCst},
    fence,
};

use tessera_abi::layout::{GROUP_INTID, MAX_GROUPS, MAX_VCPUS};

use super::routes::Routes;
use super::{
    LOOK, ListRegisters, Model, ODD, RECALL, SGI_NEWS, Shared, Vgic, VgicCpu, lr, members, spis,
};
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

/// Whom to kick for a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Rung {
    /// The usual case: this one.
    One(VcpuId),
    /// These, or nobody.
    Told(VcpuSet),
}

impl Rung {
    /// All of them.
    pub fn vcpus(self) -> VcpuSet {
        match self {
            Self::One(vcpu) => VcpuSet::only(vcpu),
            Self::Told(vcpus) => vcpus,
        }
    }
}

impl Vgic {
    /// The doorbell of the guest's group `n` rings. Any core may call this. Who is interrupted sees
    /// what was written before this, if it has an acquire fence between taking the interrupt and reading.
    #[inline(always)]
    pub fn ring(&self, n: u8) -> Rung {
        let Some(door) = self.doors.get(usize::from(n)) else { return Rung::Told(VcpuSet::EMPTY) };
        let to = VcpuId(door.load(Relaxed));
        if self.shared(to).armed.load(Relaxed) & spi(n) == 0 || to.0 == NOBODY {
            return Rung::Told(self.ring_slowly(n));
        }
        let _ = self.announce(to, ODD | news(n));
        // Pairs with that of `note_doors`.
        fence(SeqCst);
        if door.load(Relaxed) != to.0 {
            return Rung::Told(self.ring_again(n, to));
        }
        Rung::One(to)
    }

    #[cold]
    #[inline(never)]
    fn ring_slowly(&self, n: u8) -> VcpuSet {
        // Who rings has one in any case: what it looks at behind this comes after what it noted before (`Share::watch`).
        fence(SeqCst);
        let routes = self.routes.lock();
        let to = self.doors[usize::from(n) % MAX_GROUPS].load(Relaxed);
        if to != NOBODY && self.spis.forwards(self.groups()) & spi(n) != 0 {
            return self.announce(VcpuId(to), ODD | news(n));
        }
        self.spis.latch.set(spi(n));
        self.tell(&routes, 0, spi(n))
    }

    /// The doorbell was routed away from `former` while it rang.
    #[cold]
    #[inline(never)]
    fn ring_again(&self, n: u8, former: VcpuId) -> VcpuSet {
        let routes = self.routes.lock();
        if self.shared(former).news.fetch_and(!news(n), Acquire) & news(n) == 0 {
            // Found, by the one or by who routed it.
            return VcpuSet::EMPTY;
        }
        self.spis.latch.set(spi(n));
        self.tell(&routes, 0, spi(n))
    }

    /// SPIs `changed`, a bit each, were routed anew: notes to whom, where they are the doors'. Called with the routes locked,
    /// before it is asked which are pending.
    pub(super) fn note_doors(&self, routes: &Routes, changed: u32) {
        if changed & DOOR_SPIS == 0 {
            return;
        }
        for (n, door) in (0..).zip(&self.doors) {
            let is_it = |vcpu: &u8| routes.routed(VcpuId(*vcpu)) & spi(n) != 0;
            door.store((0..MAX_VCPUS as u8).find(is_it).unwrap_or(NOBODY), Relaxed);
        }
        fence(SeqCst);
        let rung = self.take_rung(changed);
        self.spis.latch.set(rung);
    }

    /// The doors' SPIs that rang and were not found yet.
    pub(super) fn rung(&self) -> u32 {
        let news = self.cpus.iter().fold(0, |all, cpu| all | cpu.news.load(Relaxed));
        (news & DOORS) >> DOOR_NEWS << DOOR_SPI
    }

    /// Takes those of `spis` back.
    #[inline(always)]
    pub(super) fn take_rung(&self, spis: u32) -> u32 {
        let news = (spis & DOOR_SPIS) >> DOOR_SPI << DOOR_NEWS;
        if news == 0 {
            return 0;
        }
        let take = |all, cpu: &Shared| all | cpu.news.fetch_and(!news, Acquire) & news;
        self.cpus.iter().fold(0, take) >> DOOR_NEWS << DOOR_SPI
    }

    /// Takes doorbells that rang, and what else is in the news. Returns the vCPUs to kick.
    #[inline(always)]
    pub(super) fn deliver_rings(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
    ) -> VcpuSet {
        let n = ((news & DOORS).trailing_zeros() - DOOR_NEWS) as u8;
        if news == ODD | self::news(n) && self.ring_at_once(me, lrs, n) {
            return VcpuSet::EMPTY;
        }
        self.deliver_more_rings(me, lrs, news)
    }

    #[inline(never)]
    fn deliver_more_rings(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
    ) -> VcpuSet {
        let mut left = 0;
        for n in members(((news & DOORS) >> DOOR_NEWS).into()) {
            // A request that is older than the ring must not take it away.
            if news & RECALL != 0 || !self.ring_at_once(me, lrs, n as u8) {
                left |= spi(n as u8);
            }
        }
        let others = news & !(DOORS | ODD);
        if left | others == 0 {
            return VcpuSet::EMPTY;
        }
        self.deliver_left(me, lrs, others, left)
    }

    /// Puts the SPI of door `n` into the list register that it has, if nothing stands against it; whether it did. A leaf: it is
    /// on the way of every ring.
    #[inline(never)]
    fn ring_at_once(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, n: u8) -> bool {
        let intid = DOOR_SPI + u32::from(n) + 32;
        let place = me.place[intid as usize % 64];
        let cpu = self.shared(me.id);
        // What is in a list register here is held here: no other vCPU takes it.
        let ready = cpu.armed.load(Relaxed) & spis(me.resident) & spi(n) != 0;
        if !ready || lrs.empty() >> (place % 32) & 1 == 0 {
            return false;
        }
        lrs.write(place.into(), self.spis.identity(intid) | lr::PENDING);
        cpu.injected.add(1);
        cpu.pending.store(cpu.pending.load(Relaxed) | 1 << (intid % 64), Relaxed);
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
            self.spis.latch.set(left);
            // Another vCPU has them in a list register still, or they were just routed to another.
            let gone = left & self.spis.asserted() & !routes.free_for(me.id);
            if gone != 0 {
                kick = self.tell(&routes, 0, gone).without(me.id);
            }
        }
        let look = if left != 0 { LOOK } else { 0 };
        kick = kick.union(if self.model == Model::V2 {
            self.deliver_sgis(me, lrs, news | look)
        } else {
            self.deliver_more(me, lrs, news | look)
        });
        self.arm(me);
        kick
    }

    /// Notes for which doorbells the vCPU is armed from now on. What stands against one later, a request or too many
    /// interrupts, folds the list registers, and that takes the note back: whoever changes an SPI recalls the vCPU that has it
    /// in a list register, before anybody can rely on the change. One that gives that up without a fold stays armed, and is
    /// kicked for nothing once if the SPI is disabled then.
    fn arm(&self, me: &VgicCpu) {
        let edges = spis(me.resident & !me.by_line) & DOOR_SPIS;
        let armed = if me.overflowing() { 0 } else { edges & self.spis.forwards(self.groups()) };
        self.shared(me.id).armed.store(armed, Relaxed);
    }
}

/// The SPI of door `n`, by its bit.
const fn spi(n: u8) -> u32 {
    1 << ((DOOR_SPI + n as u32) % 32)
}

/// The news that door `n` rang.
const fn news(n: u8) -> u32 {
    1 << ((DOOR_NEWS + n as u32) % 32)
}
