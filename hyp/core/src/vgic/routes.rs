//! Which vCPU an SPI is for, and which vCPU has it in a list register: the part of the state that one lock guards.

use tessera_abi::layout::MAX_VCPUS;

use crate::addr::VcpuId;

/// Where SPIs go. A bit is an SPI: bit 0 is INTID 32.
pub(super) struct Routes {
    /// SPIs by the vCPU that is to take them. An SPI that no vCPU is to take is in none.
    routed: [u32; MAX_VCPUS],
    /// SPIs that a vCPU has in a list register, or had the last time it looked.
    held: [u32; MAX_VCPUS],
    /// All of `held` together.
    held_by_any: u32,
    /// What the guest wrote: `GICD_IROUTER<n>`, packed as Aff3.Aff2.Aff1.Aff0, or a byte of `GICD_ITARGETSR<n>`.
    written: [u32; 32],
}

impl Routes {
    /// As a reset leaves them: every SPI to vCPU 0, or, where not `routed`, to nobody.
    pub fn new(routed: bool) -> Self {
        let mut to = [0; MAX_VCPUS];
        to[0] = if routed { u32::MAX } else { 0 };
        Self { routed: to, held: [0; MAX_VCPUS], held_by_any: 0, written: [0; 32] }
    }

    /// SPIs routed to `vcpu`.
    #[inline]
    pub fn routed(&self, vcpu: VcpuId) -> u32 {
        self.routed[vcpu.0 as usize % MAX_VCPUS]
    }

    /// SPIs that `vcpu` holds.
    #[inline]
    pub fn held(&self, vcpu: VcpuId) -> u32 {
        self.held[vcpu.0 as usize % MAX_VCPUS]
    }

    /// Sets what `vcpu` holds.
    pub fn hold(&mut self, vcpu: VcpuId, spis: u32) {
        let held = &mut self.held[vcpu.0 as usize % MAX_VCPUS];
        // The usual case: no SPI came or went.
        if *held != spis {
            // One vCPU at most holds an SPI (see `free_for`), so what this one gives up nobody holds.
            self.held_by_any = self.held_by_any & !*held | spis;
            *held = spis;
        }
    }

    /// SPIs that any vCPU holds.
    #[inline]
    pub fn held_by_any(&self) -> u32 {
        self.held_by_any
    }

    /// SPIs that `vcpu` may take: routed to it and not held by another.
    pub fn free_for(&self, vcpu: VcpuId) -> u32 {
        self.routed(vcpu) & (!self.held_by_any() | self.held(vcpu))
    }

    /// What the guest wrote for SPI bit `n`.
    pub fn written(&self, n: u32) -> u32 {
        self.written[n as usize % 32]
    }

    /// Routes SPI bit `n` to the vCPU whose affinity is `affinity`, if one of the `vcpus` has it.
    pub fn set_affinity(&mut self, n: u32, affinity: u32, vcpus: usize) {
        self.written[n as usize % 32] = affinity;
        self.route(n, if (affinity as usize) < vcpus { affinity } else { u32::MAX });
    }

    /// Routes SPI bit `n` to one of the vCPUs of `targets`, a bit each: the lowest.
    pub fn set_targets(&mut self, n: u32, targets: u8) {
        self.written[n as usize % 32] = targets.into();
        self.route(n, targets.trailing_zeros());
    }

    /// Routes SPI bit `n` to vCPU `to`, or to nobody where there is no such vCPU.
    fn route(&mut self, n: u32, to: u32) {
        for (vcpu, routed) in (0..).zip(&mut self.routed) {
            let bit = 1 << (n % 32);
            *routed = if vcpu == to { *routed | bit } else { *routed & !bit };
        }
    }
}
