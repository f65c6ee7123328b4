//! How this guest ends when it is done: each way is one that Tessera tells apart.

use tessera_rt::{Machine, exec, mrs, msr, println, psci};

/// Where nothing is.
const NOWHERE: u64 = 0x3000_0000;
/// SCTLR_EL1.M: without it stage 1 leads there all the same, and the fetch is refused by Tessera, again and again.
const MMU: u64 = 1 << 0;
/// BRK #0.
const BREAKPOINT: u32 = 0xd420_0000;

/// Ends as `rogue.end` on the command line says; with none, or an unknown one, the run-time switches the machine off.
pub fn run(machine: &Machine) {
    if let Some(how) = machine.arg("rogue.end") {
        by(how);
    }
}

/// Ends in the way of this name.
pub fn by(how: &str) {
    println!("ROGUE-ENDS {how}");
    match how {
        "off" => psci::off(),
        "reset" => psci::reset(),
        "warm-reset" => _ = psci::call(psci::SYSTEM_RESET2, [0; 3]),
        "cpus-off" => _ = psci::call(psci::CPU_OFF, [0; 3]),
        "lost-vectors" => {
            msr!("vbar_el1", NOWHERE);
            msr!("sctlr_el1", mrs!("sctlr_el1") & !MMU);
            tessera_rt::cpu::isb();
            let _ = exec::run(BREAKPOINT, 0);
        }
        "wait" => loop {
            tessera_rt::cpu::wfi();
        },
        "compute" => loop {
            core::hint::spin_loop();
        },
        _ => {}
    }
}
