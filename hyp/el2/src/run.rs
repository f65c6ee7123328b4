//! Running a guest is a function call. This is the only way into a guest, and `vectors.S` has the only ERET.

use core::mem::offset_of;

use tessera_core::exit::{Exit, Syndrome, Vector};
use tessera_core::vcpu::Registers;

use crate::sysreg::mrs;

core::arch::global_asm!(
    include_str!("vectors.S"),
    host_sp = const offset_of!(Registers, host_sp),
);

// The assembly stores X0 to X30 from the frame's first byte on.
const _: () = assert!(offset_of!(Registers, x) == 0 && align_of::<Registers>() == 16);

/// What the vector leaves: which one it was, and ESR_EL2.
#[repr(C)]
struct Raw {
    vector: u64,
    esr: u64,
}

// SAFETY: defined in vectors.S with this signature; it keeps the callee-saved registers.
unsafe extern "C" {
    fn enter_guest(frame: *mut Registers) -> Raw;
}

/// Runs the guest whose EL1 state is on this core until it exits. Interrupts stay masked at EL2; ELR_EL2 and SPSR_EL2
/// are the guest's before and after.
#[inline(always)]
pub fn run(registers: &mut Registers) -> Exit {
    // SAFETY: the frame is exclusively ours for the call, and the assembly touches no other memory of Rust's but the
    // stack. The guest cannot reach EL2's memory: stage 2 is on (HCR_EL2.VM).
    let raw = unsafe { enter_guest(registers) };
    let vector = match raw.vector {
        0 => Vector::Sync,
        1 => Vector::Irq,
        2 => Vector::Fiq,
        _ => Vector::SError,
    };
    Exit::decode(vector, || syndrome(raw.esr), raw.esr)
}

#[inline(always)]
fn syndrome(esr: u64) -> Syndrome {
    Syndrome { esr, far: mrs!("far_el2"), hpfar: mrs!("hpfar_el2") }
}
