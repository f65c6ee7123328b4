//! This core's list registers: GICH (IHI 0048 5.3), each core's own at the same addresses.

use core::sync::atomic::{AtomicU8, Ordering};

use tessera_core::vgic::{MAX_LIST_REGISTERS, gich, hcr};

use super::super::Virtual;
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
    COUNT.store(lists.min(MAX_LIST_REGISTERS as u32) as u8, Ordering::Relaxed);
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

/// Takes what the interface has of a vCPU.
pub fn save(to: &mut Virtual) {
    to.machine_control = load(&GICH, VMCR).into();
    to.active[0] = load(&GICH, APR).into();
}

/// Gives it back.
pub fn restore(from: &Virtual) {
    store(&GICH, VMCR, from.machine_control as u32);
    store(&GICH, APR, from.active[0] as u32);
}

/// How many there are.
#[inline]
pub fn count() -> usize {
    usize::from(COUNT.load(Ordering::Relaxed))
}

/// GICH_LR<n>.
#[inline]
pub fn read(index: usize) -> u64 {
    gich::to_lr(load(&GICH, LR + 4 * index as u64))
}

/// Sets GICH_LR<n>.
#[inline]
pub fn write(index: usize, value: u64) {
    store(&GICH, LR + 4 * index as u64, gich::from_lr(value));
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
