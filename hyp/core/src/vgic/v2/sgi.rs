//! SGIs of a GICv2: pending once for each vCPU that sent them (IHI 0048 2.2.1), and taken with its number.
//!
//! A list register has one interrupt of one source, so an SGI of several sources is delivered as many times, one after
//! the other's end: while sources wait, the list register asks for maintenance (EOI), and the end brings the next. Two
//! list registers with the same SGI would save that, but not the case of one too many, and an SGI that is active and
//! pending from another source is in two states anyhow.
//!
//! Who waits are the [`super::Shared::sources`] of the target. The sender sets its bit and then leaves news; a bit that
//! is cleared as one is set again is of both, so these two synchronise by themselves. The bank's
//! latch, which says to all else that the SGI is pending, is the owner's alone: clear where nobody waits. So the common
//! way of an interrupt knows nothing of sources but here and there an [`Vgic::by_source`].

use core::sync::atomic::{
    AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

use super::{SGIS, byte_of};
use crate::addr::VcpuSet;
use crate::vgic::lr::{self, ACTIVE, EOI, PENDING};
use crate::vgic::{LOOK, ListRegisters, Model, ODD, RECALL, SGI_NEWS, Vgic, VgicCpu, members};

/// `GICD_SGIR` (IHI 0048 4.3.15): TargetListFilter, at 25:24, and CPUTargetList, at 23:16. NSATT is of the security
/// extension.
const FILTER_SHIFT: u32 = 24;
const LIST_SHIFT: u32 = 16;

impl Vgic {
    /// Whether `intid` is pending by source.
    #[inline(always)]
    pub(in crate::vgic) fn by_source(&self, intid: u32) -> bool {
        intid < 16 && self.model == Model::V2
    }

    /// A write to `GICD_SGIR`.
    #[inline(always)]
    pub(super) fn write_sgir(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        value: u32,
    ) -> VcpuSet {
        let own = VcpuSet::only(me.id);
        let targets = match value >> FILTER_SHIFT & 3 {
            0 => (value >> LIST_SHIFT) as u8 & self.everyone.0,
            1 => self.everyone.0 & !own.0,
            2 => own.0,
            _ => 0,
        };
        let sgi = value & 15;
        let mut kick = VcpuSet::EMPTY;
        for vcpu in VcpuSet(targets & !own.0).iter() {
            self.shared(vcpu).waiting(sgi).fetch_or(own.0, Release);
            kick = kick.union(self.announce(vcpu, ODD | 1 << (SGI_NEWS + sgi)));
        }
        if targets & own.0 != 0 {
            self.shared(me.id).waiting(sgi).fetch_or(own.0, Relaxed);
            kick = kick.union(self.raise_sgi(me, lrs, sgi));
        }
        kick
    }

    /// Delivers SGIs that came in, and what else is in the news.
    #[inline(never)]
    pub(in crate::vgic) fn deliver_sgis(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        news: u32,
    ) -> VcpuSet {
        let sgis = news >> SGI_NEWS;
        if news & (LOOK | RECALL) != 0 {
            self.latch_sgis(me, sgis);
            return self.deliver_more(me, lrs, news & (LOOK | RECALL));
        }
        let mut kick = VcpuSet::EMPTY;
        for sgi in members(sgis.into()) {
            kick = kick.union(self.raise_sgi(me, lrs, sgi));
        }
        kick
    }

    /// Makes an SGI of the own vCPU pending for the sources that wait.
    #[inline(always)]
    fn raise_sgi(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, sgi: u32) -> VcpuSet {
        let cpu = self.shared(me.id);
        let sources = cpu.waiting(sgi).load(Relaxed);
        if sources == 0 {
            // Taken already, with others of its kind; or a GICv3's, which came with a doorbell that was taken back.
            return match self.model {
                Model::V2 => VcpuSet::EMPTY,
                Model::V3 => self.raise_slowly(me, lrs, sgi, false),
            };
        }
        let source = lr::sourced(sources.trailing_zeros());
        if sources.is_power_of_two()
            && self.raise_at_once(me, lrs, sgi, me.place_of(sgi), false, source)
        {
            cpu.waiting(sgi).fetch_and(!sources, Acquire);
            cpu.bank.latch.take(1 << sgi);
            return VcpuSet::EMPTY;
        }
        self.raise_slowly(me, lrs, sgi, false)
    }

    /// Notes SGIs that came in, for what follows.
    fn latch_sgis(&self, me: &VgicCpu, sgis: u32) {
        let cpu = self.shared(me.id);
        for sgi in members(sgis.into()) {
            if self.model == Model::V3 || cpu.waiting(sgi).load(Relaxed) != 0 {
                cpu.bank.latch.set(1 << sgi);
            }
        }
    }

    /// Reads back what a list register says of an SGI.
    pub(in crate::vgic) fn fold_sgi(&self, me: &mut VgicCpu, sgi: u32, value: u64) {
        let source = lr::source(value);
        if value & ACTIVE != 0 {
            let at = 4 * (sgi & 15);
            me.active_sources = me.active_sources & !(0xf << at) | u64::from(source) << at;
        }
        if value & PENDING != 0 {
            let cpu = self.shared(me.id);
            cpu.waiting(sgi).fetch_or(1 << source, Relaxed);
            cpu.bank.latch.set(1 << sgi);
        }
    }

    /// Takes one of the sources of a pending SGI, the lowest, for a list register.
    pub(in crate::vgic) fn take_sgi(&self, me: &mut VgicCpu, sgi: u32) -> u64 {
        let waiting = self.shared(me.id).waiting(sgi);
        let source = waiting.load(Relaxed).trailing_zeros() & 7;
        let others = self.drop_sources(me, sgi, 1 << source);
        me.by_line &= !(1 << sgi);
        lr::sourced(source) | if others != 0 { EOI } else { 0 }
    }

    /// The source of an active SGI for a list register. Pending again it can be in the same one only from the same
    /// source; others wait for its end.
    pub(in crate::vgic) fn active_sgi(&self, me: &mut VgicCpu, sgi: u32, again: bool) -> u64 {
        let source = (me.active_sources >> (4 * (sgi & 15))) as u32 & 7;
        match self.shared(me.id).waiting(sgi).load(Relaxed) {
            0 => lr::sourced(source),
            only if only == 1 << source && again => PENDING | self.take_sgi(me, sgi),
            _ => lr::sourced(source) | EOI,
        }
    }

    /// No longer pending from `sources`. Returns those that still wait.
    fn drop_sources(&self, me: &VgicCpu, sgi: u32, sources: u8) -> u8 {
        let cpu = self.shared(me.id);
        let others = cpu.waiting(sgi).fetch_and(!sources, Acquire) & !sources;
        if others == 0 {
            cpu.bank.latch.take(1 << sgi);
        }
        others
    }

    /// The sources that an SGI of the own vCPU is pending from, in its list register or outside.
    fn sources(&self, me: &VgicCpu, lrs: &impl ListRegisters, sgi: u32) -> u8 {
        let waiting = self.shared(me.id).waiting(sgi).load(Relaxed);
        match me.list_register(sgi).map(|index| lrs.read(index)) {
            Some(value) if value & PENDING != 0 => waiting | 1 << lr::source(value),
            _ => waiting,
        }
    }

    /// The SGIs of the own vCPU that are pending, a bit each.
    pub(super) fn pending_sgis(&self, me: &VgicCpu, lrs: &impl ListRegisters) -> u32 {
        members(SGIS.into())
            .fold(0, |set, sgi| set | u32::from(self.sources(me, lrs, sgi) != 0) << sgi)
    }

    /// Reads `GICD_CPENDSGIR<n>` or `GICD_SPENDSGIR<n>`.
    pub(super) fn read_sources(
        &self,
        me: &VgicCpu,
        lrs: &impl ListRegisters,
        offset: u32,
        size: u8,
    ) -> u32 {
        let four = [0, 1, 2, 3].map(|n| self.sources(me, lrs, (offset & 0xc) + n));
        byte_of(u32::from_le_bytes(four), offset.into(), size)
    }

    /// Writes `GICD_SPENDSGIR<n>`: pending from these sources as well.
    pub(super) fn set_sources(&self, me: &VgicCpu, offset: u32, size: u8, value: u32) -> VcpuSet {
        let mut kick = VcpuSet::EMPTY;
        for (sgi, sources) in sgis_at(offset, size, value) {
            let sources = sources & self.everyone.0;
            if sources != 0 {
                self.shared(me.id).waiting(sgi).fetch_or(sources, Relaxed);
                kick = self.announce(me.id, ODD | 1 << (SGI_NEWS + sgi));
            }
        }
        kick
    }

    /// Writes `GICD_CPENDSGIR<n>`: no longer pending from these sources. Returns other vCPUs to kick.
    pub(super) fn clear_sources(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        offset: u32,
        size: u8,
        value: u32,
    ) -> VcpuSet {
        for (sgi, sources) in sgis_at(offset, size, value) {
            let _ = self.drop_sources(me, sgi, sources);
            let Some(index) = me.list_register(sgi) else { continue };
            let value = lrs.read(index);
            if value & PENDING != 0 && sources >> lr::source(value) & 1 != 0 {
                // What it asks for at its end is found anew below.
                lrs.write(index, if value & ACTIVE != 0 { value & !PENDING } else { 0 });
            }
        }
        self.rebuild(me, lrs, usize::MAX)
    }
}

/// The SGIs and their bytes that a write of `size` at `offset` of a register of bytes is about.
fn sgis_at(offset: u32, size: u8, value: u32) -> impl Iterator<Item = (u32, u8)> {
    let first = offset & 0xf;
    (first..16).zip(value.to_le_bytes()).take(size.into())
}

impl crate::vgic::Shared {
    /// The sources of an SGI that is not in a list register.
    #[inline]
    fn waiting(&self, sgi: u32) -> &AtomicU8 {
        &self.sources[sgi as usize % 16]
    }
}

impl VgicCpu {
    /// The list register that has an interrupt, or had it last.
    fn list_register(&self, intid: u32) -> Option<usize> {
        let resident = self.resident >> (intid % 64) & 1 != 0;
        resident.then(|| self.place[intid as usize % 64] as usize)
    }
}
