//! The hot path: a private interrupt of the vCPU that is on this core, straight into a list register.

use core::sync::atomic::Ordering::Relaxed;

use super::{ListRegisters, RECALL, SGI_NEWS, Shared, Vgic, VgicCpu, lr};
use crate::addr::{IntId, VcpuId, VcpuSet};

/// `ICC_SGI<n>R_EL1` (IHI 0069 12.2): Interrupt Routing Mode, all but the sender.
const IRM: u64 = 1 << 40;
/// Aff3, Aff2, Aff1 and the Range Selector: zero for the affinities that vCPUs have.
const AFFINITY: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xff << 16;

impl Vgic {
    /// A write to `ICC_SGI1R_EL1`: an SGI of group 1. Returns the other vCPUs to kick.
    #[inline(always)]
    pub fn sgi1r(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, value: u64) -> VcpuSet {
        self.send_sgi(me, lrs, value, u32::MAX)
    }

    /// A write to `ICC_SGI0R_EL1`: an SGI of group 0. With one security state (`GICD_CTLR.DS`) `ICC_ASGI1R_EL1`, the
    /// other state's group 1, has no target: writes to it do nothing.
    #[inline(never)]
    pub fn sgi0r(&self, me: &mut VgicCpu, lrs: &mut impl ListRegisters, value: u64) -> VcpuSet {
        self.send_sgi(me, lrs, value, 0)
    }

    /// Sends an SGI to those of the target list whose group for it is that of `group`, a word of zeros or ones.
    #[inline(always)]
    fn send_sgi(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        value: u64,
        group: u32,
    ) -> VcpuSet {
        let own = VcpuSet::only(me.id).0;
        let all = self.everyone.0;
        let targets = if value & (IRM | AFFINITY) == 0 {
            value as u8 & all
        } else if value & IRM != 0 {
            all & !own
        } else {
            0
        };
        let sgi = (value >> 24 & 15) as u32;
        let mut kick = VcpuSet::EMPTY;
        let others = targets & !own;
        if others != 0 {
            for vcpu in VcpuSet(others).iter() {
                let cpu = self.shared(vcpu);
                if (cpu.bank.group.get() ^ group) >> sgi & 1 == 0 {
                    kick = kick.union(self.announce(vcpu, 1 << (SGI_NEWS + sgi)));
                }
            }
        }
        if targets & own != 0 && (self.shared(me.id).bank.group.get() ^ group) >> sgi & 1 == 0 {
            kick = kick.union(self.raise(me, lrs, sgi, false));
        }
        kick
    }

    /// A physical PPI arrived whose condition is the guest's own (virtual timer, PMU): the caller acknowledged it and
    /// dropped its priority, but did not deactivate it. It becomes pending for the guest, whose end of interrupt will
    /// deactivate it; while the guest has it disabled, it stays active, so that it does not arrive again.
    #[inline(always)]
    pub fn inject_hw_ppi(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        intid: IntId,
    ) -> VcpuSet {
        if ppi_bit(intid).is_none() {
            return VcpuSet::EMPTY;
        }
        self.raise(me, lrs, intid.0, true)
    }

    /// Drives the line of a PPI that has no physical twin (the emulated physical timer). The caller owns the vCPU, or
    /// kicks it if the set says so; delivery is at the next [`Vgic::deliver`].
    pub fn set_ppi_level(&self, vcpu: VcpuId, intid: IntId, high: bool) -> VcpuSet {
        let Some(bit) = ppi_bit(intid) else { return VcpuSet::EMPTY };
        let cpu = self.shared(vcpu);
        if cpu.bank.drive(bit, high) == 0 {
            return VcpuSet::EMPTY;
        }
        // Folded either way: a list register that has the interrupt active does not know yet that it is to ask for
        // maintenance.
        self.announce(vcpu, RECALL)
    }

    /// Makes private interrupt `intid` of the own vCPU pending, for its physical twin if `hw`.
    #[inline(always)]
    pub(super) fn raise(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        intid: u32,
        hw: bool,
    ) -> VcpuSet {
        // That of the hardware's is known beforehand: its place is found without asking.
        let (link, place) =
            if hw { (lr::linked(intid), me.place_at(intid)) } else { (0, me.place_of(intid)) };
        if self.raise_at_once(me, lrs, intid, place, hw, link) {
            return VcpuSet::EMPTY;
        }
        self.raise_slowly(me, lrs, intid, hw)
    }

