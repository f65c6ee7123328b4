//! Instructions and registers that a guest does not have are undefined: ESR_EL1 says so, and ELR_EL1 where.

use tessera_rt::report::{same, skip};
use tessera_rt::trap::EC_UNKNOWN;
use tessera_rt::{Machine, exec, mrs};

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

/// Runs the tests.
pub fn run(machine: &Machine) {
    ABOVE.iter().for_each(|(what, instruction)| undefined(what, *instruction));
    undefined("udf is undefined", 0);
    if !machine.tessera && mrs!("id_aa64pfr0_el1") >> 32 & 0xf != 0 {
        return skip("hidden extensions", "this CPU has them, and nobody hides them");
    }
    HIDDEN.iter().for_each(|(what, instruction)| undefined(what, *instruction));
}

fn undefined(what: &str, instruction: u32) {
    let got = exec::run(instruction, 0).map_err(|fault| (fault.class(), fault.esr, fault.elr));
    same(what, got, Err((EC_UNKNOWN, 1 << 25, exec::place())));
}
