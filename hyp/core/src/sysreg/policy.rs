//! What traps while a guest runs: every bit of the EL2 control registers that is set, and those left clear on purpose.
//!
//! Rules, in this order. What is Tessera's (stage 2, interrupts, SMC) is taken. What a guest is told it does not have
//! traps, so that it is undefined there. All else runs on the core: while a vCPU has it, its cache maintenance, its debug
//! registers and its PMU hurt nobody. A core that several share adds to this, in EL2 (`shared`): WFI, WFE while others wait,
//! SIMD until its registers are here, debug registers and PMU until they are used; and maintenance reaches all cores. EL2's layout is the one without VHE (HCR_EL2.E2H clear), which
//! every core has. Bits: DDI 0487 D24.2, the register's own page.

use super::features::{CpuFeatures, Feature};

/// Whether a bit of the table is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// On every core.
    Always,
    /// On no core: the row says why.
    Never,
    /// On cores that have it; RES0 on others.
    Has(Feature),
}
use Feature::*;
use When::{Always, Has, Never};

/// A register of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(non_camel_case_types)] // The names of the manual.
#[allow(clippy::upper_case_acronyms)]
enum Reg {
    HCR_EL2,
    CPTR_EL2,
    MDCR_EL2,
    CNTHCTL_EL2,
    HCRX_EL2,
    MPAM2_EL2,
}
use Reg::*;

/// One bit.
struct Row {
    reg: Reg,
    bit: u8,
    when: When,
}

/// Makes rows out of `REGISTER { NAME bit when; }`; the names are for the reader.
macro_rules! traps {
    ($($reg:ident { $($name:ident $bit:literal $when:expr;)* })*) => {
        &[$($(Row { reg: $reg, bit: $bit, when: $when },)*)*]
    };
}

const TABLE: &[Row] = traps! {
    HCR_EL2 {
        // Stage 2 is on. SWIO makes a guest's invalidate by set/way clean too, so it cannot discard others' data.
        VM 0 Always; SWIO 1 Always;
        // A table walk never goes to a device, where a speculative read would have an effect.
        PTW 2 Always;
        // Physical FIQ, IRQ and SError are Tessera's; virtual ones take their place.
        FMO 3 Always; IMO 4 Always; AMO 5 Always;
        // A vCPU that owns its core never leaves it, so its barriers and its own invalidations need not reach others.
        FB 9 Never; BSU_INNER 10 Never;
        // It may sleep there, and a kick is an interrupt that wakes it.
        TWI 13 Never; TWE 14 Never;
        // ID registers are filtered; cache geometry (TID2) and chip revision (TID1) are the core's.
        TID1 16 Never; TID2 17 Never; TID3 18 Always;
        // SMC is answered by Tessera, never by the board's firmware.
        TSC 19 Always;
        // Registers of the core's maker, ACTLR_EL1 among them, act on the whole core.
        TIDCP 20 Always; TACR 21 Always;
        // Maintenance by set/way acts on this core's caches, which is what a guest means when it turns its caches off. It does
        // not reach those of a core on which a vCPU that shares cores ran before.
        TSW 22 Never;
        TPC 23 Never; TPU 24 Never; TTLB 25 Never; TVM 26 Never; TDZ 28 Never; TRVM 30 Never;
        // No host below EL2's own mode.
        TGE 27 Never; E2H 34 Never;
        // HVC is the guest's way to PSCI.
        HCD 29 Never;
        // EL1 is AArch64.
        RW 31 Always;
        TLOR 35 Has(OrderingRegions);
        // Error records are the board's. What the bus says of a guest's own access goes straight to the guest.
        TERR 36 Has(Ras); TEA 37 Never; FIEN 47 Never;
        TME 39 Never;
        // Keys and instructions of pointer authentication are the guest's own: bits clear would trap.
        APK 40 Has(PointerAuth); API 41 Has(PointerAuth);
        NV 42 Never; NV1 43 Never; AT 44 Never; NV2 45 Never;
        // Clear: SCXTNUM_ELx traps.
        EnSCXT 53 Never;
        // Clear: tag accesses trap; GMID_EL1 needs a bit of its own.
        ATA 56 Never; DCT 57 Never; TID5 58 Has(MemoryTags);
    }
    CPTR_EL2 {
        // RES1 without VHE.
        RES1_0 0 Always; RES1_1 1 Always; RES1_2 2 Always; RES1_3 3 Always; RES1_4 4 Always; RES1_5 5 Always;
        RES1_6 6 Always; RES1_7 7 Always; RES1_9 9 Always; RES1_13 13 Always;
        // SVE and SME; RES1 on cores without.
        TZ 8 Always; TSM 12 Always;
        // FP and SIMD are the guests': EL2 has no use for them.
        TFP 10 Never;
        TTA 20 Has(Trace);
        TAM 30 Has(ActivityMonitors);
        TCPAC 31 Never;
    }
    MDCR_EL2 {
        // HPMN, bits 4:0, is the number of counters: all are the guest's, none is EL2's (HPME clear).
        TPMCR 5 Never; TPM 6 Never; HPME 7 Never;
        // Self-hosted debug: its exceptions and registers stay at EL1.
        TDE 8 Never; TDA 9 Never; TDOSA 10 Never; TDRA 11 Never;
        // Profiling and trace buffers are addressed by EL1 only with E2PB and E2TB set: clear, they trap.
        E2PB_0 12 Never; E2PB_1 13 Never; TPMS 14 Has(Profiling);
        E2TB_0 24 Never; E2TB_1 25 Never; TTRF 19 Has(TraceFilter);
        // What EL2 does is not counted.
        HPMD 17 Has(PmuV3p1); HCCD 23 Has(PmuV3p5);
        TDCC 27 Never; MTPME 28 Never;
    }
    CNTHCTL_EL2 {
        // Clear: the physical counter and timer trap, since they have no offset (CNTPOFF_EL2 needs FEAT_ECV).
        EL1PCTEN 0 Never; EL1PCEN 1 Never;
        EVNTEN 2 Never; ECV 12 Never;
        // The virtual ones are the guest's, by CNTVOFF_EL2.
        EL1TVT 13 Never; EL1TVCT 14 Never;
    }
    HCRX_EL2 {
        // Clear: 64-byte accesses, memory copies, TCR2_EL1, SCTLR2_EL1, guarded stacks, 128-bit registers trap.
        EnALS 1 Never; MSCEn 11 Never; TCR2En 14 Never; SCTLR2En 15 Never; D128En 17 Never; GCSEn 22 Never;
        TALLINT 6 Has(Nmi);
    }
    MPAM2_EL2 {
        TRAPMPAM1EL1 48 Has(Mpam); TRAPMPAM0EL1 49 Has(Mpam);
    }
};

