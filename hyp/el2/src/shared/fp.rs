//! SIMD and floating-point registers: written down when a vCPU that used them leaves the core, fetched when it uses them
//! again, which traps until then. EL2 itself has no use for them.

use crate::barrier;
use crate::sysreg::{mrs, msr};

core::arch::global_asm!(include_str!("fp.S"));

/// Bytes of 32 registers of 16 bytes, of FPCR and of FPSR.
const BYTES: usize = 32 * 16 + 2 * 8;

/// The registers of a vCPU whose core another has.
#[repr(align(16))]
pub struct Fp([u8; BYTES]);

// SAFETY: defined in fp.S with these signatures. Both touch BYTES bytes at `at` and the registers, which no Rust code of
// EL2 uses (soft-float target).
unsafe extern "C" {
    fn save_fp(at: *mut u8);
    fn load_fp(at: *const u8);
}

impl Default for Fp {
    fn default() -> Self {
        Self([0; BYTES])
    }
}

impl Fp {
    /// Takes the registers from this core. They do not trap.
    pub fn save(&mut self) {
        // SAFETY: the bytes are exclusively ours.
        unsafe { save_fp(self.0.as_mut_ptr()) }
    }

    /// Gives them to this core. They do not trap.
    pub fn load(&self) {
        // SAFETY: as many bytes as are read.
        unsafe { load_fp(self.0.as_ptr()) }
    }
}

/// CPTR_EL2.TFP: SIMD and floating point trap, at EL2 too.
const TFP: u64 = 1 << 10;

/// Whether SIMD and floating point trap on this core.
pub fn traps() -> bool {
    mrs!("cptr_el2") & TFP != 0
}

/// Makes them trap, or not, once a guest runs.
#[inline(always)]
pub fn set_trap(trap: bool) {
    let before = mrs!("cptr_el2");
    if (before & TFP != 0) != trap {
        msr!("cptr_el2", before ^ TFP);
    }
}

/// Lets them be used from here on.
pub fn allow() {
    msr!("cptr_el2", mrs!("cptr_el2") & !TFP);
    barrier::isb();
}
