//! The table of what a guest may see: register, field, lowest bit, policy. A field that is not here reads as zero.
//!
//! Fields and values: DDI 0487 D24.2, "ID_..._EL1"; AArch32 registers G8.2. Rows of one register stay together.

use super::Field;
use super::Policy::{Any, Hide, Signed, Standard, UpTo};

/// Makes rows out of `REGISTER (CRm, op2) { FIELD bit policy; }`; the names are for the reader.
macro_rules! fields {
    ($($register:ident ($crm:literal, $op2:literal) {
        $($field:ident $shift:literal $policy:expr;)*
    })*) => {
        &[$($(Field { place: $crm * 8 + $op2, shift: $shift, policy: $policy },)*)*]
    };
}

pub(super) const FIELDS: &[Field] = fields! {
    // AArch32, for programs at EL0. Its features end with Armv8, so most fields pass as they are.
    ID_PFR0 (1, 0) {
        State0 0 Any; State1 4 Any; State2 8 Any; State3 12 Any; CSV2 16 UpTo(1); AMU 20 Hide; DIT 24 UpTo(1);
        RAS 28 Hide;
    }
    ID_PFR1 (1, 1) {
        ProgMod 0 Any; Security 4 Hide; MProgMod 8 Any; Virtualization 12 Hide; GenTimer 16 UpTo(1);
        Sec_frac 20 Hide; Virt_frac 24 Hide; GIC 28 UpTo(1);
    }
    ID_DFR0 (1, 2) {
        CopDbg 0 UpTo(9); CopSDbg 4 Hide; MMapDbg 8 Hide; CopTrc 12 Hide; MMapTrc 16 Hide; MProfDbg 20 Hide;
        PerfMon 24 Standard(6); TraceFilt 28 Hide;
    }
    ID_MMFR0 (1, 4) {
        VMSA 0 Any; PMSA 4 Any; OuterShr 8 Any; ShareLvl 12 Any; TCM 16 Any; AuxReg 20 Any; FCSE 24 Any;
        InnerShr 28 Any;
    }
    ID_MMFR1 (1, 5) {
        L1HvdVA 0 Any; L1UniVA 4 Any; L1HvdSW 8 Any; L1UniSW 12 Any; L1Hvd 16 Any; L1Uni 20 Any; L1TstCln 24 Any;
        BPred 28 Any;
    }
    ID_MMFR2 (1, 6) {
        L1HvdFG 0 Any; L1HvdBG 4 Any; L1HvdRng 8 Any; HvdTLB 12 Any; UniTLB 16 Any; MemBarr 20 Any; WFIStall 24 Any;
        HWAccFlg 28 Any;
    }
    ID_MMFR3 (1, 7) {
        CMaintVA 0 Any; CMaintSW 4 Any; BPMaint 8 Any; MaintBcst 12 Any; PAN 16 Any; CohWalk 20 Any; CMemSz 24 Any;
        Supersec 28 Any;
    }
    ID_ISAR0 (2, 0) {
        Swap 0 Any; BitCount 4 Any; BitField 8 Any; CmpBranch 12 Any; Coproc 16 Any; Debug 20 Any; Divide 24 Any;
    }
    ID_ISAR1 (2, 1) {
        Endian 0 Any; Except 4 Any; Except_AR 8 Any; Extend 12 Any; IfThen 16 Any; Immediate 20 Any;
        Interwork 24 Any; Jazelle 28 Any;
    }
    ID_ISAR2 (2, 2) {
        LoadStore 0 Any; MemHint 4 Any; MultiAccessInt 8 Any; Mult 12 Any; MultS 16 Any; MultU 20 Any; PSR_AR 24 Any;
        Reversal 28 Any;
    }
    ID_ISAR3 (2, 3) {
        Saturate 0 Any; SIMD 4 Any; SVC 8 Any; SynchPrim 12 Any; TabBranch 16 Any; T32Copy 20 Any; TrueNOP 24 Any;
        T32EE 28 Any;
    }
    ID_ISAR4 (2, 4) {
        Unpriv 0 Any; WithShifts 4 Any; Writeback 8 Any; SMC 12 Any; Barrier 16 Any; SynchPrim_frac 20 Any;
        PSR_M 24 Any; SWP_frac 28 Any;
    }
    ID_ISAR5 (2, 5) {
        SEVL 0 UpTo(1); AES 4 UpTo(2); SHA1 8 UpTo(1); SHA2 12 UpTo(1); CRC32 16 UpTo(1); RDM 24 UpTo(1);
        VCMA 28 UpTo(1);
    }
    ID_MMFR4 (2, 6) {
        SpecSEI 0 Hide; AC2 4 UpTo(1); XNX 8 Hide; CnP 12 UpTo(1); HPDS 16 UpTo(2); LSM 20 UpTo(1); CCIDX 24 UpTo(1);
        EVT 28 Hide;
    }
    ID_ISAR6 (2, 7) {
        JSCVT 0 UpTo(1); DP 4 UpTo(1); FHM 8 UpTo(1); SB 12 UpTo(1); SPECRES 16 UpTo(1); BF16 20 UpTo(1);
        I8MM 24 UpTo(1);
    }
    MVFR0 (3, 0) {
        SIMDReg 0 Any; FPSP 4 Any; FPDP 8 Any; FPTrap 12 Any; FPDivide 16 Any; FPSqrt 20 Any; FPShVec 24 Any;
        FPRound 28 Any;
    }
    MVFR1 (3, 1) {
        FPFtZ 0 Any; FPDNaN 4 Any; SIMDLS 8 Any; SIMDInt 12 Any; SIMDSP 16 Any; SIMDHP 20 Any; FPHP 24 Any;
        SIMDFMAC 28 Any;
    }
    MVFR2 (3, 2) { SIMDMisc 0 Any; FPMisc 4 Any; }
    ID_PFR2 (3, 4) { CSV3 0 UpTo(1); SSBS 4 UpTo(1); RAS_frac 8 Hide; }
    ID_DFR1 (3, 5) { MTPMU 0 Hide; HPMN0 4 Hide; }
    ID_MMFR5 (3, 6) { ETS 0 UpTo(1); nTLBPA 4 UpTo(1); }

    // AArch64: exception levels, FP, and what the core is protected against.
    ID_AA64PFR0 (4, 0) {
        EL0 0 UpTo(2);
        // A guest's EL1 is AArch64 (HCR_EL2.RW), there is no EL2 for it, and EL3 is not its business.
        EL1 4 UpTo(1); EL2 8 Hide; EL3 12 Hide;
        FP 16 Signed(1); AdvSIMD 20 Signed(1);
        // System registers of GICv3; direct injection (GICv4.1) is not for guests.
        GIC 24 UpTo(1);
        RAS 28 Hide; SVE 32 Hide; SEL2 36 Hide; MPAM 40 Hide; AMU 44 Hide;
        DIT 48 UpTo(1); RME 52 Hide;
        // From 2 on there is SCXTNUM_ELx, which would have to be kept for each vCPU.
        CSV2 56 UpTo(1);
        CSV3 60 UpTo(1);
    }
    ID_AA64PFR1 (4, 1) {
        BT 0 UpTo(1); SSBS 4 UpTo(2);
        MTE 8 Hide; RAS_frac 12 Hide; MPAM_frac 16 Hide; SME 24 Hide; RNDR_trap 28 Hide; CSV2_frac 32 Hide;
        NMI 36 Hide; MTE_frac 40 Hide; GCS 44 Hide; THE 48 Hide; MTEX 52 Hide; DF2 56 Hide; PFAR 60 Hide;
    }
    // Debug: breakpoints, watchpoints and the PMU are the guest's own; tracing and profiling buffers are not.
    ID_AA64DFR0 (5, 0) {
        // Armv8.4 is the last version without registers that need a hypervisor's consent.
        DebugVer 0 UpTo(9);
        TraceVer 4 Hide;
        // PMUv3 for Armv8.5: from 8.8 on counters can be given away one by one.
        PMUVer 8 Standard(6);
        BRPs 12 Any; PMSS 16 Hide; WRPs 20 Any; SEBEP 24 Hide; CTX_CMPs 28 Any; PMSVer 32 Hide;
        DoubleLock 36 Signed(0);
        TraceFilt 40 Hide; TraceBuffer 44 Hide; MTPMU 48 Hide; BRBE 52 Hide; ExtTrcBuff 56 Hide; HPMN0 60 Hide;
    }
    // Instructions without any state of their own.
    ID_AA64ISAR0 (6, 0) {
        AES 4 UpTo(2); SHA1 8 UpTo(1); SHA2 12 UpTo(2); CRC32 16 UpTo(1); Atomic 20 UpTo(3);
        // Transactional memory: HCR_EL2.TME is off.
        TME 24 Hide;
        RDM 28 UpTo(1); SHA3 32 UpTo(1); SM3 36 UpTo(1); SM4 40 UpTo(1); DP 44 UpTo(1); FHM 48 UpTo(1);
        TS 52 UpTo(2); TLB 56 UpTo(2); RNDR 60 UpTo(1);
    }
    ID_AA64ISAR1 (6, 1) {
        DPB 0 UpTo(2);
        // Pointer authentication up to FPACCOMBINE; keys are the guest's own (HCR_EL2.APK and API).
        APA 4 UpTo(5); API 8 UpTo(5);
        JSCVT 12 UpTo(1); FCMA 16 UpTo(1); LRCPC 20 UpTo(3); GPA 24 UpTo(1); GPI 28 UpTo(1); FRINTTS 32 UpTo(1);
        SB 36 UpTo(1); SPECRES 40 UpTo(1); BF16 44 UpTo(2); DGH 48 UpTo(1); I8MM 52 UpTo(1); XS 56 UpTo(1);
        // 64-byte loads and stores: HCRX_EL2.EnALS is off.
        LS64 60 Hide;
    }
    ID_AA64ISAR2 (6, 2) {
        WFxT 0 UpTo(2); RPRES 4 UpTo(1); GPA3 8 UpTo(1); APA3 12 UpTo(5);
        // Memory copy instructions: HCRX_EL2.MSCEn is off.
        MOPS 16 Hide;
        BC 20 UpTo(1); PAC_frac 24 UpTo(1); CLRBHB 28 UpTo(1);
        SYSREG_128 32 Hide; SYSINSTR_128 36 Hide; PRFMSLC 40 Hide;
        RPRFM 48 UpTo(1); CSSC 52 UpTo(1);
        LUT 56 Hide; ATS1A 60 Hide;
    }
    // Memory.
    ID_AA64MMFR0 (7, 0) {
        // No guest's IPA space is larger than 40 bits.
        PARange 0 UpTo(2);
        ASIDBits 4 UpTo(2); BigEnd 8 UpTo(1); SNSMem 12 Hide; BigEndEL0 16 UpTo(1);
        // Granules, less the 52-bit variants of the smaller ones.
        TGran16 20 UpTo(1); TGran64 24 Signed(0); TGran4 28 Signed(0);
        TGran16_2 32 Hide; TGran64_2 36 Hide; TGran4_2 40 Hide;
        ExS 44 UpTo(1); FGT 56 Hide;
        // CNTPCTSS and CNTVCTSS; CNTPOFF_EL2 (2) is not for guests.
        ECV 60 UpTo(1);
    }
    ID_AA64MMFR1 (7, 1) {
        HAFDBS 0 UpTo(2); VMIDBits 4 Hide; VH 8 Hide; HPDS 12 UpTo(2); LO 16 Hide; PAN 20 UpTo(3); SpecSEI 24 Hide;
        XNX 28 Hide; TWED 32 Hide; ETS 36 UpTo(3); HCX 40 Hide; AFP 44 UpTo(1); nTLBPA 48 UpTo(1);
        TIDCP1 52 Hide; CMOW 56 Hide; ECBHB 60 UpTo(1);
    }
    ID_AA64MMFR2 (7, 2) {
        CnP 0 UpTo(1); UAO 4 UpTo(1); LSM 8 UpTo(1);
        // Part of RAS.
        IESB 12 Hide;
        VARange 16 UpTo(1); CCIDX 20 UpTo(1); NV 24 Hide; ST 28 UpTo(1); AT 32 UpTo(1); IDS 36 UpTo(1); FWB 40 Hide;
        TTL 48 UpTo(1); BBM 52 UpTo(2); EVT 56 Hide; E0PD 60 UpTo(1);
    }
    // Nothing of these: SVE, SME and FP8 features, TCR2, SCTLR2, permission indirection and overlays, MEC, D128,
    // more debug registers, auxiliary features.
};
