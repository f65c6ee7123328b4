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

/// Runs the guest whose EL1 state is on this core until it exits. Interrupts stay masked at EL2; ELR_EL2 and SPSR_EL2
/// are the guest's before and after.
#[inline(always)]
pub fn run(registers: &mut Registers) -> Exit {
    let (number, esr): (u64, u64);
    // SAFETY: the frame is exclusively ours for the call, and the assembly touches no other memory of Rust's but the
    // stack. All registers but those that it keeps are named. The guest cannot reach EL2's memory: stage 2 is on
    // (HCR_EL2.VM).
    unsafe {
        core::arch::asm!(
            "bl enter_guest",
            inout("x0") core::ptr::from_mut(registers) => number,
            out("x1") esr,
            out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
            out("x17") _, out("x18") _, out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _, out("x30") _,
        )
    };
    let vector = match number {
        0 => Vector::Sync,
        1 => Vector::Irq,
        2 => Vector::Fiq,
        _ => Vector::SError,
    };
    Exit::decode(vector, || syndrome(esr), esr)
}

#[inline(always)]
fn syndrome(esr: u64) -> Syndrome {
    Syndrome { esr, far: mrs!("far_el2"), hpfar: mrs!("hpfar_el2") }
}
