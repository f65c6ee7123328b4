//! Which GIC the board has, decided once and not asked again.
//!
//! Every interrupt and every kick depends on it, and a load, a test and a branch each time are what a guest waits for.
//! So each place that depends on it is one instruction: a NOP, which the boot code makes a branch to the GICv2's way
//! where the cores have no system registers of a GICv3 (`head.S`, before the MMU is on, so that no text is ever
//! writable). Both are instructions that may be changed while others run (DDI 0487 B2.2.5), not that any do.

/// Whether the board has a GICv2.
#[inline(always)]
pub fn is_v2() -> bool {
    // SAFETY: a NOP or a branch to the label, and a note of where both are, which takes no place in the code.
    unsafe {
        core::arch::asm!(
            "1: nop",
            ".pushsection .gicv2_branches, \"a\"",
            ".long 1b - .",
            ".long {v2} - .",
            ".popsection",
            v2 = label { return true },
            options(nomem, nostack, preserves_flags),
        );
    }
    false
}
