//! One instruction that a hypervisor has to answer.
#![allow(unsafe_code, reason = "the instructions between two reads of the counter are counted")]

use tessera_rt::console::UART;
use tessera_rt::gic::GICD;
use tessera_rt::gic::v3::GICR;
use tessera_rt::{gic, println};

use crate::{least, least_of};

/// Runs instructions between two reads of the counter and gives the difference.
macro_rules! ticks {
    ($($code:literal),* $(; $($operands:tt)*)?) => {{
        let (before, after): (u64, u64);
        // SAFETY: the caller's instructions are as safe as where they stand; the rest reads the counter.
        unsafe {
            core::arch::asm!(
                "isb", "mrs {before}, cntvct_el0",
                $($code,)*
                "isb", "mrs {after}, cntvct_el0",
                before = out(reg) before, after = out(reg) after, $($($operands)*)?
            )
        };
        after - before
    }};
}

pub(crate) use ticks;

/// What an empty measurement takes.
pub fn overhead() -> u64 {
    least_of(|| ticks!())
}

/// Prints the rows.
pub fn run() {
    least("psci_version", psci_version);
    least("gicd_read", || {
        ticks!("movz {a}, #0x0800, lsl #16", "movk {a}, #8", "ldr {v:w}, [{a}]", "dsb sy";
            a = out(reg) _, v = out(reg) _)
    });
    least("gicd_write", || {
        ticks!("movz {a}, #0x0800, lsl #16", "movk {a}, #0x104", "mov {v}, #0", "str {v:w}, [{a}]", "dsb sy";
            a = out(reg) _, v = out(reg) _)
    });
    if !gic::is_v2() {
        least("gicr_read", || {
            ticks!("movz {a}, #0x080a, lsl #16", "movk {a}, #8", "ldr {v}, [{a}]", "dsb sy";
                a = out(reg) _, v = out(reg) _)
        });
    }
    least("uart_read", || {
        ticks!("movz {a}, #0x0900, lsl #16", "movk {a}, #0x18", "1:", "ldr {v:w}, [{a}]", "dsb sy",
            "ubfx {b:w}, {v:w}, #5, #1", "cmp {b:w}, #0", "b.ne 1b", "tst {v:w}, #8", "b.ne 1b";
            a = out(reg) _, v = out(reg) _, b = out(reg) _)
    });
    let byte = least_of(|| {
        ticks!("2:", "ldr {v:w}, [{a}, #0x18]", "tbnz {v:w}, #5, 2b", "mov {v:w}, #46", "str {v:w}, [{a}]", "dsb sy";
            a = in(reg) UART, v = out(reg) _)
    });
    println!("\nBENCH uart_byte {}", byte - overhead());
    least("sysreg_id", || ticks!("mrs {v}, id_aa64pfr0_el1"; v = out(reg) _));
    const { assert!(GICD == 0x0800_0000 && GICR == 0x080a_0000 && UART == 0x0900_0000) };
}

fn psci_version() -> u64 {
    ticks!("movz x0, #0x8400, lsl #16", "mov x1, #0", "mov x2, #0", "mov x3, #0", "mov x4, #0", "mov x5, #0",
        "mov x6, #0", "mov x7, #0", "hvc #0";
        out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _,
        out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
        out("x15") _, out("x16") _, out("x17") _)
}
