//! A core's EL1 and EL0 state: given to a vCPU as the architecture resets it.
//!
//! Nothing of what ran before may be left: registers, floating point, debug, performance monitors and timers are all
//! written. What the architecture leaves UNKNOWN at reset is zero.

use tessera_core::inject::{self, El1State, Fault, Stage1, pstate};
use tessera_core::sysreg::{CpuFeatures, Feature, TrapRegs, policy};
use tessera_core::{snapshot, stage2, vcpu};

use crate::boot::map::pa_range;
use crate::pointer_keys::{self, PointerKeys};
use crate::sysreg::{mrs, msr};
use crate::{barrier, id, tlb};

core::arch::global_asm!(
    ".section .text.clear_fp, \"ax\"",
    ".arch_extension fp",
    ".arch_extension simd",
    ".global clear_fp",
    "clear_fp:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "movi v\\n\\().2d, #0",
    ".endr",
    "msr fpcr, xzr",
    "msr fpsr, xzr",
    "ret",
    ".arch_extension nosimd",
    ".arch_extension nofp",
);

/// SCTLR_EL1 with its RES1 bits, MMU and caches off (DDI 0487 D24.2.175).
const SCTLR_EL1_RESET: u64 = 0x30d0_0800;

/// Sets this core's traps. Done once: they are the same for every guest.
pub fn init() {
    let traps = policy(&CpuFeatures::from_hw(id::read, id::pmcr()));
    // First what a walk of the EL1 regime would use, which may happen speculatively from the moment that HCR_EL2.VM is
    // set (Cortex-A72 erratum 1319367), and nothing of what the TLB may hold under a guest's VMID since power-on.
    msr!("vtcr_el2", stage2::vtcr(pa_range()));
    leave();
    tlb::forget_power_on();
    msr!("hcr_el2", traps.hcr);
    msr!("cptr_el2", traps.cptr);
    msr!("mdcr_el2", traps.mdcr);
    msr!("hstr_el2", traps.hstr);
    msr!("cnthctl_el2", traps.cnthctl);
    msr!("actlr_el2", 0);
    newer_traps(&traps);
    barrier::isb();
}

/// Trap registers that a core may not have, by their encodings, since assemblers know them by name only with the
/// extension switched on.
fn newer_traps(traps: &TrapRegs) {
    let has = |feature| traps.features.has(feature);
    if let Some(hcrx) = traps.hcrx {
        msr!("s3_4_c1_c2_2", hcrx);
    }
    if let Some(mpam2) = traps.mpam2 {
        msr!("s3_4_c10_c5_0", mpam2);
    }
    // Nothing of EL2 or below is traced, profiled or recorded: TRFCR_EL2, PMSCR_EL2, BRBCR_EL2.
    if has(Feature::TraceFilter) {
        msr!("s3_4_c1_c2_1", 0);
    }
    if has(Feature::Profiling) {
        msr!("s3_4_c9_c9_0", 0);
    }
    if has(Feature::BranchRecords) {
        msr!("s2_4_c9_c0_0", 0);
    }
    if has(Feature::FineGrained) {
        // HFGRTR, HFGWTR, HFGITR, HDFGRTR, HDFGWTR.
        msr!("s3_4_c1_c1_4", 0);
        msr!("s3_4_c1_c1_5", 0);
        msr!("s3_4_c1_c1_6", 0);
        msr!("s3_4_c3_c1_4", 0);
        msr!("s3_4_c3_c1_5", 0);
    }
    if has(Feature::FineGrained) && has(Feature::ActivityMonitors) {
        // HAFGRTR.
        msr!("s3_4_c3_c1_6", 0);
    }
    if has(Feature::FineGrained2) {
        // HFGRTR2, HFGWTR2, HFGITR2, HDFGRTR2, HDFGWTR2.
        msr!("s3_4_c3_c1_2", 0);
        msr!("s3_4_c3_c1_3", 0);
        msr!("s3_4_c3_c1_7", 0);
        msr!("s3_4_c3_c1_0", 0);
        msr!("s3_4_c3_c1_1", 0);
    }
}

/// Gives the core a guest's address space and its clock.
pub fn enter(vttbr: u64, cntvoff: u64) {
    msr!("vttbr_el2", vttbr);
    msr!("cntvoff_el2", cntvoff);
    barrier::isb();
}

/// Takes the guest's address space away, and what could interrupt: nothing of it is done on this core any more.
pub fn leave() {
    msr!("sctlr_el1", SCTLR_EL1_RESET);
    // An overflow that stays asserted would keep the core from sleeping.
    if id::has_pmu() {
        msr!("pmintenclr_el1", 0xffff_ffff);
        msr!("pmcr_el0", 0);
    }
    leave_address_space(tlb::vttbr_of_nobody(0));
}

