//! The path of all odd cases: fold every list register into the words, change what is asked, choose anew.
//!
//! Which interrupts get a list register where there are too many? The most urgent pending one always does: it may
//! preempt. Then active ones, most urgent first: the guest ends them, and an end that meets no list register is a
//! maintenance interrupt. Then the other pending ones. While some have to wait, a maintenance interrupt comes once no
//! list register is pending (NPIE); that one is at least pending now is what keeps it from coming at once for ever.
//!
//! An interrupt of a group that the guest's own CPU interface has disabled would stay pending for as long as it likes,
//! and keep NPIE silent: such are chosen last, and the guest's switching a group is a maintenance interrupt as well.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use super::lr::{ACTIVE, EOI, HW, MAX_LIST_REGISTERS, PENDING};
use super::routes::Routes;
use super::{
    LOOK, ListRegisters, Model, Vgic, VgicCpu, both, hcr, lr, members, priority_bits, spis, vmcr,
};
use crate::addr::VcpuSet;

/// What the list registers said.
struct Folded {
    /// Active interrupts, those without a list register included.
    active: u64,
    /// Active interrupts whose end deactivates the physical twin.
    linked: u64,
}

impl Vgic {
    /// Folds, and fills at most `most` list registers. Returns other vCPUs to kick.
    pub(super) fn rebuild(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        most: usize,
    ) -> VcpuSet {
        let mut routes = self.routes.lock();
        self.rebuild_locked(me, lrs, &mut routes, most)
    }

    #[inline(never)]
    pub(super) fn rebuild_locked(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        routes: &mut Routes,
        most: usize,
    ) -> VcpuSet {
        // Before the requests are read: one that comes in between shows again.
        self.off.fetch_and(!VcpuSet::only(me.id).0, Relaxed);
        self.recalls.fetch_and(!VcpuSet::only(me.id).0, Acquire);
        let held = routes.held(me.id);
        let folded = self.fold(me, lrs, routes);
        let deliverable = self.deliverable(me, routes);
        let capacity = most.min(lrs.count()).min(MAX_LIST_REGISTERS);
        let chosen = self.choose(me, lrs, folded.active, deliverable, capacity);
        me.spilled = folded.active & !chosen;
        me.owed |= (folded.linked & me.spilled) as u32;
        let waiting = deliverable & !chosen & !folded.active;
        // With others waiting, an active interrupt must not turn pending again unseen: it may be less urgent than they.
        let again = if waiting == 0 { deliverable } else { 0 };
        self.place(me, lrs, &folded, chosen, again);
        self.control_overflow(me, lrs, waiting, capacity);
        routes.hold(me.id, spis(me.resident | me.spilled));
        if me.deactivate != 0 {
            // So that the caller comes by deliver, and asks for them, whatever call this was.
            self.shared(me.id).news.fetch_or(LOOK, Relaxed);
        }
        self.hand_over(me, routes, held)
    }

    /// Reads the list registers back into the words and carries out the requests that concern them.
    fn fold(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, routes: &Routes) -> Folded {
        let cpu = self.shared(me.id);
        cpu.armed.store(0, Relaxed);
        let bank = &cpu.bank;
        let held = routes.held(me.id);
        let drop_pending =
            both(bank.drop_pending.take(u32::MAX), self.spis.drop_pending.take(held));
        let drop_active = both(bank.drop_active.take(u32::MAX), self.spis.drop_active.take(held));
        let make_active = both(
            bank.make_active.take(u32::MAX),
            self.spis.make_active.take(routes.free_for(me.id) | held),
        );
        let mut folded = Folded { active: 0, linked: 0 };
        for index in members(me.used as u64) {
            self.fold_one(me, lrs, index as usize, drop_pending, &mut folded);
        }
        me.withdraw_waiting(bank);
        self.end_spilled(me, lrs);

        let active = folded.active | me.spilled;
        for intid in members(make_active & !active) {
            me.begun[intid as usize % 64] = lr::rank(self.identity(me, intid));
        }
        folded.active = (active | make_active) & !drop_active;
        let ended = (folded.linked as u32 | me.owed) & !folded.active as u32;
        me.deactivate |= ended;
        me.owed &= !ended;
        bank.active.put(folded.active as u32);
        let others = self.spis.active.get() & !held;
        self.spis.active.put(others | spis(folded.active));
        folded
    }

