//! The words of a guest's interrupts as registers read and write them, whatever the layout.
//!
//! Writes change the words and leave news, also for the own vCPU, whose list registers follow before it runs again
//! ([`Vgic::deliver`]). Reads of pending and active state fold the own list registers first; what another vCPU has in
//! its own is reported as it last knew, and it is asked to fold, so that a guest that polls gets the truth.

use core::sync::atomic::Ordering::Relaxed;

use super::bank::{Bank, Change, Field};
use super::routes::Routes;
use super::{LOOK, ListRegisters, RECALL, SGI_NEWS, Vgic, VgicCpu, spis};
use crate::addr::{VcpuId, VcpuSet};

/// Which 32 interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    /// SGIs and PPIs of a vCPU.
    Private(VcpuId),
    /// SPIs.
    Shared,
}

impl Vgic {
    /// Reads a word.
    pub(super) fn read_field(
        &self,
        me: &mut VgicCpu,
        lrs: &mut impl ListRegisters,
        which: Which,
        field: Field,
    ) -> (u32, VcpuSet) {
        let stateful = matches!(
            field,
            Field::SetPending | Field::ClearPending | Field::SetActive | Field::ClearActive
        );
        match which {
            Which::Private(vcpu) => {
                let mut kick = VcpuSet::EMPTY;
                if stateful && vcpu == me.id {
                    kick = self.rebuild(me, lrs, usize::MAX);
                } else if stateful {
                    kick = self.announce(vcpu, RECALL);
                }
                let cpu = self.shared(vcpu);
                if stateful && cpu.bank.hw.get() != 0 {
                    // Its cause may be gone by now: the owner looks at it on its way back.
                    kick = kick.union(self.announce(vcpu, LOOK));
                }
                let pending = cpu.pending.load(Relaxed) as u32;
                let posted = match field {
                    Field::SetPending | Field::ClearPending => cpu.news.load(Relaxed) >> SGI_NEWS,
                    _ => 0,
                };
                (cpu.bank.read(field, pending) | posted, kick)
            }
            Which::Shared if stateful => {
                let mut kick = self.rebuild(me, lrs, usize::MAX);
                let routes = self.routes.lock();
                let mut pending = 0;
                for vcpu in self.vcpus() {
                    let held = routes.held(vcpu);
                    pending |= spis(self.shared(vcpu).pending.load(Relaxed)) & held;
                    if held != 0 && vcpu != me.id {
                        kick = kick.union(self.announce(vcpu, RECALL));
                    }
                }
                let rung = match field {
                    Field::SetPending | Field::ClearPending => self.rung(),
                    _ => 0,
                };
                (self.spis.read(field, pending) | rung, kick)
            }
            Which::Shared => (self.spis.read(field, 0), VcpuSet::EMPTY),
        }
    }

    /// Writes a word. Returns the vCPUs to kick, the own one among them if it has news.
    #[inline(always)]
    pub(super) fn write_field(&self, which: Which, field: Field, bits: u32) -> VcpuSet {
        match which {
            Which::Private(vcpu) => {
                let cpu = self.shared(vcpu);
                let forget = |bits: u32| _ = cpu.news.fetch_and(!(bits << SGI_NEWS), Relaxed);
                self.changed_private(vcpu, cpu.bank.write(field, bits, u32::MAX, forget))
            }
            Which::Shared => {
                let routes = self.routes.lock();
                let forget = |bits: u32| _ = self.take_rung(bits);
                let change = self.spis.write(field, bits, routes.held_by_any(), forget);
                self.changed_spis(&routes, change)
            }
        }
    }

    /// Reads the priorities of interrupts `first` to `first + 3` of the bank, lowest byte first.
    pub(super) fn read_priorities(&self, which: Which, first: u32) -> u32 {
        let bank = self.words(which);
        u32::from_le_bytes([0, 1, 2, 3].map(|n| bank.priority(first + n)))
    }

    /// Writes the priorities of `count` interrupts from `first` of the bank, lowest byte first.
    pub(super) fn write_priorities(
        &self,
        which: Which,
        first: u32,
        count: u32,
        value: u32,
    ) -> VcpuSet {
        let routes = self.routes.lock();
        let bank = self.words(which);
        let mut bits = 0;
        for (n, byte) in (first..first + count).zip(value.to_le_bytes()) {
            bank.set_priority(n, byte);
            bits |= 1 << (n % 32);
        }
        self.changed(which, &routes, Change { recall: bits, look: bits })
    }

