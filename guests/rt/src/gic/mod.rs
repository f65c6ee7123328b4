//! GICv3 (IHI 0069): distributor and redistributors by memory, CPU interface by system registers.

use crate::mmio::{read32, read64, write32};
use crate::{cpu, mrs, msr};

/// Interrupt numbers that the run-time keeps handlers for.
pub const INTIDS: usize = 256;
/// From here on an INTID says that there is none.
pub const SPURIOUS: u32 = 1020;

/// Distributor.
pub const GICD: u64 = 0x0800_0000;
/// First redistributor.
pub const GICR: u64 = 0x080a_0000;
/// From a redistributor's first frame to its second, with the SGIs and PPIs.
pub const SGI_FRAME: u64 = 0x1_0000;
/// From one redistributor to the next.
pub const STRIDE: u64 = 0x2_0000;

/// Distributor control (IHI 0069 12.9.4).
pub const CTLR: u64 = 0x0000;
/// What the distributor has.
pub const TYPER: u64 = 0x0004;
/// Who made it.
pub const IIDR: u64 = 0x0008;
/// Group registers; these and the following lie alike in the distributor and in the SGI frame.
pub const IGROUPR: u64 = 0x0080;
/// Set enable.
pub const ISENABLER: u64 = 0x0100;
/// Clear enable.
pub const ICENABLER: u64 = 0x0180;
/// Set pending.
pub const ISPENDR: u64 = 0x0200;
/// Clear pending.
pub const ICPENDR: u64 = 0x0280;
/// Set active.
pub const ISACTIVER: u64 = 0x0300;
/// Clear active.
pub const ICACTIVER: u64 = 0x0380;
/// Priorities, a byte each.
pub const IPRIORITYR: u64 = 0x0400;
/// Edge or level, two bits each.
pub const ICFGR: u64 = 0x0c00;
/// Where an SPI goes, 64 bits each.
pub const IROUTER: u64 = 0x6000;
/// Peripheral identification.
pub const PIDR2: u64 = 0xffe8;
/// Redistributor's wake-up register.
pub const WAKER: u64 = 0x0014;

/// Priority that everything has after [`init_cpu`].
pub const DEFAULT_PRIORITY: u8 = 0xa0;

/// The redistributor of the CPU with this affinity, as its GICR_TYPER says.
pub fn redistributor(affinity: u64) -> Option<u64> {
    let packed = (affinity >> 8 & 0xff00_0000) | affinity & 0xff_ffff;
    (0..crate::machine::MAX_CPUS as u64)
        .map(|n| GICR + n * STRIDE)
        .find(|base| read64(base + 8) >> 32 == packed)
}

/// The frame that has the registers of `intid`: the distributor's for SPIs, this CPU's own for SGIs and PPIs.
pub fn frame(intid: u32) -> u64 {
    if intid >= 32 {
        return GICD;
    }
    redistributor(cpu::affinity()).unwrap_or(GICR) + SGI_FRAME
}

/// Address of the 32-bit register of a bit-per-interrupt array, and the interrupt's bit in it.
pub fn bit(array: u64, intid: u32) -> (u64, u32) {
    (frame(intid) + array + u64::from(intid / 32) * 4, 1 << (intid % 32))
}

/// Reads the interrupt's bit of such an array.
pub fn get(array: u64, intid: u32) -> bool {
    let (at, mask) = bit(array, intid);
    read32(at) & mask != 0
}

/// Writes a one for the interrupt to such an array.
pub fn set(array: u64, intid: u32) {
    let (at, mask) = bit(array, intid);
    write32(at, mask);
}

/// Lets the interrupt through.
pub fn enable(intid: u32) {
    set(ISENABLER, intid);
}

/// Keeps the interrupt back.
pub fn disable(intid: u32) {
    set(ICENABLER, intid);
    cpu::dsb();
}

/// Sets the priority; lower is more urgent.
pub fn set_priority(intid: u32, priority: u8) {
    crate::mmio::write8(frame(intid) + IPRIORITYR + u64::from(intid), priority);
}

