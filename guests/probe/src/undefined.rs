//! Instructions and registers that a guest does not have are undefined: ESR_EL1 says so, and ELR_EL1 where.

use tessera_rt::report::{same, skip};
use tessera_rt::trap::{EC_SYSREG, EC_UNKNOWN};
use tessera_rt::{Machine, exec, mrs, msr};

use crate::ids;

/// Registers of EL2 and EL3: undefined at EL1 everywhere.
const ABOVE: [(&str, u32); 6] = [
    ("hcr_el2 is undefined", exec::mrs_x0(3, 4, 1, 1, 0)),
    ("vttbr_el2 is undefined", exec::msr_x0(3, 4, 2, 1, 0)),
    ("mdcr_el2 is undefined", exec::msr_x0(3, 4, 1, 1, 1)),
    ("ich_lr0_el2 is undefined", exec::mrs_x0(3, 4, 12, 12, 0)),
    ("sp_el1 is undefined at el1", exec::mrs_x0(3, 4, 4, 1, 0)),
    ("scr_el3 is undefined", exec::mrs_x0(3, 6, 1, 1, 0)),
];

/// Registers and instructions of extensions that guests do not get, whatever the CPU has.
const HIDDEN: [(&str, u32); 20] = [
    ("zcr_el1 (sve) is undefined", exec::mrs_x0(3, 0, 1, 2, 0)),
    ("rdvl (sve) is undefined", 0x04bf_5020),
    ("smcr_el1 (sme) is undefined", exec::mrs_x0(3, 0, 1, 2, 6)),
    ("svcr (sme) is undefined", exec::mrs_x0(3, 3, 4, 2, 2)),
    ("tpidr2_el0 (sme) is undefined", exec::mrs_x0(3, 3, 13, 0, 5)),
    ("smstart (sme) is undefined", 0xd503_477f),
    ("rgsr_el1 (mte) is undefined", exec::mrs_x0(3, 0, 1, 0, 5)),
    ("gcr_el1 (mte) is undefined", exec::mrs_x0(3, 0, 1, 0, 6)),
    ("tfsr_el1 (mte) is undefined", exec::mrs_x0(3, 0, 5, 6, 0)),
    ("gmid_el1 (mte) is undefined", exec::mrs_x0(3, 1, 0, 0, 4)),
    ("erridr_el1 (ras) is undefined", exec::mrs_x0(3, 0, 5, 3, 0)),
    ("errselr_el1 (ras) is undefined", exec::msr_x0(3, 0, 5, 3, 1)),
    ("erxstatus_el1 (ras) is undefined", exec::mrs_x0(3, 0, 5, 4, 2)),
    ("lorc_el1 (limited ordering regions) is undefined", exec::mrs_x0(3, 0, 10, 4, 3)),
    ("mpam1_el1 is undefined", exec::mrs_x0(3, 0, 10, 5, 0)),
    ("pmscr_el1 (profiling) is undefined", exec::mrs_x0(3, 0, 9, 9, 0)),
    ("trblimitr_el1 (trace buffer) is undefined", exec::mrs_x0(3, 0, 9, 11, 0)),
    ("trfcr_el1 (trace filter) is undefined", exec::mrs_x0(3, 0, 1, 2, 1)),
    ("trcprgctlr (trace unit) is undefined", exec::mrs_x0(2, 1, 0, 1, 0)),
    ("amcr_el0 (activity monitors) is undefined", exec::mrs_x0(3, 3, 13, 2, 0)),
];

/// ESR_ELx.IL: the instruction was 32 bits long.
const IL: u64 = 1 << 25;
/// CPACR_EL1: SVE, floating point and SME are left to EL1, so that what is undefined is undefined by a higher level.
const ALL_MINE: u64 = 3 << 24 | 3 << 20 | 3 << 16;

/// Runs the tests.
pub fn run(machine: &Machine) {
    ABOVE.iter().for_each(|(what, instruction)| undefined(what, *instruction));
    undefined("udf is undefined", 0);
    if !ids::lacks_extensions(machine) {
        return skip("hidden extensions", "nobody hides what this CPU has");
    }
    let cpacr = mrs!("cpacr_el1");
    msr!("cpacr_el1", ALL_MINE);
    HIDDEN.iter().for_each(|(what, instruction)| undefined(what, *instruction));
    msr!("cpacr_el1", cpacr);
}

fn undefined(what: &str, instruction: u32) {
    let got = exec::run(instruction, 0).map_err(|fault| (fault.class(), fault.esr, fault.elr));
    let mut want = (EC_UNKNOWN, IL, exec::place());
    if in_id_space(instruction) && mrs!("id_aa64mmfr2_el1") >> 36 & 0xf != 0 {
        // FEAT_IDST: the syndrome of such a read tells what was read (DDI 0487 D8.2, ID_AA64MMFR2_EL1.IDS).
        (want.0, want.1) = (EC_SYSREG, EC_SYSREG << 26 | IL | syndrome(instruction));
    }
    same(what, got, Err(want));
}

/// A read in the space of the ID registers: op0 = 3, op1 = 0, 1 or 3, CRn = 0.
fn in_id_space(instruction: u32) -> bool {
    instruction & 0xfff8_f000 == 0xd538_0000 && matches!(instruction >> 16 & 7, 0 | 1 | 3)
}

/// ESR_ELx.ISS of a trapped MRS (DDI 0487 D24.2.40).
fn syndrome(mrs: u32) -> u64 {
    let (op0, op1, op2) = (mrs >> 19 & 3, mrs >> 16 & 7, mrs >> 5 & 7);
    let (crn, crm, rt) = (mrs >> 12 & 15, mrs >> 8 & 15, mrs & 31);
    u64::from(op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | 1)
}
