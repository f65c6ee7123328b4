//! Turning the board off or starting it anew, by its firmware or by the Raspberry Pi's power management, and telling a
//! host that runs it why.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use smccc::psci;
use tessera_core::addr::Pa;
use tessera_core::board::Conduit;
use tessera_core::smccc::FirmwareAnswers;

use crate::{barrier, memory};

static CONDUIT: AtomicU8 = AtomicU8::new(0);
static SEMIHOSTING: AtomicBool = AtomicBool::new(false);

/// Remembers how firmware is called, if there is any.
pub fn set_conduit(conduit: Option<Conduit>) {
    CONDUIT.store(conduit.map_or(0, |c| 1 + u8::from(c == Conduit::Hvc)), Ordering::Relaxed);
}

/// How firmware is called.
pub fn conduit() -> Option<Conduit> {
    match CONDUIT.load(Ordering::Relaxed) {
        0 => None,
        1 => Some(Conduit::Smc),
        _ => Some(Conduit::Hvc),
    }
}

/// Starts a core at physical address `entry` with `context` in x0.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Result<(), psci::error::Error> {
    match conduit() {
        Some(Conduit::Smc) => psci::cpu_on::<smccc::Smc>(mpidr, entry, context),
        Some(Conduit::Hvc) => psci::cpu_on::<smccc::Hvc>(mpidr, entry, context),
        None => Err(psci::error::Error::NotSupported),
    }
}

/// Calls SMCCC function `id` with `x1` for a guest.
pub fn firmware_call(id: u32, x1: u64) {
    let _ = smc(id, x1);
}

/// What firmware says to SMCCC_ARCH_FEATURES about the workarounds (DEN 0028 7.3). Asked only where PSCI 1.0 or later
/// says that it knows SMCCC_VERSION (DEN 0028 6.1).
pub fn firmware_answers() -> FirmwareAnswers {
    const ARCH_FEATURES: u32 = 0x8000_0001;
    const SMCCC_VERSION: u32 = 0x8000_0000;
    const PSCI_FEATURES: u32 = 0x8400_000a;
    let not_supported = |answer: Option<i32>| answer.is_none_or(|answer| answer < 0);
    if not_supported(smc(PSCI_FEATURES, SMCCC_VERSION.into())) {
        return FirmwareAnswers::NONE;
    }
    let ask = |workaround: u32| smc(ARCH_FEATURES, workaround.into()).unwrap_or(-1);
    FirmwareAnswers {
        workaround_1: ask(0x8000_8000),
        workaround_2: ask(0x8000_7fff),
        workaround_3: ask(0x8000_3fff),
    }
}

/// An SMC to firmware, where there is any: without EL3 it would be undefined, or worse.
fn smc(id: u32, x1: u64) -> Option<i32> {
    (conduit() == Some(Conduit::Smc))
        .then(|| smccc::smc32(id, [x1 as u32, 0, 0, 0, 0, 0, 0])[0] as i32)
}

/// The BCM2835's power management, which the BCM2711 still has (Linux drivers/watchdog/bcm2835_wdt.c; there is no public
/// manual): a watchdog whose end starts the board anew, and a word that tells the firmware with what.
mod pm {
    pub const RSTC: u64 = 0x1c;
    pub const RSTS: u64 = 0x20;
    pub const WDOG: u64 = 0x24;
    /// Each write has it, in bits 31:24.
    pub const PASSWORD: u32 = 0x5a00_0000;
    pub const PASSWORD_FIELD: u32 = 0xff00_0000;
    /// RSTC: what the watchdog does, and everything anew.
    pub const RSTC_WRCFG: u32 = 0b11 << 4;
    pub const RSTC_FULL_RESET: u32 = 0b10 << 4;
    /// RSTS: the partition to start from is spread over every other bit; number 63 is none, so that the board halts.
    pub const RSTS_PARTITION: u32 = 0x555;
    /// Ticks of 1/65536 s until the watchdog bites.
    pub const TICKS: u32 = 10;
}

/// Where the power management's registers are in EL2's address space; 0 where the board has none.
static PM: AtomicU64 = AtomicU64::new(0);

/// Remembers the power management's registers, mapped.
pub fn set_watchdog(registers: Pa) {
    PM.store(memory::direct(registers), Ordering::Relaxed);
}

/// Has the watchdog start the board anew, or halt it. Returns where there is no watchdog.
fn bite(halt: bool) {
    let at = PM.load(Ordering::Relaxed);
    if at == 0 {
        return;
    }
    let read = |offset| {
        // SAFETY: a register of the board's power management, mapped as a device; it touches no memory.
        unsafe { core::ptr::read_volatile((at + offset) as *const u32) }
    };
    let write = |offset, value: u32| {
        // SAFETY: as for the load.
        unsafe { core::ptr::write_volatile((at + offset) as *mut u32, pm::PASSWORD | value) }
    };
    let partition = if halt { pm::RSTS_PARTITION } else { 0 };
    let status = read(pm::RSTS) & !pm::PASSWORD_FIELD & !pm::RSTS_PARTITION;
    write(pm::RSTS, status | partition);
    write(pm::WDOG, pm::TICKS);
    let control = read(pm::RSTC) & !pm::PASSWORD_FIELD & !pm::RSTC_WRCFG;
    write(pm::RSTC, control | pm::RSTC_FULL_RESET);
    barrier::dsb_sy();
}

/// Turns the board off, or stops this core where nothing can.
pub fn off() -> ! {
    let _ = match conduit() {
        Some(Conduit::Smc) => psci::system_off::<smccc::Smc>(),
        Some(Conduit::Hvc) => psci::system_off::<smccc::Hvc>(),
        None => Ok(()),
    };
    bite(true);
    halt()
}

/// Starts the board anew, or stops this core where nothing can.
pub fn reset() -> ! {
    let _ = match conduit() {
        Some(Conduit::Smc) => psci::system_reset::<smccc::Smc>(),
        Some(Conduit::Hvc) => psci::system_reset::<smccc::Hvc>(),
        None => Ok(()),
    };
    bite(false);
    halt()
}

/// Stops this core for good.
pub fn halt() -> ! {
    loop {
        barrier::wfi();
    }
}

/// Whether a semihosting call was tried: an exception after that means nobody answers it.
pub fn semihosting_was_refused() -> bool {
    SEMIHOSTING.load(Ordering::Relaxed)
}

/// Ends with a failure that the caller of QEMU sees (exit status 1), by semihosting where it is enabled; else turns
/// the board off. Without semihosting HLT is undefined at EL2, which brings us to [`off`] by the vectors.
pub fn exit_with_failure() -> ! {
    /// SYS_EXIT_EXTENDED and ADP_Stopped_ApplicationExit (Arm semihosting 2.0, 6.8 and 6.7).
    const SYS_EXIT_EXTENDED: u64 = 0x20;
    const APPLICATION_EXIT: u64 = 0x2_0026;
    let block = [APPLICATION_EXIT, 1];
    SEMIHOSTING.store(true, Ordering::Relaxed);
    // SAFETY: the call reads the two words of `block` and does not return where somebody answers.
    unsafe {
        core::arch::asm!(
            "hlt #0xf000",
            inout("x0") SYS_EXIT_EXTENDED => _,
            in("x1") block.as_ptr(),
        );
    }
    off()
}
