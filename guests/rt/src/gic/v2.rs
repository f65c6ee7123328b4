//! GICv2 (IHI 0048): distributor and CPU interface by memory.
//!
//! Everything is in group 0, as Linux has it where there is no security state: it finds it so and leaves it.

use super::{
    CTLR, DEFAULT_MASK, DEFAULT_PRIORITY, GICD, ICACTIVER, ICENABLER, ICPENDR, IGROUPR, ISENABLER,
    lines, set_priority,
};
use crate::cpu;
use crate::mmio::{read8, read32, write8, write32};

/// Bytes of the distributor's registers.
pub const GICD_SIZE: u64 = 0x1000;
/// CPU interface.
pub const GICC: u64 = 0x0801_0000;
/// Bytes of its registers.
pub const GICC_SIZE: u64 = 0x2000;

/// Target CPUs of each interrupt, a byte each (IHI 0048 4.3.12).
pub const ITARGETSR: u64 = 0x0800;
/// Sends SGIs (4.3.15).
pub const SGIR: u64 = 0x0f00;
/// Takes SGIs back: for each SGI a byte with a bit for each sender (4.3.16).
pub const CPENDSGIR: u64 = 0x0f10;
/// Makes SGIs pending, in the same way (4.3.17).
pub const SPENDSGIR: u64 = 0x0f20;
/// Peripheral identification (4.3.18).
pub const PIDR2: u64 = 0x0fe8;
/// GICD_CTLR and GICC_CTLR: group 0 is let through.
pub const GROUP0: u32 = 1 << 0;
/// GICD_CTLR and GICC_CTLR: group 1 is let through.
pub const GROUP1: u32 = 1 << 1;

/// Priority mask of the CPU interface (4.4.2).
pub const PMR: u64 = 0x0004;
/// Binary point (4.4.3).
pub const BPR: u64 = 0x0008;
/// Acknowledge (4.4.4).
pub const IAR: u64 = 0x000c;
/// End of interrupt (4.4.5).
pub const EOIR: u64 = 0x0010;
/// Running priority (4.4.6).
pub const RPR: u64 = 0x0014;
/// Most urgent pending interrupt (4.4.7).
pub const HPPIR: u64 = 0x0018;
/// Binary point of group 1 (4.4.8).
pub const ABPR: u64 = 0x001c;
/// Acknowledge in group 1 (4.4.9).
pub const AIAR: u64 = 0x0020;
/// End of interrupt in group 1 (4.4.10).
pub const AEOIR: u64 = 0x0024;
/// Most urgent pending interrupt in group 1 (4.4.11).
pub const AHPPIR: u64 = 0x0028;
/// Active priorities (4.4.12).
pub const APR: u64 = 0x00d0;
/// Active priorities of group 1 where there is a security state (4.4.13).
pub const NSAPR: u64 = 0x00e0;
/// Who made the CPU interface (4.4.14).
pub const CPU_IIDR: u64 = 0x00fc;
/// Deactivate (4.4.15).
pub const DIR: u64 = 0x1000;
/// GICC_CTLR: IAR acknowledges group 1 too (4.4.1).
pub const ACK_CTL: u32 = 1 << 2;
/// GICC_CTLR: group 0 comes as FIQ.
pub const FIQ_EN: u32 = 1 << 3;
/// GICC_CTLR: the end of an interrupt drops its priority only.
pub const EOI_MODE: u32 = 1 << 9;

/// IAR and HPPIR: there is one in group 1, which they do not take without AckCtl (4.4.4).
pub const OTHER_GROUP: u32 = 1022;

/// SGIR: to all CPUs but the sender.
pub const TO_OTHERS: u32 = 1 << 24;
/// SGIR: to the sender.
pub const TO_SELF: u32 = 2 << 24;
/// Most CPUs that a GICv2 has.
const CPUS: u64 = 8;

/// The INTID of what was acknowledged.
pub const fn intid(taken: u32) -> u32 {
    taken & 0x3ff
}

/// The sender of an SGI that was acknowledged.
pub const fn sender(taken: u32) -> u32 {
    taken >> 10 & 7
}

/// The bit of the CPU with this affinity in target lists, 0 where no CPU has it. CPU interfaces are numbered as Aff0.
pub fn target(affinity: u64) -> u8 {
    if affinity < CPUS { 1 << affinity } else { 0 }
}

