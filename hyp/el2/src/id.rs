//! The core's ID registers, read by their encoding.

use tessera_core::exit::SysReg;

use crate::sysreg::mrs;

/// Every register of the ID space, so that one new to the assembler is read like any other.
macro_rules! id_space {
    ($reg:expr; $($crm:literal: $($op2:literal)*;)*) => {
        match ($reg.crm(), $reg.op2()) {
            $($(($crm, $op2) => mrs!(concat!("s3_0_c0_c", $crm, "_", $op2)),)*)*
            _ => 0,
        }
    };
}

/// Reads a register of the ID space (op0 3, op1 0, CRn 0, CRm 1 to 7). What is not allocated reads as zero
/// (DDI 0487 D23.3.1).
pub fn read(reg: SysReg) -> u64 {
    id_space!(reg;
        1: 0 1 2 3 4 5 6 7;
        2: 0 1 2 3 4 5 6 7;
        3: 0 1 2 3 4 5 6 7;
        4: 0 1 2 3 4 5 6 7;
        5: 0 1 2 3 4 5 6 7;
        6: 0 1 2 3 4 5 6 7;
        7: 0 1 2 3 4 5 6 7;
    )
}

/// Whether the core has an architected PMU (ID_AA64DFR0_EL1.PMUVer, DDI 0487 D24.2.60).
pub fn has_pmu() -> bool {
    !matches!(mrs!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf)
}

/// Whether the core has FEAT_RAS (ID_AA64PFR0_EL1.RAS).
pub fn has_ras() -> bool {
    mrs!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

/// PMCR_EL0, or 0 where there is no PMU.
pub fn pmcr() -> u64 {
    if has_pmu() { mrs!("pmcr_el0") } else { 0 }
}

/// 256 bits of the core's own random numbers (RNDR, where ID_AA64ISAR0_EL1.RNDR says there are any), or `None` where it
/// has none or gives none in time (DDI 0487 D24.2.152).
pub fn random() -> Option<[u8; 32]> {
    /// How often to ask again: the generator may need a rest.
    const TRIES: u32 = 100;
    if mrs!("id_aa64isar0_el1") >> 60 == 0 {
        return None;
    }
    let mut bytes = [0; 32];
    for word in bytes.chunks_exact_mut(8) {
        let number = (0..TRIES).find_map(|_| random_word())?;
        word.copy_from_slice(&number.to_le_bytes());
    }
    Some(bytes)
}

/// RNDR, by its encoding. It sets Z where it has none.
fn random_word() -> Option<u64> {
    let (number, failed): (u64, u64);
    // SAFETY: reads a register that the caller has found to exist.
    unsafe {
        core::arch::asm!(
            "mrs {}, s3_3_c2_c4_0",
            "cset {}, eq",
            out(reg) number,
            out(reg) failed,
            options(nomem, nostack),
        );
    }
    (failed == 0).then_some(number)
}
