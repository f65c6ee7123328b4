//! TLB maintenance, inner shareable: every core of the board forgets (DDI 0487 D8.17).

use core::sync::atomic::AtomicU64;

use tessera_core::addr::{Ipa, VmId};

use crate::sysreg::{mrs, msr};
use crate::{barrier, memory};

/// Forgets the EL2 map.
pub fn invalidate_el2_all() {
    barrier::dsb_ishst();
    // SAFETY: forgets translations; the tables are what counts.
    unsafe { core::arch::asm!("tlbi alle2is", options(nostack, preserves_flags)) };
    barrier::dsb_ish();
    barrier::isb();
}

/// Forgets what this core's TLB holds for any guest: its contents are unknown when it comes up.
pub fn forget_power_on() {
    // SAFETY: forgets translations of the EL1 regime, which no guest uses on this core yet.
    unsafe { core::arch::asm!("tlbi alle1", options(nostack, preserves_flags)) };
    barrier::dsb_ish();
    barrier::isb();
}

/// Forgets what this core's TLB and instruction cache hold of the guest in VTTBR_EL2.
pub fn forget_here() {
    // SAFETY: forgets translations of the VMID in VTTBR_EL2, and cached instructions.
    unsafe { core::arch::asm!("tlbi vmalle1\n\tic iallu", options(nostack, preserves_flags)) };
    barrier::dsb_nsh();
    barrier::isb();
}

/// Forgets one page of `vm`: stage 2 by IPA, then every stage 1 result that may have been built on it.
pub fn invalidate_ipa(vm: VmId, ipa: Ipa) {
    with_vmid(vm, || {
        // SAFETY: forgets translations of the VMID in VTTBR_EL2.
        unsafe {
            core::arch::asm!("tlbi ipas2e1is, {}", in(reg) ipa.0 >> 12, options(nostack, preserves_flags))
        };
        barrier::dsb_ish();
        // SAFETY: as above. TLBs may hold stage 1 and 2 combined, which only this operation reaches.
        unsafe { core::arch::asm!("tlbi vmalle1is", options(nostack, preserves_flags)) };
    });
}

/// Forgets everything of `vm`, both stages.
pub fn invalidate_vm(vm: VmId) {
    with_vmid(vm, || {
        // SAFETY: forgets translations of the VMID in VTTBR_EL2.
        unsafe { core::arch::asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) };
    });
}

/// A stage 2 table in which nothing is mapped. While it is in VTTBR_EL2, no walk, not even a speculative one, can
/// fill the TLB under the VMID beside it (Cortex-A72 erratum 1319367 walks the EL1 regime while EL2 runs).
#[repr(align(4096))]
struct EmptyTable([AtomicU64; 512]);

/// Never written. Atomics, so that it is memory that the boot clears and no part of the image.
// Not among the constants, or its zeros would be in the image.
#[unsafe(link_section = ".bss.empty_table")]
static EMPTY: EmptyTable = EmptyTable([const { AtomicU64::new(0) }; 512]);

/// VTTBR_EL2 with `vmid` and nothing mapped: for a core that runs no guest.
pub fn vttbr_of_nobody(vmid: u64) -> u64 {
    memory::image_pa(EMPTY.0.as_ptr() as u64).0 | vmid << 48
}

/// Runs `operation` with the VMID of `vm` in VTTBR_EL2, then puts back what was there.
fn with_vmid(vm: VmId, operation: impl FnOnce()) {
    let before = mrs!("vttbr_el2");
    barrier::dsb_ishst();
    msr!("vttbr_el2", vttbr_of_nobody(u64::from(vm.0) + 1));
    barrier::isb();
    operation();
    barrier::dsb_ish();
    msr!("vttbr_el2", before);
    barrier::isb();
}
