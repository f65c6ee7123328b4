//! This core's list registers: GICH (IHI 0048 5.3), each core's own at the same addresses.

use core::sync::atomic::{AtomicU8, Ordering};

use tessera_core::vgic::hcr;

use super::{GICH, read as load, write as store};

const HCR: u64 = 0x000;
const VTR: u64 = 0x004;
const VMCR: u64 = 0x008;
const ELRSR0: u64 = 0x030;
const APR: u64 = 0x0f0;
const LR: u64 = 0x100;

/// VTR: list registers, less one.
const VTR_LISTS: u32 = 0x3f;

/// List registers of a core; all cores of a board have the same number.
static COUNT: AtomicU8 = AtomicU8::new(4);

/// Empties the virtual interface and turns it on.
pub fn init() {
    // The words of "empty" bits reach 32, GIC-400 has 4.
    let lists = (load(&GICH, VTR) & VTR_LISTS) + 1;
    COUNT.store(lists.min(16) as u8, Ordering::Relaxed);
    reset();
}

/// As the architecture resets the virtual interface: nothing pending or active, all groups off.
pub fn reset() {
    for n in 0..count() {
        write(n, 0);
    }
    store(&GICH, APR, 0);
    store(&GICH, VMCR, 0);
    store(&GICH, HCR, hcr::EN as u32);
}

/// How many there are.
#[inline]
pub fn count() -> usize {
    usize::from(COUNT.load(Ordering::Relaxed))
}

/// GICH_LR<n>.
#[inline]
pub fn read(index: usize) -> u64 {
    from_gich(load(&GICH, LR + 4 * index as u64))
}

/// Sets GICH_LR<n>.
#[inline]
pub fn write(index: usize, value: u64) {
    store(&GICH, LR + 4 * index as u64, to_gich(value));
}

/// GICH_ELRSR0.
#[inline]
pub fn empty() -> u32 {
    load(&GICH, ELRSR0)
}

/// GICH_VMCR, whose bits that matter here are those of ICH_VMCR_EL2.
#[inline]
pub fn machine_control() -> u64 {
    load(&GICH, VMCR).into()
}

/// GICH_HCR, whose bits are those of ICH_HCR_EL2.
#[inline]
pub fn control() -> u64 {
    load(&GICH, HCR).into()
}

/// Sets GICH_HCR.
#[inline]
pub fn set_control(value: u64) {
    store(&GICH, HCR, value as u32);
}

/// A list register as GICH has it, from ICH_LR's fields: state, group, HW, priority, and below bit 20 the interrupts.
fn to_gich(value: u64) -> u32 {
    let high = (value >> 62 & 3) << 28 | (value >> 61 & 1) << 31 | (value >> 60 & 1) << 30;
    let priority = (value >> 51 & 0x1f) << 23;
    let physical = (value >> 32 & 0x3ff) << 10;
    (high | priority | physical | value & 0x1fff) as u32
}

fn from_gich(value: u32) -> u64 {
    let value = u64::from(value);
    let hw = value >> 31 & 1;
    let low = if hw == 1 { (value >> 10 & 0x3ff) << 32 } else { (value >> 19 & 1) << 41 };
    let virtual_id = if hw == 1 { value & 0x3ff } else { value & 0x1fff };
    (value >> 28 & 3) << 62
        | hw << 61
        | (value >> 30 & 1) << 60
        | (value >> 23 & 0x1f) << 51
        | low
        | virtual_id
}