    fn fold_one(
        &self,
        me: &mut VgicCpu,
        lrs: &impl ListRegisters,
        index: usize,
        drop_pending: u64,
        folded: &mut Folded,
    ) {
        let value = lrs.read(index);
        let intid = me.slot[index % MAX_LIST_REGISTERS] as u32 % 64;
        let bit = 1u64 << intid;
        me.image[index % MAX_LIST_REGISTERS] = value;
        if value & ACTIVE != 0 {
            folded.active |= bit;
            me.begun[intid as usize] = lr::rank(value);
            if value & HW != 0 {
                folded.linked |= bit;
            }
        }
        if self.by_source(intid) {
            self.fold_sgi(me, intid, value);
            return;
        }
        if value & PENDING == 0 {
            return;
        }
        let bank = self.bank(me.id, intid);
        let word_bit = 1 << (intid % 32);
        if value & HW != 0 {
            bank.hw.set(word_bit);
        }
        if (me.by_line | drop_pending) & bit == 0 {
            bank.latch.set(word_bit);
        }
    }

    /// Interrupts that the guest ended while they were in no list register: the hardware counts them. Ends nest, so
    /// each was the most urgent of the active ones outside, unless the guest deactivates out of order, which traps
    /// where the hardware can ([`Vgic::write_dir`]). On GICv2 it always does, and that an end that only drops a
    /// priority is not counted nobody promises.
    fn end_spilled(&self, me: &mut VgicCpu, lrs: &impl ListRegisters) {
        if me.spilled == 0 || self.model == Model::V2 && lrs.machine_control() & vmcr::VEOIM != 0 {
            return;
        }
        for _ in 0..hcr::eoi_count(lrs.control()) {
            if let Some(intid) = me.most_urgent_active(me.spilled) {
                me.spilled &= !(1 << intid);
            }
        }
    }

    /// Chooses the interrupts that get a list register.
    fn choose(
        &self,
        me: &VgicCpu,
        lrs: &impl ListRegisters,
        active: u64,
        deliverable: u64,
        capacity: usize,
    ) -> u64 {
        if (active | deliverable).count_ones() as usize <= capacity {
            return active | deliverable;
        }
        let fresh = deliverable & !active;
        let takeable = fresh & self.groups_on(me, lrs);
        let first = if takeable != 0 { takeable } else { fresh };
        let mut chosen = 0u64;
        for (from, most) in
            [(first, 1), (active, capacity), (takeable, capacity), (fresh, capacity)]
        {
            for _ in 0..most.min(capacity - chosen.count_ones() as usize) {
                let left = from & !chosen;
                let next = if from == active {
                    me.most_urgent_active(left)
                } else {
                    self.most_urgent(me, left)
                };
                match next {
                    Some(intid) => chosen |= 1 << intid,
                    None => break,
                }
            }
        }
        chosen
    }

    /// Interrupts of the groups that the guest's CPU interface has enabled.
    fn groups_on(&self, me: &VgicCpu, lrs: &impl ListRegisters) -> u64 {
        let group = both(self.shared(me.id).bank.group.get(), self.spis.group.get());
        let enabled = lrs.machine_control();
        let one = if enabled & vmcr::VENG1 != 0 { group } else { 0 };
        let zero = if enabled & vmcr::VENG0 != 0 { !group } else { 0 };
        one | zero
    }

    /// The interrupt of `set` with the lowest priority value, and of these the lowest INTID.
    fn most_urgent(&self, me: &VgicCpu, set: u64) -> Option<u32> {
        members(set).min_by_key(|&intid| self.bank(me.id, intid).priority(intid % 32))
    }

    /// Writes the list registers, those that change. Active interrupts of `again` may be pending as well.
    fn place(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        folded: &Folded,
        chosen: u64,
        again: u64,
    ) {
        let (former, stayed) = (me.used, me.resident & chosen);
        me.used = 0;
        for intid in members(stayed) {
            me.used |= 1 << (me.place[intid as usize % 64] % MAX_LIST_REGISTERS as u8);
        }
        me.resident = stayed;
        let mut pending = 0;
        for intid in members(chosen) {
            let bit = 1u64 << intid;
            let index = if stayed & bit != 0 {
                me.place[intid as usize % 64] as usize
            } else {
                (!me.used).trailing_zeros() as usize
            } % MAX_LIST_REGISTERS;
            let value = if folded.active & bit == 0 {
                self.fresh_image(me, intid)
            } else {
                self.active_image(me, intid, folded.linked & bit != 0, again & bit != 0)
            };
            me.seat(intid, index);
            if value & PENDING != 0 {
                pending |= bit;
                let waited = stayed & bit != 0 && me.image[index] & PENDING != 0;
                self.shared(me.id).injected.add(u64::from(!waited));
            }
            if former >> index & 1 == 0 || value != me.image[index] {
                lrs.write(index, value);
            }
        }
        for index in members((former & !me.used) as u64) {
            if !lr::is_empty(me.image[index as usize % MAX_LIST_REGISTERS]) {
                lrs.write(index as usize, 0);
            }
        }
        self.shared(me.id).pending.store(pending, Relaxed);
    }

