//! System registers by name.
//!
//! Two macros instead of a crate: EL2 uses some forty registers, a dozen of which (the GIC's virtual interface) no
//! register crate has, and one way to reach all of them is easier to check than two.

/// Reads a system register.
macro_rules! mrs {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: MRS of a register of this exception level reads it and touches no memory. Not `pure`, so that
        // reads stay in program order with the writes and barriers around them.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register. Its effect on later instructions needs an `isb`, as the architecture says.
macro_rules! msr {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: callers write registers of this level whose effect on the running hypervisor they own: guest state,
        // traps, timers and the GIC. No `nomem`: a write may change how memory behaves, so accesses stay on their side.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

pub(crate) use {mrs, msr};
