//! HVC and SMC with anything in the registers, and CPUs started wrongly.

use tessera_rt::machine::Conduit;
use tessera_rt::psci::{self, AFFINITY_INFO, CPU_ON, call, call_all};
use tessera_rt::trap::attempt;
use tessera_rt::{Machine, exec, smp, timer};

use crate::fuzz;
use crate::tally::Tally;

/// PSCI functions that do what they say: CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, CPU_FREEZE,
/// CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND, SYSTEM_RESET2.
const OBEYED: [u64; 8] = [1, 2, 8, 9, 0xb, 0xc, 0xe, 0x12];
/// Kind of call and owner of PSCI functions, without the bit for 64 bits.
const PSCI: u64 = 0x8400_0000;
const RANDOM_CALLS: u64 = 5_000;

/// Attack 6.
pub fn garbage(machine: &Machine, tally: &mut Tally) {
    for conduit in [Conduit::Hvc, Conduit::Smc] {
        for owner in 0..64u64 {
            for number in 0..32 {
                for kind in [0, 1 << 30, 1 << 31, 3 << 30] {
                    try_call(tally, conduit, kind | owner << 24 | number);
                }
            }
        }
        for _ in 0..RANDOM_CALLS {
            let function = tally.random() >> tally.below(48);
            try_call(tally, conduit, function);
        }
    }
    for immediate in (0..=0xffff).step_by(if machine.tessera { 7 } else { 0x0fff }) {
        let unknown = 0xc6ff_ffff;
        tally.count(exec::run(0xd400_0002 | immediate << 5, unknown)); // HVC
        tally.count(exec::run(0xd400_0003 | immediate << 5, unknown)); // SMC
    }
}

/// Calls with garbage, but for functions that are obeyed.
pub fn try_call(tally: &mut Tally, conduit: Conduit, function: u64) {
    let psci = function as u32 as u64 & !(1 << 30) & !0xff == PSCI;
    if psci && OBEYED.contains(&(function & 0xff)) {
        return;
    }
    let mut x = [0; 18];
    let pattern = tally.below(4);
    for value in &mut x {
        *value = match pattern {
            0 => u64::MAX,
            1 => 0x0900_0000,
            2 => tally.random() >> tally.below(64),
            _ => tally.random(),
        };
    }
    x[0] = function;
    // A random CPU_ON could start a CPU at a random place: that is attack 24's.
    if psci && function & 0xff == 3 {
        x[1] |= 1 << 20;
    }
    let outcome = attempt(|| call_all(conduit, &x));
    if outcome.is_ok_and(|after| after[4..] != x[4..]) && function & 0x3f00_0000 == 0x0400_0000 {
        tally.complain("a call changed registers above x3, function", function, 0);
    }
    tally.count(outcome);
}

/// Attack 23. It ends with the second CPU in garbage, from where nothing brings it back.
pub fn cpus(machine: &Machine, tally: &mut Tally) {
    for target in (0..0x400).chain([1 << 31, 1 << 32, u64::MAX, 0x8000_0001]) {
        tally.step(|| call(AFFINITY_INFO, [target, 0, 0]));
        tally.step(|| call(AFFINITY_INFO, [target, target, 0]));
        if !machine.cpus().contains(&target) {
            tally.step(|| call(CPU_ON, [target, smp::entry(), 0]));
        }
    }
    let Some(second) = machine.cpus().get(1).copied() else { return };
    if call(AFFINITY_INFO, [second, 0, 0]) != 1 {
        return; // An earlier loop lost it.
    }
    if machine.tessera {
        for entry in [0, 1, 0x0800_0000, 0x0900_0000, machine.ram_end(), u64::MAX, 1 << 47] {
            let answer = call(CPU_ON, [second, entry, 0]);
            if answer != psci::INVALID_ADDRESS {
                tally.complain("cpu_on with an entry outside ram", entry, answer as u64);
            }
        }
    }
    for _ in 0..200 {
        tally.step(|| smp::start(machine, 1, |_| ()));
        if !smp::wait_off(machine, 1) {
            tally.complain("cpu_on or cpu_off", second, 0);
            break;
        }
    }
    tally.step(|| smp::start(machine, 1, |_| fuzz::get_lost()));
    timer::sleep(10_000);
    tally.step(|| call(CPU_ON, [second, smp::entry(), 0]));
}
