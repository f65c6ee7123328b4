//! SMCCC calls (DEN 0028) and PSCI (DEN 0022) by either conduit.
#![allow(unsafe_code, reason = "calls are instructions")]

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::machine::Conduit;

/// PSCI_VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// CPU_SUSPEND, SMC64.
pub const CPU_SUSPEND: u64 = 0xc400_0001;
/// CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON, SMC64.
pub const CPU_ON: u64 = 0xc400_0003;
/// AFFINITY_INFO, SMC64.
pub const AFFINITY_INFO: u64 = 0xc400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u64 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u64 = 0x8400_000a;
/// SYSTEM_RESET2, SMC64.
pub const SYSTEM_RESET2: u64 = 0xc400_0012;
/// SMCCC_VERSION.
pub const SMCCC_VERSION: u64 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const ARCH_FEATURES: u64 = 0x8000_0001;

/// NOT_SUPPORTED of both specifications.
pub const NOT_SUPPORTED: i64 = -1;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: i64 = -2;
/// ALREADY_ON.
pub const ALREADY_ON: i64 = -4;
/// INVALID_ADDRESS.
pub const INVALID_ADDRESS: i64 = -9;

static BY_SMC: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_conduit(conduit: Conduit) {
    BY_SMC.store(conduit == Conduit::Smc, Relaxed);
}

/// Calls with x0 to x17 as given and returns them as they are afterwards. The immediate is 0.
pub fn call_all(conduit: Conduit, x: &[u64; 18]) -> [u64; 18] {
    let mut x = *x;
    macro_rules! call {
        ($instruction:literal) => {
            // SAFETY: a call changes x0 to x17 at most (DEN 0028 2.6); what it does to memory it does outside Rust's.
            unsafe {
                asm!($instruction,
                    inlateout("x0") x[0], inlateout("x1") x[1], inlateout("x2") x[2], inlateout("x3") x[3],
                    inlateout("x4") x[4], inlateout("x5") x[5], inlateout("x6") x[6], inlateout("x7") x[7],
                    inlateout("x8") x[8], inlateout("x9") x[9], inlateout("x10") x[10], inlateout("x11") x[11],
                    inlateout("x12") x[12], inlateout("x13") x[13], inlateout("x14") x[14], inlateout("x15") x[15],
                    inlateout("x16") x[16], inlateout("x17") x[17])
            }
        };
    }
    match conduit {
        Conduit::Hvc => call!("hvc #0"),
        Conduit::Smc => call!("smc #0"),
    }
    x
}

/// Calls a function with up to three arguments by a given conduit; the result is x0.
pub fn call_by(conduit: Conduit, function: u64, args: [u64; 3]) -> i64 {
    let mut x = [0; 18];
    x[0] = function;
    x[1..4].copy_from_slice(&args);
    call_all(conduit, &x)[0] as i64
}

/// Calls by the conduit of the device tree. Results of 32-bit functions are sign-extended.
pub fn call(function: u64, args: [u64; 3]) -> i64 {
    let result = call_by(conduit(), function, args);
    if function & 1 << 30 == 0 { i64::from(result as i32) } else { result }
}

/// The conduit of the device tree.
pub fn conduit() -> Conduit {
    if BY_SMC.load(Relaxed) { Conduit::Smc } else { Conduit::Hvc }
}

/// Switches the machine off.
pub fn off() -> ! {
    call(SYSTEM_OFF, [0; 3]);
    halt()
}

/// Resets the machine.
pub fn reset() -> ! {
    call(SYSTEM_RESET, [0; 3]);
    halt()
}

static RESET_ON_DEATH: AtomicBool = AtomicBool::new(false);

/// A guest that dies resets the machine from now on, where it would have switched it off.
pub fn reset_on_death() {
    RESET_ON_DEATH.store(true, Relaxed);
}

/// The end of a guest that met what it did not expect.
pub fn died() -> ! {
    if RESET_ON_DEATH.load(Relaxed) { reset() } else { off() }
}

fn halt() -> ! {
    loop {
        crate::cpu::wfi();
    }
}
