//! A vCPU's registers while another has its core.
//!
//! Guests have no AArch32 at EL1, so its registers, which a Cortex-A72 wants back before all others (erratum 853709), are nobody's.
//!
//! Only what the two could see of each other is moved, and only when the other really takes the core. SIMD and floating
//! point are written down with the rest but fetched at their first use, which traps until then; debug and performance
//! monitors trap until a guest uses them, and move with its vCPUs from then on.

use tessera_core::deadlines::Slot;
use tessera_core::vcpu::Vcpu;
use tessera_core::vm::Vm;
use tessera_core::{machine, psci};

use super::extras::Extras;
use crate::gic::Virtual;
use crate::hw::El2;
use crate::sysreg::{mrs, msr};
use crate::{barrier, el1, interrupt, timer, tlb};

/// Declares a set of registers that is read and written as one, by two at a time.
macro_rules! register_set {
    ($(#[$doc:meta])* $set:ident { $($field:ident = $register:literal, $second:ident = $other:literal,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        #[repr(C)]
        struct $set {
            $($field: u64, $second: u64,)*
        }

        impl $set {
            #[inline(always)]
            fn save(&mut self) {
                // SAFETY: it stores to the fields, which are exclusively ours, in their order, and reads registers.
                unsafe {
                    core::arch::asm!(
                        $(concat!("mrs {a}, ", $register), concat!("mrs {b}, ", $other), "stp {a}, {b}, [{at}], #16",)*
                        at = inout(reg) core::ptr::from_mut(self) => _, a = out(reg) _, b = out(reg) _,
                        options(nostack, preserves_flags),
                    );
                }
            }

            #[inline(always)]
            fn restore(&self) {
                // SAFETY: it loads the fields, in their order, and writes registers that are a guest's.
                unsafe {
                    core::arch::asm!(
                        $("ldp {a}, {b}, [{at}], #16", concat!("msr ", $register, ", {a}"), concat!("msr ", $other, ", {b}"),)*
                        at = inout(reg) core::ptr::from_ref(self) => _, a = out(reg) _, b = out(reg) _,
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    };
}

register_set! {
    /// What every guest uses. SP_EL0 and the like are the vCPU's alone, for EL2 runs on its own stack pointer.
    El1 {
        pc = "elr_el2",
        pstate = "spsr_el2",
        sp_el0 = "sp_el0",
        sp_el1 = "sp_el1",
        sctlr = "sctlr_el1",
        ttbr0 = "ttbr0_el1",
        ttbr1 = "ttbr1_el1",
        tcr = "tcr_el1",
        mair = "mair_el1",
        amair = "amair_el1",
        context = "contextidr_el1",
        vbar = "vbar_el1",
        elr = "elr_el1",
        spsr = "spsr_el1",
        esr = "esr_el1",
        far = "far_el1",
        afsr0 = "afsr0_el1",
        afsr1 = "afsr1_el1",
        par = "par_el1",
        cpacr = "cpacr_el1",
        csselr = "csselr_el1",
        thread_el0 = "tpidr_el0",
        thread_el1 = "tpidr_el1",
        thread_read_only = "tpidrro_el0",
        timer_access = "cntkctl_el1",
        timer_compare = "cntv_cval_el0",
    }
}

/// A vCPU's registers, as far as they are not general.
#[derive(Default)]
pub struct State {
    el1: El1,
    /// CNTV_CTL_EL0, without ISTATUS.
    timer_control: u64,
    gic: Virtual,
    /// What guests seldom use.
    pub extras: Extras,
}

/// What a core has of a vCPU whose registers come to it.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Another vCPU of the guest ran here since this one did: the TLB may have what that one meant by the same addresses,
    /// and a vCPU's TLB is its own, as far as it can see (DDI 0487 D8.17.1).
    pub stale: bool,
    /// SIMD and floating point are still this vCPU's.
    pub has_fp: bool,
}

/// What a vCPU leaves.
#[derive(Clone, Copy)]
pub struct Leaving {
    /// SIMD and floating point are on the core.
    pub with_fp: bool,
    /// VTTBR_EL2 of nobody.
    pub vttbr: u64,
}

/// CNTV_CTL_EL0 (DDI 0487 D24.10.20).
const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;

impl State {
    /// Takes the vCPU's registers from this core, on which nothing of it is left that could interrupt or be walked.
    #[inline(always)]
    pub fn save(&mut self, vm: &Vm, vcpu: &mut Vcpu, leaving: Leaving) {
        // Lines are down before their interrupts are made inactive, or those would be pending at once, and another's: the
        // timer's here, the monitors' below.
        self.timer_control = mrs!("cntv_ctl_el0") & (ENABLE | IMASK);
        msr!("cntv_ctl_el0", 0);
        let deactivations = interrupt::set_aside(vm, vcpu);
        if deactivations != 0 {
            self.extras.lower_lines();
            barrier::isb();
            interrupt::deactivate(deactivations);
        }
        self.gic.save();
        if vcpu.timer.deadline().is_some() {
            timer::set(Slot::Vcpu, None);
        }
        self.el1.save();
        self.extras.save(leaving.with_fp);
        // Before another's registers come: a walk of a mixture would go nowhere (Cortex-A72 erratum 1319367).
        el1::leave_address_space(leaving.vttbr);
    }

    /// Gives this core the vCPU's registers. What the core has belongs to nobody, and its address space is empty.
    #[inline(always)]
    pub fn restore(&self, vm: &Vm, vcpu: &mut Vcpu, arrival: Arrival) {
        msr!("vmpidr_el2", psci::vmpidr(vcpu.id()));
        msr!("cntvoff_el2", vcpu.clock.offset().unwrap_or(0));
        self.el1.restore();
        self.extras.restore(arrival.has_fp);
        self.gic.restore();
        vm.vgic.take_up(&vcpu.vgic);
        let twins = vcpu.vgic.twins();
        if twins != 0 {
            interrupt::activate(twins);
        }
        barrier::isb();
        msr!("cntv_ctl_el0", self.timer_control);
        msr!("vttbr_el2", vm.stage2.vttbr());
        barrier::isb();
        if arrival.stale {
            tlb::forget_here();
        }
        if vcpu.timer.deadline().is_some() {
            machine::update_timer(vm, vcpu, &El2);
        }
    }

    /// When a timer of the vCPU will interrupt it, on the board's counter, if one will. For one whose registers were just taken from the core.
    #[inline(always)]
    pub fn deadline(&self, vcpu: &Vcpu) -> Option<u64> {
        let armed = self.timer_control & (ENABLE | IMASK) == ENABLE;
        let compare = armed.then_some(self.el1.timer_compare);
        let virtual_timer =
            compare.and_then(|at| at.checked_add(vcpu.clock.offset().unwrap_or(u64::MAX)));
        let physical_timer = match vcpu.timer.deadline() {
            Some(_) => vcpu.timer.physical_deadline(&vcpu.clock),
            None => None,
        };
        super::earlier(virtual_timer, physical_timer)
    }
}
