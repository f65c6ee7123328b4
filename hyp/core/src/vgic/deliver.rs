//! Before the guest is entered: what came in from others goes into list registers.

use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
};

use super::doors::DOORS;
use super::routes::Routes;
use super::{
    LOOK, ListRegisters, ODD, RECALL, SGI_NEWS, Vgic, VgicCpu, both, hcr, lr, members, spis,
};
use crate::addr::{VcpuId, VcpuSet};

/// Whether a vCPU has to look at its interrupts.
#[derive(Clone, Copy)]
pub struct News<'a>(&'a AtomicU32);

impl News<'_> {
    /// Whether it has.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

impl Vgic {
    /// What [`Vgic::needs_delivery`] asks, for who asks often.
    #[inline(always)]
    pub fn news(&self, vcpu: VcpuId) -> News<'_> {
        News(&self.shared(vcpu).news)
    }

    /// Interrupts that `vcpu` was given, without those that were taken from here.
    pub fn injected(&self, vcpu: VcpuId) -> u64 {
        self.shared(vcpu).injected.get()
    }

    /// Takes them, for the vCPU's counters; for its owner.
    pub fn take_injected(&self, vcpu: VcpuId) -> u64 {
        self.shared(vcpu).injected.take()
    }

    /// Takes the news of the own vCPU. Returns other vCPUs to kick: an SPI that was routed away goes on to its new
    /// target from here.
    #[inline(always)]
    pub fn deliver(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters) -> VcpuSet {
        let cpu = self.shared(me.id);
        let news = cpu.news.swap(0, Acquire);
        if news & (LOOK | RECALL | ODD) == 0 {
            let mut kick = VcpuSet::EMPTY;
            for sgi in members((news >> SGI_NEWS) as u64) {
                kick = kick.union(self.raise(me, lrs, sgi, false));
            }
            return kick;
        }
        if news & ODD != 0 {
            return if news & DOORS != 0 {
                self.deliver_rings(me, lrs, news)
            } else {
                self.deliver_sgis(me, lrs, news)
            };
        }
        self.deliver_more(me, lrs, news)
    }

    #[inline(never)]
    pub(super) fn deliver_more(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
    ) -> VcpuSet {
        self.shared(me.id).bank.latch.set(news >> SGI_NEWS);
        if news & RECALL == 0 && !me.overflowing() {
            self.top_up(me, lrs)
        } else {
            self.rebuild(me, lrs, usize::MAX)
        }
    }

    /// The maintenance interrupt: the list registers ran low, or the guest ended an interrupt that we want to know of.
    pub fn maintenance(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters) -> VcpuSet {
        self.rebuild(me, lrs, usize::MAX)
    }

    /// Takes everything out of the list registers, for a vCPU that is switched off, reset, or about to run on another
    /// core. The next [`Vgic::deliver`] puts it back. Afterwards [`VgicCpu::take_deactivations`] has what must not
    /// stay active on this core, if `off`.
    pub fn park(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, off: bool) -> VcpuSet {
        let mut routes = self.routes.lock();
        let mut kick = self.rebuild_locked(me, lrs, &mut routes, 0);
        if off {
            kick = kick.union(self.leave(me, &mut routes));
        }
        self.shared(me.id).news.fetch_or(LOOK, Relaxed);
        kick
    }

    /// Takes everything out of the list registers, for a vCPU whose core another takes over. Its physical interrupts are the
    /// core's, which the other needs: of those that are pending nothing is kept, for their lines stay asserted until the
    /// guest has seen to them, and they come again when the vCPU's timers are back; those that the guest has begun and not
    /// ended are its [`VgicCpu::twins`]. Afterwards [`VgicCpu::take_deactivations`] has what must not stay active here.
    ///
    /// The list registers are empty and the virtual interface is on when this returns and when [`Vgic::take_up`] is called.
    #[inline(always)]
    pub fn set_aside(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters) -> VcpuSet {
        if self.is_calm(me, lrs) {
            if me.used != 0 {
                self.retire_all(me);
            }
            self.off.fetch_or(VcpuSet::only(me.id).0, Relaxed);
            return VcpuSet::EMPTY;
        }
        self.set_aside_slowly(me, lrs)
    }

    /// The vCPU has a core again.
    #[inline(always)]
    pub fn take_up(&self, me: &VgicCpu) {
        // Before the requests are read: one that comes in between shows again.
        self.off.fetch_and(!VcpuSet::only(me.id).0, Relaxed);
    }

    /// Whether nothing is in the list registers, wanted back from them, or to be told to others.
    #[inline(always)]
    fn is_calm(&self, me: &VgicCpu, lrs: &impl ListRegisters) -> bool {
        let cpu = self.shared(me.id);
        me.used & !lrs.empty() == 0
            && !me.overflowing()
            && spis(me.resident) == 0
            && cpu.bank.hw.get() | me.owed == 0
            && cpu.news.load(Relaxed) & RECALL == 0
    }

    #[inline(never)]
    fn set_aside_slowly(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters) -> VcpuSet {
        let mut routes = self.routes.lock();
        let kick = self.rebuild_locked(me, lrs, &mut routes, 0);
        let cpu = self.shared(me.id);
        me.deactivate |= cpu.bank.hw.take(u32::MAX) | me.owed;
        // Nothing of it is in a list register, so nobody needs to wait until it folds.
        self.off.fetch_or(VcpuSet::only(me.id).0, Relaxed);
        cpu.news.fetch_or(LOOK, Relaxed);
        lrs.set_control(hcr::EN);
        kick
    }

    /// What a vCPU that goes off leaves behind: of its own interrupts none is active any more; SPIs that are stay so, and
    /// whom they are routed to takes them over, so that none is lost with it.
    fn leave(&self, me: &mut VgicCpu, routes: &mut Routes) -> VcpuSet {
        let cpu = self.shared(me.id);
        me.deactivate |= cpu.bank.hw.take(u32::MAX) | me.owed;
        me.owed = 0;
        // Private lines are the vCPU's own timer, which is reset before it begins again.
        cpu.bank.line.put(0);
        cpu.bank.active.put(0);
        let active = spis(core::mem::take(&mut me.spilled));
        self.spis.active.clear(active);
        self.spis.make_active.set(active);
        routes.hold(me.id, 0);
        self.off.fetch_or(VcpuSet::only(me.id).0, Relaxed);
        self.tell_changed(routes, active, 0).without(me.id)
    }

    /// Adds what is new to the free list registers, where that is all there is to do.
    fn top_up(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters) -> VcpuSet {
        let mut routes = self.routes.lock();
        let cpu = self.shared(me.id);
        let held = routes.held(me.id);
        self.retire(me, lrs.empty());
        routes.hold(me.id, spis(me.resident));
        // Those too whose list register a private interrupt took over.
        self.spis.active.take(held & !spis(me.resident));
        let kick = self.hand_over(me, &routes, held);

        // The same interrupt once more while a list register has it: a matter of its state there.
        let again = both(cpu.bank.latch.get() | cpu.bank.hw.get(), self.spis.latch.get());
        let forwarded = self.forwarded(me);
        let again = again & forwarded & me.resident;
        let fresh = self.asserted(me, &routes) & forwarded & !me.resident;
        let free = !me.used & !(u32::MAX << lrs.count());
        if !self.merge(me, lrs, again) || !has_room(fresh, free) {
            return kick.union(self.rebuild_locked(me, lrs, &mut routes, usize::MAX));
        }
        let mut pending = cpu.pending.load(Relaxed);
        for intid in members(fresh) {
            cpu.injected.add(1);
            let index = (!me.used).trailing_zeros() as usize;
            lrs.write(index, self.fresh_image(me, intid));
            me.seat(intid, index);
            pending |= 1 << intid;
        }
        cpu.pending.store(pending, Relaxed);
        routes.hold(me.id, spis(me.resident));
        kick
    }

    /// Merges interrupts that came `again` into their list registers, where each still waits there by an edge: two edges
    /// are one interrupt. So a guest that looks at a device by itself, with its interrupt pending, has
    /// nothing rebuilt at each. Whether that is all there was to do.
    fn merge(&self, me: &VgicCpu, lrs: &impl ListRegisters, again: u64) -> bool {
        members(again).all(|intid| {
            let bank = self.bank(me.id, intid);
            let bit = 1u32 << (intid % 32);
            let place = me.place[intid as usize % 64] as usize % lr::MAX_LIST_REGISTERS;
            let by_edge = me.by_line >> intid & 1 == 0 && bank.hw.get() & bit == 0;
            let merges = by_edge && !self.by_source(intid) && lrs.read(place) & lr::PENDING != 0;
            if merges {
                bank.latch.clear(bit);
            }
            merges
        })
    }

    /// Gives up the list registers that the guest is done with.
    fn retire(&self, me: &mut VgicCpu, empty: u32) {
        let mut done = 0u64;
        for index in members((me.used & empty) as u64) {
            done |= 1 << (me.slot[index as usize % lr::MAX_LIST_REGISTERS] % 64);
        }
        me.used &= !empty;
        me.resident &= !done;
        let cpu = self.shared(me.id);
        cpu.pending.store(cpu.pending.load(Relaxed) & !done, Relaxed);
        cpu.bank.active.take(done as u32);
    }

    /// As [`Vgic::retire`], where that are all.
    #[inline(always)]
    fn retire_all(&self, me: &mut VgicCpu) {
        let done = core::mem::take(&mut me.resident);
        me.used = 0;
        let cpu = self.shared(me.id);
        cpu.pending.store(cpu.pending.load(Relaxed) & !done, Relaxed);
        cpu.bank.active.take(done as u32);
    }

    /// Interrupts that the vCPU may take now: pending outside list registers, forwarded, its own.
    #[inline(always)]
    pub(super) fn deliverable(&self, me: &VgicCpu, routes: &Routes) -> u64 {
        self.asserted(me, routes) & self.forwarded(me)
    }

    /// The same, forwarded or not.
    #[inline(always)]
    fn asserted(&self, me: &VgicCpu, routes: &Routes) -> u64 {
        let private = self.shared(me.id).bank.asserted();
        let shared = self.spis.asserted() & routes.free_for(me.id);
        both(private, shared)
    }

    /// Interrupts that are enabled and of an enabled group.
    #[inline(always)]
    pub(super) fn forwarded(&self, me: &VgicCpu) -> u64 {
        let groups = self.groups();
        both(self.shared(me.id).bank.forwards(groups), self.spis.forwards(groups))
    }

    /// Tells the vCPUs whose SPIs were `held` here and are not any more, where they wait to be taken.
    #[inline(always)]
    pub(super) fn hand_over(&self, me: &VgicCpu, routes: &Routes, held: u32) -> VcpuSet {
        let released = held & !routes.held(me.id) & self.spis.asserted();
        if released & !routes.routed(me.id) == 0 {
            return VcpuSet::EMPTY;
        }
        self.tell(routes, 0, released).without(me.id)
    }
}

/// Whether there are at most as many interrupts as places. Few of either, which a count of all bits takes longer for.
fn has_room(interrupts: u64, places: u32) -> bool {
    let (mut interrupts, mut places) = (interrupts, places);
    while interrupts != 0 && places != 0 {
        interrupts &= interrupts - 1;
        places &= places - 1;
    }
    interrupts == 0
}

impl VgicCpu {
    /// Notes that the free list register `index` now has `intid`.
    pub(super) fn seat(&mut self, intid: u32, index: usize) {
        self.slot[index % lr::MAX_LIST_REGISTERS] = intid as u8;
        self.place[intid as usize % 64] = index as u8;
        self.used |= 1 << index;
        self.resident |= 1 << intid;
    }
}