/// Makes an SPI or PPI edge-triggered, or level-sensitive.
pub fn set_edge(intid: u32, edge: bool) {
    let at = frame(intid) + ICFGR + u64::from(intid / 16) * 4;
    let shift = intid % 16 * 2;
    write32(at, read32(at) & !(3 << shift) | u32::from(edge) << (shift + 1));
}

/// Sends an SPI to the CPU with this affinity.
pub fn route(intid: u32, affinity: u64) {
    crate::mmio::write64(GICD + IROUTER + u64::from(intid) * 8, affinity);
}

/// Interrupts that the distributor has, from GICD_TYPER.
pub fn lines() -> u32 {
    32 * ((read32(GICD + TYPER) & 0x1f) + 1)
}

/// Sets up the distributor: all SPIs in group 1, off, at the default priority, sent to the boot CPU.
pub fn init_distributor() {
    write32(GICD + CTLR, 0);
    wait_written(GICD);
    write32(GICD + CTLR, 1 << 4); // ARE
    for word in 1..u64::from(lines() / 32) {
        write32(GICD + ICENABLER + word * 4, u32::MAX);
        write32(GICD + ICPENDR + word * 4, u32::MAX);
        write32(GICD + ICACTIVER + word * 4, u32::MAX);
        write32(GICD + IGROUPR + word * 4, u32::MAX);
    }
    for intid in 32..lines() {
        set_priority(intid, DEFAULT_PRIORITY);
        route(intid, cpu::affinity());
    }
    write32(GICD + CTLR, 1 << 4 | 1 << 1); // ARE, group 1
    wait_written(GICD);
}

/// Sets up this CPU's redistributor and interface; SGIs are on, PPIs off.
pub fn init_cpu() {
    let Some(base) = redistributor(cpu::affinity()) else { return };
    write32(base + WAKER, read32(base + WAKER) & !2);
    while read32(base + WAKER) & 4 != 0 {}
    let sgi = base + SGI_FRAME;
    write32(sgi + ICENABLER, 0xffff_0000);
    write32(sgi + ICPENDR, u32::MAX);
    write32(sgi + ICACTIVER, u32::MAX);
    write32(sgi + IGROUPR, u32::MAX);
    for intid in 0..32 {
        set_priority(intid, DEFAULT_PRIORITY);
    }
    write32(sgi + ISENABLER, 0xffff);
    msr!("ICC_SRE_EL1", 7);
    msr!("ICC_AP1R0_EL1", 0);
    msr!("ICC_PMR_EL1", 0xf0);
    msr!("ICC_BPR1_EL1", 0);
    msr!("ICC_CTLR_EL1", 0);
    msr!("ICC_IGRPEN1_EL1", 1);
}

/// Waits until writes to the distributor's or redistributor's control have taken effect (RWP).
fn wait_written(frame: u64) {
    while read32(frame + CTLR) & 1 << 31 != 0 {}
}

/// Takes the most urgent interrupt (ICC_IAR1_EL1).
pub fn acknowledge() -> u32 {
    let intid = mrs!("ICC_IAR1_EL1") as u32 & 0xff_ffff;
    cpu::dsb();
    intid
}

/// Ends an interrupt (ICC_EOIR1_EL1).
pub fn end(intid: u32) {
    msr!("ICC_EOIR1_EL1", u64::from(intid));
}

/// Sends SGI `intid` to the CPUs in the 16-bit list of cluster 0.
pub fn send_sgi(intid: u32, targets: u16) {
    cpu::dsb();
    msr!("ICC_SGI1R_EL1", u64::from(intid) << 24 | u64::from(targets));
}

/// Sends SGI `intid` to all CPUs but this one.
pub fn broadcast_sgi(intid: u32) {
    cpu::dsb();
    msr!("ICC_SGI1R_EL1", 1 << 40 | u64::from(intid) << 24);
}
