//! Running a guest is a function call. This is the only way into a guest, and `enter.S` has the only ERET.
//!
//! It is inlined into the two loops that run guests ([`run`], [`run_in_turn`]), and the vectors of a core come back to its
//! own loop's copy.

use core::mem::offset_of;

use tessera_core::exit::{Exit, INTERRUPT, Syndrome};
use tessera_core::trace::{RECORD_BYTES, RING_BYTES};
use tessera_core::vcpu::Registers;

use crate::barrier;
use crate::memory::symbol;
use crate::sysreg::{mrs, msr};

core::arch::global_asm!(
    include_str!("vectors.S"),
    host = const offset_of!(Registers, host),
    trace = const Registers::TRACE,
    record = const RECORD_BYTES,
    ring = const RING_BYTES,
    interrupt = const INTERRUPT,
);

// The assembly stores X0 to X30 from the frame's first byte on.
const _: () = assert!(offset_of!(Registers, x) == 0 && align_of::<Registers>() == 16);

/// The end of the record that an exit left in its vCPU's ring.
#[derive(Clone, Copy)]
pub struct Recorded(u64);

impl Recorded {
    /// Writes down what more is known of the exit.
    #[inline(always)]
    pub fn detail(self, detail: u64) {
        // SAFETY: the last word of a record is before its end, in a ring that lives as long as the board (only `run`
        // makes a `Recorded`); it is an atomic, which a single store writes.
        unsafe {
            core::arch::asm!("str {}, [{}, #-8]", in(reg) detail, in(reg) self.0, options(nostack));
        }
    }
}

/// Goes into the guest whose EL1 state is on this core, and comes back at label `$back` with its exit.
macro_rules! enter {
    ($registers:expr, $back:literal, $decode:path) => {{
        let (why, recorded): (u64, u64);
        // SAFETY: the frame is exclusively ours for the call, and the assembly touches no other memory of Rust's but a record
        // of the ring that the frame points into: `Registers` can only be made with one, and it is all atomics. All
        // registers but those that it keeps are named. The guest cannot reach EL2's memory: stage 2 is on (HCR_EL2.VM).
        unsafe {
            core::arch::asm!(
                include_str!("enter.S"),
                concat!(".global ", $back),
                concat!($back, ":"),
                inout("x0") core::ptr::from_mut($registers) => _,
                out("x20") why, out("x22") recorded,
                out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _,
                out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                out("x16") _, out("x17") _, out("x18") _, out("x21") _, out("x23") _, out("x24") _, out("x25") _,
                out("x26") _, out("x27") _, out("x28") _, out("x30") _,
                host = const offset_of!(Registers, host), x19 = const offset_of!(Registers, host_x19),
            )
        };
        let recorded = Recorded(recorded);
        let syndrome = || {
            let syndrome = Syndrome { esr: why, far: mrs!("far_el2"), hpfar: mrs!("hpfar_el2") };
            recorded.detail(syndrome.ipa().0);
            syndrome
        };
        ($decode(why, syndrome), recorded)
    }};
}

/// Runs the guest whose EL1 state is on this core until it exits. Interrupts stay masked at EL2; ELR_EL2 and SPSR_EL2
/// are the guest's before and after. For a core that its vCPU owns.
#[inline(always)]
#[allow(
    named_asm_labels,
    reason = "the vectors come back to it; a second copy of this function would not assemble"
)]
pub fn run(registers: &mut Registers) -> (Exit, Recorded) {
    enter!(registers, "guest_exited", Exit::decode)
}

/// As [`run`], for a core that is shared: it has called [`use_vectors`].
#[inline(always)]
#[allow(
    named_asm_labels,
    reason = "the vectors come back to it; a second copy of this function would not assemble"
)]
pub fn run_in_turn(registers: &mut Registers) -> (Exit, Recorded) {
    enter!(registers, "guest_exited_in_turn", Exit::decode_waits_first)
}

/// Has this core's guests come back to [`run_in_turn`].
pub fn use_vectors() {
    msr!("vbar_el2", symbol!(vectors_of_shared));
    barrier::isb();
}