    /// Puts private interrupt `intid` of the own vCPU, whose [`VgicCpu::place_of`] is `place`, into a list register, with
    /// what `more` says of it, if nothing stands against it; whether it did.
    #[inline(always)]
    pub(super) fn raise_at_once(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        intid: u32,
        place: u8,
        hw: bool,
        more: u64,
    ) -> bool {
        let cpu = self.shared(me.id);
        let bit = 1u32 << (intid % 32);
        let forwarded = cpu.bank.forwards(self.groups()) & bit != 0;
        // A request that is older than this interrupt must not take it away: let the fold sort that out.
        let calm = cpu.news.load(Relaxed) & RECALL == 0 && !me.overflowing();
        if forwarded
            && calm
            && let Some(index) = me.free_place(intid, place, lrs.empty())
        {
            lrs.write(index, cpu.bank.identity(intid) | lr::PENDING | more);
            me.occupy(cpu, intid, index, hw);
            return true;
        }
        false
    }

    #[cold]
    #[inline(never)]
    pub(super) fn raise_slowly(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        intid: u32,
        hw: bool,
    ) -> VcpuSet {
        let bank = &self.shared(me.id).bank;
        let bit = 1u32 << (intid % 32);
        let word = if hw { &bank.hw } else { &bank.latch };
        word.set(bit);
        if bank.forwards(self.groups()) & bit == 0 {
            return VcpuSet::EMPTY;
        }
        self.rebuild(me, lrs, usize::MAX)
    }

    /// Hardware-linked interrupts (a bit each, by INTID) that the guest could not be given yet: their physical twins
    /// are active and silent. Where the condition of one is gone, call [`Vgic::withdraw_hw_ppi`].
    #[inline]
    pub fn held_hw_ppis(&self, me: &VgicCpu) -> u32 {
        self.shared(me.id).bank.hw.get()
    }

    /// The condition of a hardware-linked interrupt is gone before the guest took it: it is no longer pending, and
    /// its physical twin is among [`VgicCpu::take_deactivations`]. One that the guest took already is left alone.
    pub fn withdraw_hw_ppi(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        intid: IntId,
    ) -> VcpuSet {
        let Some(bit) = ppi_bit(intid) else { return VcpuSet::EMPTY };
        me.withdrawn |= bit;
        self.rebuild(me, lrs, usize::MAX)
    }
}

impl VgicCpu {
    /// Where an interrupt is, if it is in a list register.
    #[inline(always)]
    fn place_at(&self, intid: u32) -> u8 {
        self.place[intid as usize % 64]
    }

    /// As [`VgicCpu::place_at`]. A call, like [`VgicCpu::move_in`]: inlined, the compiler would keep the addresses of
    /// these arrays at hand for every exit.
    #[inline(never)]
    pub(super) fn place_of(&self, intid: u32) -> u8 {
        self.place_at(intid)
    }

    /// A list register for an interrupt that is in none, or whose list register is done with it.
    #[inline(always)]
    fn free_place(&self, intid: u32, place: u8, empty: u32) -> Option<usize> {
        if self.resident >> (intid % 64) & 1 == 0 {
            return (empty != 0).then(|| empty.trailing_zeros() as usize);
        }
        (empty >> (place % 32) & 1 != 0).then_some(place.into())
    }

    /// Notes that list register `index` now has `intid`, pending, by its physical twin if `hw`.
    #[inline(always)]
    pub(super) fn occupy(&mut self, cpu: &Shared, intid: u32, index: usize, hw: bool) {
        let bit = 1u64 << (intid % 64);
        if self.resident & bit == 0 {
            self.move_in(intid, index);
        }
        self.by_line = if hw { self.by_line | bit } else { self.by_line & !bit };
        cpu.injected.add(1);
        cpu.pending.store(cpu.pending.load(Relaxed) | bit, Relaxed);
    }

    /// Notes that list register `index` now has `intid`, which was in none.
    #[inline(never)]
    fn move_in(&mut self, intid: u32, index: usize) {
        let slot = &mut self.slot[index % lr::MAX_LIST_REGISTERS];
        if self.used >> index & 1 != 0 {
            self.resident &= !(1u64 << (*slot % 64));
        }
        *slot = intid as u8;
        self.place[intid as usize % 64] = index as u8;
        self.used |= 1 << index;
        self.resident |= 1u64 << (intid % 64);
    }
}

/// The bit of a PPI in its bank.
#[inline]
fn ppi_bit(intid: IntId) -> Option<u32> {
    (16..32).contains(&intid.0).then(|| 1 << intid.0)
}

/// The affinity of a vCPU, `MPIDR_EL1.Aff<n>`: Aff0 is its number, the others are zero.
pub(super) const fn affinity(vcpu: VcpuId) -> u64 {
    vcpu.0 as u64
}
