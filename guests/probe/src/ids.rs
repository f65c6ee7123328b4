//! What the CPU says that it is.

use tessera_rt::report::{check, equal, skip};
use tessera_rt::{Machine, exec, gic, mrs};

/// MIDR_EL1 without variant and revision.
const PART: u64 = 0xff0f_fff0;
const CORTEX_A72: u64 = 0x410f_d080;

/// Runs the tests.
pub fn run(machine: &Machine) {
    check("midr has an implementer and a part", mrs!("midr_el1") & PART != 0);
    let mpidr = mrs!("mpidr_el1");
    check("mpidr has its res1 bit", mpidr & 1 << 31 != 0);
    equal("mpidr is the device tree's", mpidr & 0xff_00ff_ffff, machine.cpus()[0]);
    equal("currentel is el1", mrs!("CurrentEL"), 1 << 2);
    if !lacks_extensions(machine) {
        return skip("feature fields", "nobody hides what this CPU has");
    }
    hidden();
    shown();
}

/// Whether the machine has no extension that guests do not get: under Tessera, and on the plainest of CPUs without it.
pub fn lacks_extensions(machine: &Machine) -> bool {
    machine.tessera || mrs!("midr_el1") & PART == CORTEX_A72
}

fn field(value: u64, lowest: u32) -> u64 {
    value >> lowest & 0xf
}

fn hidden() {
    let pfr0 = mrs!("id_aa64pfr0_el1");
    equal("no el2", field(pfr0, 8), 0);
    equal("no ras", field(pfr0, 28), 0);
    equal("no sve", field(pfr0, 32), 0);
    equal("no secure el2", field(pfr0, 36), 0);
    equal("no mpam", field(pfr0, 40), 0);
    equal("no activity monitors", field(pfr0, 44), 0);
    let pfr1 = mrs!("id_aa64pfr1_el1");
    equal("no mte", field(pfr1, 8), 0);
    equal("no ras fraction", field(pfr1, 12), 0);
    equal("no sme", field(pfr1, 24), 0);
    equal("zfr0 is 0", mrs!("S3_0_C0_C4_4"), 0);
    equal("smfr0 is 0", mrs!("S3_0_C0_C4_5"), 0);
    equal("no nested virtualization", field(mrs!("id_aa64mmfr2_el1"), 24), 0);
    let dfr0 = mrs!("id_aa64dfr0_el1");
    equal("no trace registers", field(dfr0, 4), 0);
    equal("no statistical profiling", field(dfr0, 32), 0);
    equal("no trace filter", field(dfr0, 40), 0);
    equal("no trace buffer", field(dfr0, 44), 0);
    let reserved = exec::run(exec::mrs_x0(3, 0, 0, 7, 7), 1);
    check("a reserved id register reads 0", reserved == Ok(0));
}

fn shown() {
    let pfr0 = mrs!("id_aa64pfr0_el1");
    check("el1 is there", field(pfr0, 4) != 0);
    check("the gic has system registers, or not", (field(pfr0, 24) == 0) == gic::is_v2());
    check("floating point is there", field(pfr0, 16) != 0xf);
    let dfr0 = mrs!("id_aa64dfr0_el1");
    check("debug architecture is v8", field(dfr0, 0) >= 6);
    check("a pmu is there", (1..0xf).contains(&field(dfr0, 8)));
    check("4 KiB pages are there", field(mrs!("id_aa64mmfr0_el1"), 28) != 0xf);
    check("cache lines have a size", mrs!("ctr_el0") & 0xf != 0);
    check("the cache hierarchy can be read", mrs!("clidr_el1") & 7 != 0);
}
