//! Floating point and SIMD registers stay what they are, whatever exits happen.
#![allow(unsafe_code, reason = "registers that Rust does not use here")]

use core::arch::global_asm;

use tessera_rt::console::{FR, UART};
use tessera_rt::mmio::read32;
use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, mrs, msr, psci, timer, trap};

global_asm!(
    ".arch armv8-a+fp+simd",
    ".global fp_store",
    "fp_store:",
    "stp q0, q1, [x0], #32",
    "stp q2, q3, [x0], #32",
    "stp q4, q5, [x0], #32",
    "stp q6, q7, [x0], #32",
    "stp q8, q9, [x0], #32",
    "stp q10, q11, [x0], #32",
    "stp q12, q13, [x0], #32",
    "stp q14, q15, [x0], #32",
    "stp q16, q17, [x0], #32",
    "stp q18, q19, [x0], #32",
    "stp q20, q21, [x0], #32",
    "stp q22, q23, [x0], #32",
    "stp q24, q25, [x0], #32",
    "stp q26, q27, [x0], #32",
    "stp q28, q29, [x0], #32",
    "stp q30, q31, [x0], #32",
    "ret",
    ".global fp_load",
    "fp_load:",
    "ldp q0, q1, [x0], #32",
    "ldp q2, q3, [x0], #32",
    "ldp q4, q5, [x0], #32",
    "ldp q6, q7, [x0], #32",
    "ldp q8, q9, [x0], #32",
    "ldp q10, q11, [x0], #32",
    "ldp q12, q13, [x0], #32",
    "ldp q14, q15, [x0], #32",
    "ldp q16, q17, [x0], #32",
    "ldp q18, q19, [x0], #32",
    "ldp q20, q21, [x0], #32",
    "ldp q22, q23, [x0], #32",
    "ldp q24, q25, [x0], #32",
    "ldp q26, q27, [x0], #32",
    "ldp q28, q29, [x0], #32",
    "ldp q30, q31, [x0], #32",
    "ret",
);

/// v0 to v31.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Registers([u64; 64]);

// SAFETY: defined in the assembly above with these signatures.
unsafe extern "C" {
    fn fp_store(to: *mut Registers);
    fn fp_load(from: *const Registers);
}

/// Runs the tests.
pub fn run(_: &Machine) {
    let pattern = Registers(core::array::from_fn(|n| {
        0x0123_4567_89ab_cdef_u64.rotate_left(n as u32) ^ n as u64
    }));
    let mut after = Registers([0; 64]);
    trap::set_handler(1, |_| ());
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    // SAFETY: this code is compiled without floating point, so nothing else has a value in those registers.
    unsafe { fp_load(&raw const pattern) };
    msr!("S3_3_C4_C4_0", 1 << 22); // FPCR: round towards plus infinity
    msr!("S3_3_C4_C4_1", 1); // FPSR: invalid operation happened
    for _ in 0..100 {
        exits();
    }
    // SAFETY: 512 bytes, which `after` has.
    unsafe { fp_store(&raw mut after) };
    check("v0 to v31 keep their values over a thousand exits", after == pattern);
    equal("fpcr keeps its value", mrs!("S3_3_C4_C4_0"), 1 << 22);
    equal("fpsr keeps its value", mrs!("S3_3_C4_C4_1"), 1);
    msr!("S3_3_C4_C4_0", 0);
    gic::disable(timer::VIRTUAL);
}

/// One of each common exit.
fn exits() {
    psci::call(psci::VERSION, [0; 3]);
    read32(UART + FR);
    read32(gic::GICD + gic::TYPER);
    gic::send_sgi(1, 1);
    timer::arm_at(timer::now() + timer::ticks(20));
    cpu::wfi();
    cpu::with_irqs(|| ());
    timer::disarm();
}
