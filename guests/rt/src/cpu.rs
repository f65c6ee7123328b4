//! System registers, barriers and the interrupt mask.
#![allow(unsafe_code, reason = "registers and barriers are reached by instructions only")]

/// Reads a system register by name or by its generic name (`S3_0_C0_C0_0`).
#[macro_export]
macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: MRS changes no memory; where the register is not there, the vectors take the exception.
        #[allow(unsafe_code, reason = "a system register is read by an instruction only")]
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack))
        };
        value
    }};
}

/// Writes a system register by name or by its generic name, and synchronises.
#[macro_export]
macro_rules! msr {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the run-time leaves these registers to the guest; none written through here takes memory away from Rust.
        #[allow(unsafe_code, reason = "a system register is written by an instruction only")]
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack))
        };
    }};
}

macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: the instruction orders or waits, and changes no state of Rust.
            unsafe { core::arch::asm!($text, options(nostack)) };
        }
    };
}

instruction!(
    /// Instruction synchronisation barrier.
    isb,
    "isb"
);
instruction!(
    /// Waits until all earlier accesses are done, everywhere.
    dsb,
    "dsb sy"
);
instruction!(
    /// Lets who else wants to run do so, where there is more than one to a core.
    give_way,
    "yield"
);
instruction!(
    /// Waits for an interrupt, masked or not.
    wfi,
    "wfi"
);
instruction!(
    /// Waits for an event.
    wfe,
    "wfe"
);
instruction!(
    /// Sends an event to all CPUs.
    sev,
    "sev"
);
instruction!(
    /// Masks IRQ.
    irq_mask,
    "msr daifset, #2"
);
instruction!(
    /// Unmasks IRQ, and lets one that waits happen here.
    irq_unmask,
    "msr daifclr, #2\nisb"
);

/// Runs `code` with IRQ unmasked.
pub fn with_irqs<R>(code: impl FnOnce() -> R) -> R {
    irq_unmask();
    let result = code();
    irq_mask();
    result
}

/// The number of this CPU here (0 is the boot CPU), which the start code put into TPIDR_EL1.
pub fn this() -> usize {
    mrs!("tpidr_el1") as usize & (crate::machine::MAX_CPUS - 1)
}

/// Affinity of this CPU: MPIDR_EL1 without its flag bits.
pub fn affinity() -> u64 {
    mrs!("mpidr_el1") & 0xff_00ff_ffff
}
