//! This core's list registers: the GIC's virtual interface (IHI 0069 12.4).

use core::sync::atomic::{AtomicU8, Ordering};

use tessera_core::vgic::hcr;

use super::super::Virtual;
use crate::sysreg::{mrs, msr};

/// List registers of a core; all cores of a board have the same number.
static COUNT: AtomicU8 = AtomicU8::new(4);

/// Empties the virtual interface and turns it on.
pub fn init() {
    COUNT.store((mrs!("ich_vtr_el2") & 0x1f) as u8 + 1, Ordering::Relaxed);
    reset();
}

/// Group 0's and group 1's active priorities: one register each for 5 bits of preemption, more where
/// ICH_VTR_EL2.PREbits says so (IHI 0069 12.4.1).
macro_rules! each_active_priority {
    ($each:ident, $words:expr) => {{
        let preemption_bits = (mrs!("ich_vtr_el2") >> 26 & 7) + 1;
        let [a, b, c, d, e, f, g, h] = $words;
        $each!(a, "ich_ap0r0_el2");
        $each!(b, "ich_ap1r0_el2");
        if preemption_bits >= 6 {
            $each!(c, "ich_ap0r1_el2");
            $each!(d, "ich_ap1r1_el2");
        }
        if preemption_bits >= 7 {
            $each!(e, "ich_ap0r2_el2");
            $each!(f, "ich_ap1r2_el2");
            $each!(g, "ich_ap0r3_el2");
            $each!(h, "ich_ap1r3_el2");
        }
    }};
}

macro_rules! set_word {
    ($word:ident, $register:literal) => {
        msr!($register, *$word)
    };
}

/// As the architecture resets the virtual interface: nothing pending or active, all groups off.
pub fn reset() {
    for n in 0..usize::from(COUNT.load(Ordering::Relaxed)) {
        write(n, 0);
    }
    each_active_priority!(set_word, &[0; 8]);
    // A guest may have switched its system registers off, where that can be done.
    enable_registers(ALL_REGISTERS);
    msr!("ich_vmcr_el2", 0);
    msr!("ich_hcr_el2", hcr::EN);
}

macro_rules! by_number {
    ($n:expr, $access:ident) => {
        match $n {
            0 => $access!("ich_lr0_el2"),
            1 => $access!("ich_lr1_el2"),
            2 => $access!("ich_lr2_el2"),
            3 => $access!("ich_lr3_el2"),
            4 => $access!("ich_lr4_el2"),
            5 => $access!("ich_lr5_el2"),
            6 => $access!("ich_lr6_el2"),
            7 => $access!("ich_lr7_el2"),
            8 => $access!("ich_lr8_el2"),
            9 => $access!("ich_lr9_el2"),
            10 => $access!("ich_lr10_el2"),
            11 => $access!("ich_lr11_el2"),
            12 => $access!("ich_lr12_el2"),
            13 => $access!("ich_lr13_el2"),
            14 => $access!("ich_lr14_el2"),
            _ => $access!("ich_lr15_el2"),
        }
    };
}

/// ICC_SRE_EL1 (DDI 0487 D24.8.23): SRE, all that a guest can change of it, and that only on cores that can do without.
const SRE: u64 = 1 << 0;
const ALL_REGISTERS: u64 = 0x7;

/// Sets it. What is written to ICH_VMCR_EL2 afterwards means what it says (D24.8.23 wants the ISB).
#[cold]
fn enable_registers(value: u64) {
    msr!("icc_sre_el1", value);
    crate::barrier::isb();
}

/// Takes what the interface has of a vCPU. ICC_SRE_EL1 is left as a reset leaves it.
#[inline(always)]
pub fn save(to: &mut Virtual) {
    macro_rules! get_word {
        ($word:ident, $register:literal) => {
            *$word = mrs!($register)
        };
    }
    to.machine_control = mrs!("ich_vmcr_el2");
    to.enable = mrs!("icc_sre_el1");
    if to.enable & SRE == 0 {
        enable_registers(ALL_REGISTERS);
    }
    each_active_priority!(get_word, &mut to.active);
}

/// Gives it back.
#[inline(always)]
pub fn restore(from: &Virtual) {
    if from.enable & SRE == 0 {
        enable_registers(from.enable);
    }
    msr!("ich_vmcr_el2", from.machine_control);
    each_active_priority!(set_word, &from.active);
}

/// Sets ICH_LR<n>_EL2. The first is the one that is free when little is going on: it needs no table.
#[inline(always)]
pub fn write(n: usize, value: u64) {
    if n == 0 {
        msr!("ich_lr0_el2", value);
    } else {
        write_any(n, value);
    }
}

#[inline(never)]
fn write_any(n: usize, value: u64) {
    macro_rules! set {
        ($register:literal) => {
            msr!($register, value)
        };
    }
    by_number!(n, set);
}

/// How many there are.
#[inline(always)]
pub fn count() -> usize {
    usize::from(COUNT.load(Ordering::Relaxed))
}

/// ICH_LR<n>_EL2.
#[inline(always)]
pub fn read(index: usize) -> u64 {
    by_number!(index, mrs)
}

/// ICH_ELRSR_EL2.
#[inline(always)]
pub fn empty() -> u32 {
    // It shows what was written to the list registers before the last context synchronisation (DDI 0487 D24.1.2.2):
    // without one, a register written a moment ago would seem free.
    crate::barrier::isb();
    mrs!("ich_elrsr_el2") as u32
}

/// Sets ICH_HCR_EL2.
#[inline(always)]
pub fn set_control(value: u64) {
    msr!("ich_hcr_el2", value);
}
