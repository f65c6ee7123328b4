//! A guest's interrupt controller with fake cores, and what the machine around it does: kick whom it is told to kick,
//! deliver before entry, serve maintenance interrupts.

use alloc::vec;
use alloc::vec::Vec;

use tessera_abi::layout::{GROUP_INTID, MAX_GROUPS};

use super::cpu::FakeCpu;
use crate::addr::{IntId, VcpuId, VcpuSet};
use crate::vgic::{Model, Vgic, VgicCpu, vmcr};

/// Bytes of a redistributor, and where its SGI frame is.
pub const GICR_STRIDE: u64 = 0x2_0000;
pub const SGI: u64 = 0x1_0000;

/// An edge of SPI `intid`: a group's comes by its doorbell.
pub fn pulse(vgic: &Vgic, intid: u32) -> VcpuSet {
    match intid.checked_sub(GROUP_INTID) {
        Some(door) if (door as usize) < MAX_GROUPS => vgic.ring(door as u8).vcpus(),
        _ => vgic.pulse_spi(IntId(intid)),
    }
}

/// A guest with a fake core for each vCPU.
pub struct Guest {
    pub vgic: Vgic,
    pub cpus: Vec<(VgicCpu, FakeCpu)>,
    /// vCPUs with a kick under way.
    pub kicked: VcpuSet,
    /// Physical interrupts that each core deactivated because it was told to.
    ended: Vec<u32>,
}

impl Guest {
    /// As after a reset, with `count` list registers a core.
    pub fn after_reset(vcpus: usize, count: usize) -> Self {
        let cpus =
            (0..vcpus as u8).map(|n| (VgicCpu::new(VcpuId(n)), FakeCpu::new(count))).collect();
        let vgic = Vgic::new(vcpus, Model::V3);
        Self { vgic, cpus, kicked: VcpuSet::EMPTY, ended: vec![0; vcpus] }
    }

    /// A guest with a GICv2, as after a reset.
    pub fn v2_after_reset(vcpus: usize, count: usize) -> Self {
        let mut guest =
            Self { vgic: Vgic::new(vcpus, Model::V2), ..Self::after_reset(vcpus, count) };
        for (_, cpu) in &mut guest.cpus {
            cpu.v2 = true;
        }
        guest
    }

    /// A guest with a GICv2 as Linux sets it up: all interrupts enabled, in group 0, at priority 0xa0, SPIs to vCPU 0.
    pub fn v2(vcpus: usize) -> Self {
        let mut guest = Self::v2_after_reset(vcpus, 4);
        let _ = guest.gicd(0, 1);
        let _ = guest.gicd(0x104, !0);
        for n in 0..8 {
            let _ = guest.gicd(0x420 + 4 * n, 0xa0a0_a0a0);
            let _ = guest.gicd(0x820 + 4 * n, 0x0101_0101);
        }
        for by in 0..vcpus {
            let _ = guest.gicd_by(by, 0x100, 4, !0);
            for n in 0..8 {
                let _ = guest.gicd_by(by, 0x400 + 4 * n, 4, 0xa0a0_a0a0);
            }
            guest.cpus[by].1.vmcr = vmcr::VENG0;
        }
        guest.settle();
        guest
    }

    /// All interrupts enabled, in group 1, at priority 0xa0; groups enabled.
    pub fn new(vcpus: usize) -> Self {
        Self::with_list_registers(vcpus, 4)
    }

    pub fn with_list_registers(vcpus: usize, count: usize) -> Self {
        let mut guest = Self::after_reset(vcpus, count);
        let _ = guest.gicd(0, 3);
        let _ = guest.gicd(0x84, !0);
        let _ = guest.gicd(0x104, !0);
        for n in 0..8 {
            let _ = guest.gicd(0x420 + 4 * n, 0xa0a0_a0a0);
        }
        for vcpu in 0..vcpus as u64 {
            let base = vcpu * GICR_STRIDE + SGI;
            let _ = guest.gicr(base + 0x80, !0);
            let _ = guest.gicr(base + 0x100, !0);
            for n in 0..8 {
                let _ = guest.gicr(base + 0x400 + 4 * n, 0xa0a0_a0a0);
            }
        }
        guest.settle();
        guest
    }

    fn note(&mut self, kick: VcpuSet) -> VcpuSet {
        self.kicked = self.kicked.union(kick);
        kick
    }