    /// Reads which interrupts of the bank are edge-triggered.
    pub(super) fn read_edges(&self, which: Which) -> u32 {
        self.words(which).edge.get()
    }

    /// Sets those of `mask` to be edge-triggered or, where `edges` is clear, level-sensitive.
    pub(super) fn write_edges(&self, which: Which, mask: u32, edges: u32) -> VcpuSet {
        let routes = self.routes.lock();
        let bank = self.words(which);
        bank.edge.set(mask & edges);
        bank.edge.clear(mask & !edges);
        self.changed(which, &routes, Change { recall: mask, look: mask })
    }

    /// `GICD_IROUTER<n>` of SPI bit `n`, packed.
    pub(super) fn read_route(&self, n: u32) -> u32 {
        self.routes.lock().written(n)
    }

    /// Sets those bits of the affinity of SPI bit `n` that `mask` has.
    pub(super) fn write_route(&self, n: u32, mask: u32, affinity: u32) -> VcpuSet {
        let mut routes = self.routes.lock();
        let affinity = routes.written(n) & !mask | affinity & mask;
        routes.set_affinity(n, affinity, self.vcpus);
        let bit = 1 << (n % 32);
        self.note_doors(&routes, bit);
        self.changed_spis(&routes, Change { recall: bit, look: bit })
    }

    /// The targets of four SPIs from bit `first` on, a bit a vCPU and a byte an SPI.
    pub(super) fn read_targets(&self, first: u32) -> u32 {
        let routes = self.routes.lock();
        u32::from_le_bytes([0, 1, 2, 3].map(|n| routes.written(first + n) as u8))
    }

    /// Sets the targets of `count` SPIs from bit `first` on; vCPUs that there are not are none.
    pub(super) fn write_targets(&self, first: u32, count: u32, value: u32) -> VcpuSet {
        let mut routes = self.routes.lock();
        let mut bits = 0;
        for (n, targets) in (first..first + count).zip(value.to_le_bytes()) {
            routes.set_targets(n, targets & self.everyone.0);
            bits |= 1 << (n % 32);
        }
        self.note_doors(&routes, bits);
        self.changed_spis(&routes, Change { recall: bits, look: bits })
    }

    /// Sets the group enables.
    pub(super) fn write_groups(&self, groups: u32) -> VcpuSet {
        if self.control.swap(groups, Relaxed) == groups {
            return VcpuSet::EMPTY;
        }
        self.vcpus().fold(VcpuSet::EMPTY, |kick, vcpu| kick.union(self.announce(vcpu, RECALL)))
    }

    /// Whether vCPUs have yet to fold what a write took from them: Register Write Pending.
    pub(super) fn write_pending(&self, of: VcpuSet) -> bool {
        self.recalls.load(Relaxed) & !self.off.load(Relaxed) & of.0 != 0
    }

    fn words(&self, which: Which) -> &Bank {
        match which {
            Which::Private(vcpu) => &self.shared(vcpu).bank,
            Which::Shared => &self.spis,
        }
    }

    fn changed(&self, which: Which, routes: &Routes, change: Change) -> VcpuSet {
        match which {
            Which::Private(vcpu) => self.changed_private(vcpu, change),
            Which::Shared => self.changed_spis(routes, change),
        }
    }

    fn changed_private(&self, vcpu: VcpuId, change: Change) -> VcpuSet {
        if change.recall != 0 {
            self.announce(vcpu, RECALL)
        } else if change.look != 0 {
            self.announce(vcpu, LOOK)
        } else {
            VcpuSet::EMPTY
        }
    }

    #[inline(always)]
    fn changed_spis(&self, routes: &Routes, change: Change) -> VcpuSet {
        let look = change.look & self.spis.asserted();
        if change.recall | look == 0 {
            return VcpuSet::EMPTY;
        }
        self.tell_changed(routes, change.recall, look)
    }

    #[inline(never)]
    pub(super) fn tell_changed(&self, routes: &Routes, recall: u32, look: u32) -> VcpuSet {
        let mut kick = self.tell(routes, recall, look);
        // Requests to make active: nobody has the SPI yet, and whom it is routed to is to take it so.
        let asked = recall & self.spis.make_active.get() & !routes.held_by_any();
        if asked != 0 {
            for vcpu in self.vcpus().filter(|&vcpu| routes.routed(vcpu) & asked != 0) {
                kick = kick.union(self.announce(vcpu, RECALL));
            }
        }
        kick
    }
}