/// Takes the guest's address space away, so that nothing walks its tables on this core any more.
#[inline(always)]
pub fn leave_address_space(vttbr_of_nobody: u64) {
    barrier::isb();
    msr!("vttbr_el2", vttbr_of_nobody);
    barrier::isb();
}

/// Sets this core's traps for vCPUs that share it: others may want the core while one waits, and a vCPU that runs on elsewhere
/// wants its maintenance and its barriers to have reached all cores.
pub fn share() {
    /// HCR_EL2.FB, BSU: maintenance and barriers reach the inner shareable domain.
    const FB: u64 = 1 << 9;
    const BSU_INNER: u64 = 1 << 10;
    msr!("hcr_el2", mrs!("hcr_el2") | FB | BSU_INNER | TWI);
    barrier::isb();
}

/// HCR_EL2: WFI traps, and WFE.
const TWI: u64 = 1 << 13;
const TWE: u64 = 1 << 14;

/// Makes a guest's WFI trap on this core, or not.
pub fn trap_wfi(trap: bool) {
    set_trap(TWI, trap);
}

/// Makes a guest's WFE trap on this core, or not.
pub fn trap_wfe(trap: bool) {
    set_trap(TWE, trap);
}

fn set_trap(bit: u64, trap: bool) {
    let others = mrs!("hcr_el2") & !bit;
    msr!("hcr_el2", if trap { others | bit } else { others });
    barrier::isb();
}

/// Steps over the instruction that was emulated, 4 bytes long.
#[inline(always)]
pub fn advance() {
    let (pc, pstate) = inject::advance(mrs!("elr_el2"), mrs!("spsr_el2"), true);
    msr!("elr_el2", pc);
    msr!("spsr_el2", pstate);
}

/// Lets the guest take an exception at EL1. `false` where it would be where it is: its vectors lie where it cannot fetch
/// them, and it would take the same exception for ever.
#[must_use]
pub fn inject(fault: Fault) -> bool {
    let state = El1State {
        pc: mrs!("elr_el2"),
        pstate: mrs!("spsr_el2"),
        vbar_el1: mrs!("vbar_el1"),
        sctlr_el1: mrs!("sctlr_el1"),
    };
    let entry = inject::inject(&state, fault);
    msr!("elr_el1", entry.elr_el1);
    msr!("spsr_el1", entry.spsr_el1);
    msr!("esr_el1", entry.esr_el1);
    if let Some(far) = entry.far_el1 {
        msr!("far_el1", far);
    }
    msr!("elr_el2", entry.pc);
    msr!("spsr_el2", entry.pstate);
    (entry.pc, entry.pstate) != (state.pc, state.pstate)
}

/// The registers that govern the guest's own translation.
pub fn stage1() -> Stage1 {
    Stage1 {
        tcr: mrs!("tcr_el1"),
        ttbr0: mrs!("ttbr0_el1"),
        ttbr1: mrs!("ttbr1_el1"),
        sctlr: mrs!("sctlr_el1"),
    }
}

/// The registers of the vCPU whose EL1 state is on this core.
pub fn registers(general: &vcpu::Registers) -> snapshot::Registers {
    snapshot::Registers {
        x: general.x,
        pc: mrs!("elr_el2"),
        pstate: mrs!("spsr_el2"),
        sp_el0: mrs!("sp_el0"),
        sp_el1: mrs!("sp_el1"),
        elr_el1: mrs!("elr_el1"),
        spsr_el1: mrs!("spsr_el1"),
        esr_el1: mrs!("esr_el1"),
        far_el1: mrs!("far_el1"),
        vbar_el1: mrs!("vbar_el1"),
        stage1: stage1(),
    }
}

/// What was switched off while a vCPU stands still.
pub struct Held {
    timer: u64,
    events: u64,
}

/// Stops what would go on by itself while the vCPU stands still: its virtual timer and its performance monitors.
pub fn hold() -> Held {
    let held = Held {
        timer: mrs!("cntv_ctl_el0"),
        events: if id::has_pmu() { mrs!("pmcr_el0") } else { 0 },
    };
    msr!("cntv_ctl_el0", 0);
    if id::has_pmu() {
        msr!("pmcr_el0", held.events & !PMCR_ENABLE);
    }
    barrier::isb();
    held
}