    pub fn gicd(&mut self, offset: u64, value: u64) -> VcpuSet {
        self.gicd_sized(offset, 4, value)
    }
    pub fn gicd_sized(&mut self, offset: u64, size: u8, value: u64) -> VcpuSet {
        self.gicd_by(0, offset, size, value)
    }
    pub fn gicd_by(&mut self, by: usize, offset: u64, size: u8, value: u64) -> VcpuSet {
        let (me, lrs) = &mut self.cpus[by];
        let kick = self.vgic.gicd_write(me, lrs, offset, size, value).unwrap();
        self.note(kick)
    }
    pub fn gicr(&mut self, offset: u64, value: u64) -> VcpuSet {
        self.gicr_sized(offset, 4, value)
    }
    pub fn gicr_sized(&mut self, offset: u64, size: u8, value: u64) -> VcpuSet {
        let kick = self.vgic.gicr_write(offset, size, value).unwrap();
        self.note(kick)
    }
    pub fn gicd_read(&mut self, by: usize, offset: u64) -> u64 {
        self.gicd_read_sized(by, offset, 4)
    }
    pub fn gicd_read_sized(&mut self, by: usize, offset: u64, size: u8) -> u64 {
        let (me, lrs) = &mut self.cpus[by];
        let (value, kick) = self.vgic.gicd_read(me, lrs, offset, size).unwrap();
        let _ = self.note(kick);
        value
    }
    pub fn gicr_read(&mut self, by: usize, offset: u64) -> u64 {
        let (me, lrs) = &mut self.cpus[by];
        let (value, kick) = self.vgic.gicr_read(me, lrs, offset, 4).unwrap();
        let _ = self.note(kick);
        value
    }
    pub fn sgi(&mut self, by: usize, value: u64) -> VcpuSet {
        let (me, lrs) = &mut self.cpus[by];
        let kick = self.vgic.sgi1r(me, lrs, value);
        self.note(kick)
    }
    pub fn sgi0(&mut self, by: usize, value: u64) -> VcpuSet {
        let (me, lrs) = &mut self.cpus[by];
        let kick = self.vgic.sgi0r(me, lrs, value);
        self.note(kick)
    }
    /// `GICD_SGIR` of vCPU `by`.
    pub fn sgir(&mut self, by: usize, value: u64) -> VcpuSet {
        self.gicd_by(by, 0xf00, 4, value)
    }
    /// `GICC_DIR` of vCPU `by`, which traps.
    pub fn dir(&mut self, by: usize, id: u32) {
        let (me, lrs) = &mut self.cpus[by];
        let kick = self.vgic.gicc_write(me, lrs, 0, 4, id.into()).unwrap();
        let _ = self.note(kick);
    }
    pub fn hw(&mut self, by: usize, intid: u32) {
        let (me, lrs) = &mut self.cpus[by];
        let kick = self.vgic.inject_hw_ppi(me, lrs, IntId(intid));
        let _ = self.note(kick);
    }
    pub fn spi(&mut self, intid: u32, high: bool) -> VcpuSet {
        let kick = self.vgic.set_spi_level(IntId(intid), high);
        self.note(kick)
    }
    pub fn pulse(&mut self, intid: u32) -> VcpuSet {
        let kick = pulse(&self.vgic, intid);
        self.note(kick)
    }

    /// What the core does before it enters the guest, and at once again while maintenance is asserted.
    pub fn enter(&mut self, n: usize) {
        self.kicked = self.kicked.without(VcpuId(n as u8));
        for _ in 0..8 {
            let (me, lrs) = &mut self.cpus[n];
            let kick = if self.vgic.needs_delivery(me) {
                self.vgic.deliver(me, lrs)
            } else if lrs.maintenance() {
                self.vgic.maintenance(me, lrs)
            } else {
                lrs.check();
                return;
            };
            let _ = self.note(kick.without(VcpuId(n as u8)));
            self.note_deactivations(n);
        }
        panic!("vCPU {n} does not come to rest");
    }

    /// Keeps what vCPU `n` says that its core has to deactivate, for [`Guest::ended`].
    pub fn note_deactivations(&mut self, n: usize) {
        self.ended[n] |= self.cpus[n].0.take_deactivations();
    }

    /// Takes what core `n` was told to deactivate since the last time.
    pub fn ended(&mut self, n: usize) -> u32 {
        self.note_deactivations(n);
        core::mem::take(&mut self.ended[n])
    }

    /// Lets every kicked vCPU come by, and those with a maintenance interrupt.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            let due = (0..self.cpus.len())
                .filter(|&n| self.kicked.0 >> n & 1 != 0 || self.cpus[n].1.maintenance());
            let due: Vec<usize> = due.collect();
            if due.is_empty() {
                return;
            }
            for n in due {
                self.enter(n);
            }
        }
        panic!("kicks without end");
    }

    pub fn ack(&mut self, n: usize) -> u32 {
        self.settle();
        self.cpus[n].1.acknowledge()
    }

    pub fn end(&mut self, n: usize, intid: u32) {
        self.cpus[n].1.end(intid);
        self.settle();
    }
}