    /// A list register for an interrupt that is pending and not active; takes what it is pending by.
    #[inline]
    pub(super) fn fresh_image(&self, me: &mut VgicCpu, intid: u32) -> u64 {
        let bank = self.bank(me.id, intid);
        let bit = 1u32 << (intid % 32);
        let value = self.identity(me, intid) | PENDING;
        let line = self.take_pending(me, intid);
        value | if bank.hw.take(bit) != 0 { lr::linked(intid) } else { line }
    }

    /// A list register for an active interrupt, which may become pending in it `again`.
    ///
    /// Pending and active cannot be together with the HW bit, and a physical twin that is active in its own right
    /// must not be ended by this end: then the pending state stays outside, and the end is a maintenance interrupt.
    fn active_image(&self, me: &mut VgicCpu, intid: u32, linked: bool, again: bool) -> u64 {
        let bank = self.bank(me.id, intid);
        let bit = 1u32 << (intid % 32);
        let identity = lr::ranked(intid, me.begun[intid as usize % 64]);
        // Changed since it began, it comes again as what it is now: not from the same list register.
        let again = again && identity == self.identity(me, intid);
        let value = identity | ACTIVE;
        if self.by_source(intid) {
            return value | self.active_sgi(me, intid, again);
        }
        let asserted = bank.asserted() & bit != 0;
        if linked && !asserted {
            return value | lr::linked(intid);
        }
        if linked {
            me.owed |= bit;
        }
        let twin = intid < 32 && (me.owed | bank.hw.get()) & bit != 0;
        if again && !twin {
            return value | PENDING | self.take_pending(me, intid);
        }
        value | if asserted || twin { EOI } else { 0 }
    }

    /// Takes the memory of a pending interrupt that goes into a list register; a line that is high stays so, and asks
    /// for maintenance at the end of the interrupt, to be sampled again.
    #[inline(always)]
    fn take_pending(&self, me: &mut VgicCpu, intid: u32) -> u64 {
        if self.by_source(intid) {
            return self.take_sgi(me, intid);
        }
        let bank = self.bank(me.id, intid);
        let bit = 1u32 << (intid % 32);
        if bank.latch.take(bit) != 0 {
            me.by_line &= !(1 << intid);
        } else {
            me.by_line |= 1 << intid;
        }
        if bank.high() & bit != 0 { EOI } else { 0 }
    }

    pub(super) fn identity(&self, me: &VgicCpu, intid: u32) -> u64 {
        self.bank(me.id, intid).identity(intid)
    }

    /// Asks for the maintenance interrupts that those outside need; none, in the ordinary case.
    fn control_overflow(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        waiting: u64,
        capacity: usize,
    ) {
        let mut control = if capacity == 0 { 0 } else { hcr::EN };
        if waiting != 0 && capacity != 0 {
            let enabled = lrs.machine_control();
            control |= hcr::NPIE;
            control |= if enabled & vmcr::VENG0 != 0 { hcr::VGRP0DIE } else { hcr::VGRP0EIE };
            control |= if enabled & vmcr::VENG1 != 0 { hcr::VGRP1DIE } else { hcr::VGRP1EIE };
        }
        if me.spilled != 0 {
            control |= hcr::LRENPIE | if self.model == Model::V3 { hcr::TDIR } else { 0 };
        }
        // With spilled ones also where nothing changes: EOIcount starts anew.
        if control != me.control || me.spilled != 0 {
            lrs.set_control(control);
            me.control = control;
        }
    }

    /// A trapped write to `ICC_DIR_EL1` ([`hcr::TDIR`], only while active interrupts are outside list registers) or to
    /// a GICv2's `GICC_DIR`: deactivates the interrupt if it is active on this vCPU. Returns other vCPUs to kick.
    pub fn write_dir(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, value: u64) -> VcpuSet {
        let intid = value & 0xff_ffff;
        if intid >= 64 || lrs.machine_control() & vmcr::VEOIM == 0 {
            return VcpuSet::EMPTY;
        }
        let intid = intid as u32;
        let mut routes = self.routes.lock();
        let mine = both(u32::MAX, routes.held(me.id));
        if mine >> intid & 1 != 0 {
            self.bank(me.id, intid).drop_active.set(1 << (intid % 32));
        }
        self.rebuild_locked(me, lrs, &mut routes, usize::MAX)
    }
}

impl VgicCpu {
    /// The active interrupt of `set` that began with the lowest priority value, and of these the lowest INTID.
    fn most_urgent_active(&self, set: u64) -> Option<u32> {
        members(set).min_by_key(|&intid| priority_bits(self.begun[intid as usize % 64]))
    }

    /// Ends the physical twins of pending interrupts whose cause is gone.
    fn withdraw_waiting(&mut self, bank: &super::Bank) {
        self.deactivate |= bank.hw.take(core::mem::take(&mut self.withdrawn));
    }
}