/// Values for the control registers of EL2 while a guest runs.
///
/// Zero wherever they exist, and to be written as such since reset leaves them unknown: ACTLR_EL2, TRFCR_EL2
/// (FEAT_TRF), PMSCR_EL2 (FEAT_SPE), BRBCR_EL2 (FEAT_BRBE), and all fine-grained traps (HFGRTR, HFGWTR, HFGITR, HDFGRTR
/// and HDFGWTR_EL2 of FEAT_FGT, their second halves of FEAT_FGT2, HAFGRTR_EL2 of FEAT_FGT with FEAT_AMUv1). Zero in a
/// fine-grained trap leaves old registers alone and traps those whose bit is named `nREG`: just the new ones that no
/// guest is told about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapRegs {
    /// HCR_EL2.
    pub hcr: u64,
    /// CPTR_EL2.
    pub cptr: u64,
    /// MDCR_EL2.
    pub mdcr: u64,
    /// HSTR_EL2: AArch32 EL0 has no coprocessor register that EL1 does not rule.
    pub hstr: u64,
    /// CNTHCTL_EL2.
    pub cnthctl: u64,
    /// HCRX_EL2, where it exists.
    pub hcrx: Option<u64>,
    /// MPAM2_EL2, where it exists.
    pub mpam2: Option<u64>,
    /// Which of the registers that are zero exist.
    pub features: CpuFeatures,
}

/// What to write on a core with these features.
pub fn policy(features: &CpuFeatures) -> TrapRegs {
    let value = |reg: Reg| {
        TABLE.iter().filter(|row| row.reg == reg).fold(0, |value, row| {
            let set = match row.when {
                Always => true,
                Never => false,
                Has(feature) => features.has(feature),
            };
            value | u64::from(set) << row.bit
        })
    };
    TrapRegs {
        hcr: value(HCR_EL2),
        cptr: value(CPTR_EL2),
        mdcr: value(MDCR_EL2) | u64::from(features.counters & 31),
        hstr: 0,
        cnthctl: value(CNTHCTL_EL2),
        hcrx: features.has(Hcrx).then(|| value(HCRX_EL2)),
        mpam2: features.has(Mpam).then(|| value(MPAM2_EL2)),
        features: *features,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cortex_a72_gets_what_every_core_gets() {
        let dfr0 = |reg| if reg == crate::id_regs::reg::ID_AA64DFR0_EL1 { 0x1030_5106 } else { 0 };
        let regs = policy(&CpuFeatures::from_hw(dfr0, 6 << 11));
        assert_eq!(regs.hcr, 0x803c_003f);
        assert_eq!(regs.cptr, 0x33ff);
        assert_eq!(regs.mdcr, 6);
        assert_eq!(regs.cnthctl, 0);
        assert_eq!((regs.hcrx, regs.mpam2), (None, None));
    }

    #[test]
    fn a_core_with_everything_traps_what_guests_do_not_have() {
        let regs = policy(&CpuFeatures::from_hw(|_| 0x6666_6666_6666_6666, 31 << 11));
        assert_eq!(regs.hcr, 0x0400_0318_803c_003f);
        assert_eq!(regs.cptr, 0x4010_33ff);
        assert_eq!(regs.mdcr, 0x008a_401f);
        assert_eq!(regs.hcrx, Some(1 << 6));
        assert_eq!(regs.mpam2, Some(3 << 48));
    }

    #[test]
    fn no_bit_is_named_twice() {
        for (n, row) in TABLE.iter().enumerate() {
            let twin = TABLE.iter().skip(n + 1).find(|r| r.reg == row.reg && r.bit == row.bit);
            assert!(twin.is_none() && row.bit < 64, "{:?} bit {}", row.reg, row.bit);
        }
    }
}
