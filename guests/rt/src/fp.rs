//! The SIMD and floating-point registers, which no code of the guests uses: their compiler does without.
#![allow(unsafe_code, reason = "registers that Rust does not use here")]

use core::arch::global_asm;

global_asm!(
    ".section .text.fp, \"ax\"",
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
pub struct Registers(pub [u64; 64]);

// SAFETY: defined in the assembly above with these signatures.
unsafe extern "C" {
    fn fp_store(to: *mut Registers);
    fn fp_load(from: *const Registers);
}

impl Registers {
    /// What they have now.
    pub fn read() -> Self {
        let mut now = Self([0; 64]);
        // SAFETY: 512 bytes, which `now` has.
        unsafe { fp_store(&raw mut now) };
        now
    }

    /// Puts these into them.
    pub fn write(&self) {
        // SAFETY: this code is compiled without floating point, so nothing else has a value in those registers.
        unsafe { fp_load(self) };
    }
}
