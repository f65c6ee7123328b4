//! Loads and stores of one instruction each, for device registers and for addresses where perhaps nothing is.
//!
//! They are safe functions although an address is only a number: a guest's devices and the holes between them are no
//! memory of Rust's. Whoever passes the address of RAM that Rust uses has a guest that tests nothing.
#![allow(unsafe_code, reason = "an access of exactly one load or store instruction is assembly")]

use core::arch::asm;

macro_rules! access {
    ($read:ident, $write:ident, $ty:ty, $load:literal, $store:literal) => {
        /// Loads with one instruction of this size.
        #[inline(always)]
        pub fn $read(at: u64) -> $ty {
            let value: u64;
            // SAFETY: the address is a device's or nobody's (see the module); a fault is the vectors' business.
            unsafe { asm!($load, at = in(reg) at, v = out(reg) value, options(nostack)) };
            value as $ty
        }

        /// Stores with one instruction of this size.
        #[inline(always)]
        pub fn $write(at: u64, value: $ty) {
            // SAFETY: as the load.
            unsafe { asm!($store, at = in(reg) at, v = in(reg) u64::from(value), options(nostack)) };
        }
    };
}

access!(read8, write8, u8, "ldrb {v:w}, [{at}]", "strb {v:w}, [{at}]");
access!(read16, write16, u16, "ldrh {v:w}, [{at}]", "strh {v:w}, [{at}]");
access!(read32, write32, u32, "ldr {v:w}, [{at}]", "str {v:w}, [{at}]");
access!(read64, write64, u64, "ldr {v:x}, [{at}]", "str {v:x}, [{at}]");
