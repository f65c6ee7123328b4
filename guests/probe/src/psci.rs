//! PSCI and SMCCC.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::machine::Conduit;
use tessera_rt::report::{check, equal, skip};
use tessera_rt::{Machine, cpu, mrs, psci, smp, timer};

static SECOND: AtomicU64 = AtomicU64::new(0);

/// Runs the tests.
pub fn run(machine: &Machine) {
    equal("psci version is 1.1", psci::call(psci::VERSION, [0; 3]), 0x1_0001);
    if machine.tessera {
        let by_smc = psci::call_by(Conduit::Smc, psci::VERSION, [0; 3]);
        equal("psci version by smc is 1.1", by_smc, 0x1_0001);
    }
    if machine.cpus().len() < 2 {
        return skip("second cpu", "one CPU only");
    }
    equal("cpu_on of the second cpu", smp::start(machine, 1, second), 0);
    check("the second cpu runs", timer::wait_for(1_000_000, || SECOND.load(SeqCst) != 0));
    equal("it has its own mpidr", SECOND.load(SeqCst) & 0xff_00ff_ffff, machine.cpus()[1]);
    check("it goes off", smp::wait_off(machine, 1));
}

fn second(_: usize) {
    SECOND.store(mrs!("mpidr_el1"), SeqCst);
    cpu::dsb();
}
