//! What the core has that a trap bit depends on, read once from its ID registers.
//!
//! A trap bit of a feature that is not there is RES0, and its register may not exist, so the policy asks first.

use crate::exit::SysReg;
use crate::id_regs::reg;

/// An extension of the architecture that has a trap bit or a register of EL2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Feature {
    /// Pointer authentication (FEAT_PAuth).
    PointerAuth,
    /// Error records (FEAT_RAS).
    Ras,
    /// Scalable vectors (FEAT_SVE).
    Sve,
    /// Scalable matrices (FEAT_SME).
    Sme,
    /// Memory tags with all their registers (FEAT_MTE2).
    MemoryTags,
    /// Partitioning and monitoring of caches (FEAT_MPAM).
    Mpam,
    /// Activity monitors (FEAT_AMUv1).
    ActivityMonitors,
    /// System registers of a trace unit.
    Trace,
    /// Self-hosted trace control (FEAT_TRF).
    TraceFilter,
    /// Trace buffer (FEAT_TRBE).
    TraceBuffer,
    /// Branch records (FEAT_BRBE).
    BranchRecords,
    /// Statistical profiling (FEAT_SPE).
    Profiling,
    /// Limited ordering regions (FEAT_LOR).
    OrderingRegions,
    /// Non-maskable interrupts (FEAT_NMI).
    Nmi,
    /// HCRX_EL2 (FEAT_HCX).
    Hcrx,
    /// Fine-grained traps (FEAT_FGT).
    FineGrained,
    /// More of them (FEAT_FGT2).
    FineGrained2,
    /// A PMU that can be kept from counting at EL2 (FEAT_PMUv3p1).
    PmuV3p1,
    /// The same for its cycle counter (FEAT_PMUv3p5).
    PmuV3p5,
}

/// The core's extensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuFeatures {
    bits: u32,
    /// Event counters of the PMU, PMCR_EL0.N.
    pub counters: u8,
}

impl CpuFeatures {
    /// Reads them from the raw ID registers and PMCR_EL0 (0 where there is no PMU).
    pub fn from_hw(read: impl Fn(SysReg) -> u64, pmcr_el0: u64) -> Self {
        use Feature::*;
        let field = |reg: SysReg, shift: u32| read(reg) >> shift & 15;
        let (pfr0, pfr1) = (reg::ID_AA64PFR0_EL1, reg::ID_AA64PFR1_EL1);
        let (dfr0, isar1, isar2) =
            (reg::ID_AA64DFR0_EL1, reg::ID_AA64ISAR1_EL1, reg::ID_AA64ISAR2_EL1);
        let (mmfr0, mmfr1) = (reg::ID_AA64MMFR0_EL1, reg::ID_AA64MMFR1_EL1);
        let pauth = field(isar1, 4) | field(isar1, 8) | field(isar2, 12);
        let pmu = Some(field(dfr0, 8)).filter(|&version| version != 15).unwrap_or(0);
        let present = [
            (PointerAuth, pauth != 0),
            (Ras, field(pfr0, 28) != 0),
            (Sve, field(pfr0, 32) != 0),
            (Sme, field(pfr1, 24) != 0),
            (MemoryTags, field(pfr1, 8) >= 2),
            (Mpam, field(pfr0, 40) != 0 || field(pfr1, 16) != 0),
            (ActivityMonitors, field(pfr0, 44) != 0),
            (Trace, field(dfr0, 4) != 0),
            (TraceFilter, field(dfr0, 40) != 0),
            (TraceBuffer, field(dfr0, 44) != 0),
            (BranchRecords, field(dfr0, 52) != 0),
            (Profiling, field(dfr0, 32) != 0),
            (OrderingRegions, field(mmfr1, 16) != 0),
            (Nmi, field(pfr1, 36) != 0),
            (Hcrx, field(mmfr1, 40) != 0),
            (FineGrained, field(mmfr0, 56) != 0),
            (FineGrained2, field(mmfr0, 56) >= 2),
            (PmuV3p1, pmu >= 4),
            (PmuV3p5, pmu >= 6),
        ];
        let counters = if pmu == 0 { 0 } else { (pmcr_el0 >> 11 & 31) as u8 };
        present
            .into_iter()
            .filter(|&(_, there)| there)
            .fold(Self { bits: 0, counters }, |all, (feature, _)| all.with(feature))
    }

    /// The same with one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self { bits: self.bits | 1 << feature as u32, ..self }
    }

    /// Whether the core has it.
    pub const fn has(self, feature: Feature) -> bool {
        self.bits & 1 << feature as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cortex_a72_has_none_of_them_but_counters() {
        let read = |r: SysReg| match r {
            reg::ID_AA64PFR0_EL1 => 0x2222,
            reg::ID_AA64DFR0_EL1 => 0x1030_5106,
            reg::ID_AA64MMFR0_EL1 => 0x1124,
            _ => 0,
        };
        let features = CpuFeatures::from_hw(read, 0x4102_3000);
        assert_eq!(features, CpuFeatures { bits: 0, counters: 6 });
    }

    #[test]
    fn a_pmu_of_the_makers_own_has_no_counters_that_we_know() {
        let features = CpuFeatures::from_hw(|_| 0xf00, 0xf800);
        assert_eq!(features.counters, 0);
        assert!(!features.has(Feature::PmuV3p1));
    }

    #[test]
    fn a_core_with_everything_has_them_all() {
        let features = CpuFeatures::from_hw(|_| 0x6666_6666_6666_6666, 0);
        assert_eq!(features.bits, (1 << (Feature::PmuV3p5 as u32 + 1)) - 1);
    }
}
