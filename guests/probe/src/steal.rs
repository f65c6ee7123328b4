//! Stolen time (DEN 0057A): a guest that shares its cores is told how long others had them, and no other is.

use tessera_rt::mmio::{read64, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::psci::{ARCH_FEATURES, NOT_SUPPORTED, call};
use tessera_rt::report::{check, equal, same, skip, tessera_only};
use tessera_rt::trap::{EC_DATA, EC_FETCH, FSC_EXTERNAL, Fault, attempt};
use tessera_rt::{Machine, exec, timer};

const PV_TIME_FEATURES: u64 = 0xc500_0020;
const PV_TIME_ST: u64 = 0xc500_0021;
/// What nobody offers.
const PV_TIME_LPT: u64 = 0xc500_0022;
/// Bytes of a record.
const RECORD: u64 = 64;

/// Runs the tests.
pub fn run(machine: &Machine) {
    if !tessera_only(machine, "stolen time") {
        return;
    }
    let features = |function| call(PV_TIME_FEATURES, [function, 0, 0]);
    let found = call(ARCH_FEATURES, [PV_TIME_FEATURES, 0, 0]);
    if found == NOT_SUPPORTED {
        equal("without stolen time its features are not supported", features(PV_TIME_ST), found);
        equal("and there is no record", call(PV_TIME_ST, [0; 3]), found);
        return skip("stolen time", "nobody else has these cores");
    }
    equal("arch_features of pv_time_features", found, 0);
    equal("pv_time_features of the record", features(PV_TIME_ST), 0);
    equal("pv_time_features of itself", features(PV_TIME_FEATURES), 0);
    equal("pv_time_features of another clock", features(PV_TIME_LPT), NOT_SUPPORTED);
    let record = call(PV_TIME_ST, [0; 3]) as u64;
    check(
        "the record is aligned and not in ram",
        record.is_multiple_of(RECORD) && record < machine.ram_base,
    );
    equal("and where it was", call(PV_TIME_ST, [0; 3]) as u64, record);
    only_read(mmu::map(record, Kind::Normal, true));
}

fn only_read(record: u64) {
    equal("revision and attributes are 0", read64(record), 0);
    let (began, stolen) = (timer::now(), read64(record + 8));
    timer::sleep(2000);
    let (more, passed) = (read64(record + 8).wrapping_sub(stolen), timer::now() - began);
    // A tick more, for what is rounded.
    let nanoseconds = (passed + 1) * 1_000_000_000 / timer::frequency();
    check("no more is stolen than time passes", more <= nanoseconds);
    let told = |fault: Fault| (fault.class(), fault.status(), fault.far);
    let store = attempt(|| write64(record + 8, 0)).map_err(told);
    same("a store to it aborts", store, Err((EC_DATA, FSC_EXTERNAL, record + 8)));
    check("and changes nothing", read64(record + 8) >= stolen + more);
    let fetch = exec::call(record, 0).map(|_| ()).map_err(told);
    same("a fetch from it aborts", fetch, Err((EC_FETCH, FSC_EXTERNAL, record)));
}
