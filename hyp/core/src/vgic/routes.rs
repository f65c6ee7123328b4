//! Which vCPU an SPI is for, and which vCPU has it in a list register: the part of the state that one lock guards.

use tessera_abi::layout::MAX_VCPUS;

use crate::addr::VcpuId;

/// Where SPIs go. A bit is an SPI: bit 0 is INTID 32.
pub(super) struct Routes {
    /// SPIs by the vCPU that their `GICD_IROUTER<n>` names. An SPI whose affinity no vCPU has is in none.
    routed: [u32; MAX_VCPUS],
    /// SPIs that a vCPU has in a list register, or had the last time it looked.
    held: [u32; MAX_VCPUS],
    /// All of `held` together.
    held_by_any: u32,
    /// `GICD_IROUTER<n>`, packed: Aff3.Aff2.Aff1.Aff0.
    affinity: [u32; 32],
}

impl Routes {
    /// As a reset leaves them: every SPI to vCPU 0.
    pub fn new() -> Self {
        let mut routed = [0; MAX_VCPUS];
        routed[0] = u32::MAX;
        Self { routed, held: [0; MAX_VCPUS], held_by_any: 0, affinity: [0; 32] }
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
            *held = spis;
            self.held_by_any = self.held.iter().fold(0, |all, held| all | held);
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

    /// `GICD_IROUTER<n>` of SPI bit `n`, packed.
    pub fn affinity(&self, n: u32) -> u32 {
        self.affinity[n as usize % 32]
    }

    /// Routes SPI bit `n` to the vCPU whose affinity is `affinity`, if one of the `vcpus` has it.
    pub fn set_affinity(&mut self, n: u32, affinity: u32, vcpus: usize) {
        self.affinity[n as usize % 32] = affinity;
        for (vcpu, routed) in self.routed.iter_mut().enumerate() {
            *routed &= !(1 << (n % 32));
            if vcpu == affinity as usize && vcpu < vcpus {
                *routed |= 1 << (n % 32);
            }
        }
    }
}