/// Lets go on what [`hold`] stopped, with the guest's counter behind by `cntvoff`.
pub fn release(held: Held, cntvoff: u64) {
    msr!("cntvoff_el2", cntvoff);
    barrier::isb();
    msr!("cntv_ctl_el0", held.timer);
    if id::has_pmu() {
        msr!("pmcr_el0", held.events);
    }
    barrier::isb();
}

/// Resets EL1 and EL0 for a vCPU whose MPIDR_EL1 is `mpidr`. Nothing of EL2 changes what this sets, so that it can be done
/// long before [`start_at`].
pub fn reset(mpidr: u64) {
    msr!("vmpidr_el2", mpidr);
    msr!("vpidr_el2", mrs!("midr_el1"));
    msr!("sctlr_el1", SCTLR_EL1_RESET);
    reset_translation();
    reset_exceptions();
    reset_timers();
    reset_debug();
    reset_pmu();
    if pointer_keys::exist() {
        PointerKeys::default().restore();
    }
    // SAFETY: writes SIMD registers, which no Rust code of EL2 uses (soft-float target), and no memory.
    unsafe {
        core::arch::asm!("bl clear_fp", out("x30") _, options(nomem, nostack, preserves_flags));
    }
    // What this core's TLB and caches hold for the VMID is the caller's: it knows whether the tables changed.
    barrier::isb();
}

/// Sets the program counter and the state in which a vCPU starts.
pub fn start_at(entry: u64) {
    msr!("elr_el2", entry);
    msr!("spsr_el2", pstate::AT_RESET);
}

fn reset_translation() {
    msr!("ttbr0_el1", 0);
    msr!("ttbr1_el1", 0);
    msr!("tcr_el1", 0);
    msr!("mair_el1", 0);
    msr!("amair_el1", 0);
    msr!("contextidr_el1", 0);
    msr!("par_el1", 0);
}

fn reset_exceptions() {
    msr!("vbar_el1", 0);
    msr!("elr_el1", 0);
    msr!("spsr_el1", 0);
    msr!("esr_el1", 0);
    msr!("far_el1", 0);
    msr!("afsr0_el1", 0);
    msr!("afsr1_el1", 0);
    msr!("cpacr_el1", 0);
    msr!("sp_el0", 0);
    msr!("sp_el1", 0);
    msr!("tpidr_el0", 0);
    msr!("tpidr_el1", 0);
    msr!("tpidrro_el0", 0);
    msr!("csselr_el1", 0);
}

fn reset_timers() {
    msr!("cntv_ctl_el0", 0);
    msr!("cntv_cval_el0", 0);
    msr!("cntkctl_el1", 0);
}

macro_rules! each_of_sixteen {
    ($count:expr, $kind:literal) => {{
        each_of_sixteen!(@ $count, $kind, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    }};
    (@ $count:expr, $kind:literal, $($n:literal)*) => {{
        $(if $n < $count {
            msr!(concat!("dbg", $kind, "cr", $n, "_el1"), 0);
            msr!(concat!("dbg", $kind, "vr", $n, "_el1"), 0);
        })*
    }};
}

/// Debug registers as a reset leaves them: nothing is watched, nothing locked.
pub fn reset_debug() {
    let dfr0 = mrs!("id_aa64dfr0_el1");
    let (breakpoints, watchpoints) = ((dfr0 >> 12 & 0xf) + 1, (dfr0 >> 20 & 0xf) + 1);
    msr!("mdscr_el1", 0);
    msr!("mdccint_el1", 0);
    msr!("osdlr_el1", 0);
    msr!("oslar_el1", 0);
    each_of_sixteen!(breakpoints, "b");
    each_of_sixteen!(watchpoints, "w");
}

/// PMCR_EL0.E: events are counted (DDI 0487 D24.5.8).
const PMCR_ENABLE: u64 = 1 << 0;
/// PMCR_EL0: reset the event counters (P) and the cycle counter (C), long cycle counter off, disabled (D24.5.8).
const PMCR_RESET: u64 = 1 << 1 | 1 << 2;

/// Performance monitors as a reset leaves them: nothing is counted.
pub fn reset_pmu() {
    if !id::has_pmu() {
        return;
    }
    let all = 0xffff_ffff;
    msr!("pmcntenclr_el0", all);
    msr!("pmintenclr_el1", all);
    msr!("pmovsclr_el0", all);
    msr!("pmuserenr_el0", 0);
    msr!("pmccfiltr_el0", 0);
    msr!("pmcr_el0", PMCR_RESET);
    let counters = mrs!("pmcr_el0") >> 11 & 0x1f;
    for n in 0..counters {
        msr!("pmselr_el0", n);
        barrier::isb();
        msr!("pmxevtyper_el0", 0);
    }
    msr!("pmselr_el0", 0);
}