/// The bit of this CPU, as the targets of its own interrupts tell; with one CPU alone they read 0.
pub fn own_bit() -> u8 {
    read8(GICD + ITARGETSR).max(1)
}

/// The first register of the CPU interface that has not its reset value (4.4).
pub fn not_reset() -> Option<u64> {
    [CTLR, PMR, APR].into_iter().find(|register| read32(GICC + register) != 0)
}

/// Sets the targets of an SPI.
pub fn route(intid: u32, targets: u8) {
    write8(GICD + ITARGETSR + u64::from(intid), targets);
}

/// Sets up the distributor.
pub fn init_distributor() {
    write32(GICD + CTLR, 0);
    for word in 1..u64::from(lines() / 32) {
        write32(GICD + ICENABLER + word * 4, u32::MAX);
        write32(GICD + ICPENDR + word * 4, u32::MAX);
        write32(GICD + ICACTIVER + word * 4, u32::MAX);
        write32(GICD + IGROUPR + word * 4, 0);
    }
    let here = own_bit();
    for intid in 32..lines() {
        set_priority(intid, DEFAULT_PRIORITY);
        route(intid, here);
    }
    write32(GICD + CTLR, GROUP0);
}

/// Sets up this CPU's interface and its own interrupts.
pub fn init_cpu() {
    write32(GICD + ICENABLER, 0xffff_0000);
    write32(GICD + ICPENDR, u32::MAX);
    write32(GICD + ICACTIVER, u32::MAX);
    write32(GICD + IGROUPR, 0);
    for four in (0..16).step_by(4) {
        write32(GICD + CPENDSGIR + four, u32::MAX);
    }
    for intid in 0..32 {
        set_priority(intid, DEFAULT_PRIORITY);
    }
    write32(GICD + ISENABLER, 0xffff);
    write32(GICC + CTLR, 0);
    for word in (0..16).step_by(4) {
        write32(GICC + APR + word, 0);
        write32(GICC + NSAPR + word, 0);
    }
    set_mask(DEFAULT_MASK);
    write32(GICC + BPR, 0);
    write32(GICC + ABPR, 0);
    write32(GICC + CTLR, GROUP0);
}

/// Takes the most urgent interrupt (GICC_IAR), an SGI with its sender.
#[inline(always)]
pub fn acknowledge() -> u32 {
    let taken = read32(GICC + IAR);
    cpu::dsb();
    taken
}

/// Ends an interrupt (GICC_EOIR), and waits until that is done.
#[inline(always)]
pub fn end(taken: u32) {
    write32(GICC + EOIR, taken);
    cpu::dsb();
}

/// Deactivates an interrupt (GICC_DIR).
pub fn deactivate(taken: u32) {
    write32(GICC + DIR, taken);
    cpu::dsb();
}

/// Sends SGI `intid` to the CPUs in the list.
pub fn send_sgi(intid: u32, targets: u8) {
    cpu::dsb();
    write32(GICD + SGIR, u32::from(targets) << 16 | intid);
}

/// Sends SGI `intid` to all CPUs but this one.
pub fn broadcast_sgi(intid: u32) {
    cpu::dsb();
    write32(GICD + SGIR, TO_OTHERS | intid);
}

/// Sets the priority mask (GICC_PMR).
pub fn set_mask(mask: u8) {
    write32(GICC + PMR, u32::from(mask));
    cpu::dsb();
}

/// Reads the priority mask.
pub fn mask() -> u64 {
    u64::from(read32(GICC + PMR))
}

/// Priority of what runs (GICC_RPR).
pub fn running() -> u64 {
    u64::from(read32(GICC + RPR))
}

/// The most urgent that pends (GICC_HPPIR).
pub fn most_urgent() -> u32 {
    read32(GICC + HPPIR)
}

/// Lets group 0 through.
pub fn set_interface(on: bool) {
    change_control(GROUP0, on);
}

/// Sets GICC_CTLR.EOImode.
pub fn set_split_end(split: bool) {
    change_control(EOI_MODE, split);
}

/// Sets or clears bits of GICC_CTLR.
pub fn change_control(bits: u32, set: bool) {
    let control = read32(GICC + CTLR);
    write32(GICC + CTLR, if set { control | bits } else { control & !bits });
    cpu::dsb();
}
