//! Cache maintenance by address.
//!
//! A guest starts with its MMU off and so reads memory past the caches: what EL2 wrote for it must be in memory, not
//! only in a cache (DDI 0487 D7.5.9, and D8.2.12 on stage 1 off). Tables and code that other cores run need the same
//! care on the instruction side.

use crate::barrier;
use crate::sysreg::mrs;

/// Bytes of the smallest data cache line (CTR_EL0.DminLine).
fn line() -> u64 {
    4 << (mrs!("ctr_el0") >> 16 & 0xf)
}

/// Bytes that DC ZVA clears at once, or `None` where it is prohibited (DCZID_EL0).
fn zva_block() -> Option<u64> {
    let id = mrs!("dczid_el0");
    (id & 0x10 == 0).then_some(4 << (id & 0xf))
}

/// Cleans and invalidates `[va, va + len)` to the point of coherency.
pub fn clean_invalidate(va: u64, len: u64) {
    let line = line();
    let mut at = va & !(line - 1);
    while at < va + len {
        // SAFETY: `at` is in a mapped range that the caller owns; the operation keeps its contents.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    barrier::dsb_sy();
}

/// Clears `[va, va + len)`, whole pages, and cleans it to the point of coherency.
///
/// # Safety
/// The range is mapped as normal memory, writable, and nothing in Rust refers to it.
pub unsafe fn zero_pages(va: u64, len: u64) {
    let end = va + len;
    let mut at = va;
    let line = line();
    if zva_block() == Some(line) {
        // Cleared and cleaned in one go, four lines a step: guests have gigabytes of them.
        while at < end {
            // SAFETY: by this function's contract; four lines divide a page, so it stays inside.
            unsafe {
                core::arch::asm!(
                    ".rept 4",
                    "dc zva, {at}",
                    "dc civac, {at}",
                    "add {at}, {at}, {line}",
                    ".endr",
                    at = inout(reg) at,
                    line = in(reg) line,
                    options(nostack)
                )
            };
        }
        return barrier::dsb_sy();
    }
    match zva_block() {
        Some(block) if block <= 4096 => {
            while at < end {
                // SAFETY: by this function's contract; `block` divides a page, so it stays inside.
                unsafe {
                    core::arch::asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags))
                };
                at += block;
            }
        }
        // SAFETY: by this function's contract.
        _ => unsafe { core::ptr::write_bytes(va as *mut u8, 0, len as usize) },
    }
    clean_invalidate(va, len);
}

/// Makes all cores forget instructions they fetched before (IC IALLUIS).
pub fn invalidate_instructions() {
    // SAFETY: drops cached instructions, which are fetched again.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    barrier::dsb_ish();
    barrier::isb();
}
