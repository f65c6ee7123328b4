//! GICv3 (IHI 0069): distributor and redistributors by memory, CPU interface by system registers.

use super::{
    CTLR, DEFAULT_MASK, DEFAULT_PRIORITY, GICD, ICACTIVER, ICENABLER, ICPENDR, IGROUPR, ISENABLER,
    lines, set_priority,
};
use crate::mmio::{read32, read64, write32, write64};
use crate::{cpu, mrs, msr};

/// First redistributor.
pub const GICR: u64 = 0x080a_0000;
/// From a redistributor's first frame to its second, with the SGIs and PPIs.
pub const SGI_FRAME: u64 = 0x1_0000;
/// From one redistributor to the next.
pub const STRIDE: u64 = 0x2_0000;
/// Where an SPI goes, 64 bits each.
pub const IROUTER: u64 = 0x6000;
/// Peripheral identification.
pub const PIDR2: u64 = 0xffe8;
/// Redistributor's wake-up register.
pub const WAKER: u64 = 0x0014;
/// GICD_CTLR.EnableGrp1, without a security state.
pub const GROUP1: u32 = 1 << 1;
/// GICD_CTLR.ARE.
const AFFINITY_ROUTING: u32 = 1 << 4;
/// ICC_CTLR_EL1.EOImode.
const EOI_MODE: u64 = 1 << 1;

/// The redistributor of the CPU with this affinity, as its GICR_TYPER says.
pub fn redistributor(affinity: u64) -> Option<u64> {
    let packed = (affinity >> 8 & 0xff00_0000) | affinity & 0xff_ffff;
    (0..crate::machine::MAX_CPUS as u64)
        .map(|n| GICR + n * STRIDE)
        .find(|base| read64(base + 8) >> 32 == packed)
}

/// Sends an SPI to the CPU with this affinity.
pub fn route(intid: u32, affinity: u64) {
    write64(GICD + IROUTER + u64::from(intid) * 8, affinity);
}

/// Sets up the distributor: all SPIs in group 1, off, at the default priority, sent to the boot CPU.
pub fn init_distributor() {
    write32(GICD + CTLR, 0);
    wait_written(GICD);
    write32(GICD + CTLR, AFFINITY_ROUTING);
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
    write32(GICD + CTLR, AFFINITY_ROUTING | GROUP1);
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
    msr!("ICC_AP0R0_EL1", 0);
    msr!("ICC_AP1R0_EL1", 0);
    set_mask(DEFAULT_MASK);
    msr!("ICC_BPR1_EL1", 0);
    msr!("ICC_CTLR_EL1", 0);
    set_interface(true);
}

/// Waits until writes to the distributor's or redistributor's control have taken effect (RWP).
fn wait_written(frame: u64) {
    while read32(frame + CTLR) & 1 << 31 != 0 {}
}

/// Takes the most urgent interrupt (ICC_IAR1_EL1).
#[inline(always)]
pub fn acknowledge() -> u32 {
    let intid = mrs!("ICC_IAR1_EL1") as u32;
    cpu::dsb();
    intid
}

/// Ends an interrupt (ICC_EOIR1_EL1).
#[inline(always)]
pub fn end(intid: u32) {
    msr!("ICC_EOIR1_EL1", u64::from(intid));
}

/// Deactivates an interrupt (ICC_DIR_EL1).
pub fn deactivate(intid: u32) {
    msr!("ICC_DIR_EL1", u64::from(intid));
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

/// Sets the priority mask (ICC_PMR_EL1).
pub fn set_mask(mask: u8) {
    msr!("ICC_PMR_EL1", u64::from(mask));
}

/// Reads the priority mask.
pub fn mask() -> u64 {
    mrs!("ICC_PMR_EL1")
}

/// Priority of what runs (ICC_RPR_EL1).
pub fn running() -> u64 {
    mrs!("ICC_RPR_EL1")
}

/// The most urgent that pends (ICC_HPPIR1_EL1).
pub fn most_urgent() -> u32 {
    mrs!("ICC_HPPIR1_EL1") as u32
}

/// Lets group 1 through (ICC_IGRPEN1_EL1).
pub fn set_interface(on: bool) {
    msr!("ICC_IGRPEN1_EL1", u64::from(on));
}

/// Sets ICC_CTLR_EL1.EOImode.
pub fn set_split_end(split: bool) {
    let control = mrs!("ICC_CTLR_EL1");
    msr!("ICC_CTLR_EL1", if split { control | EOI_MODE } else { control & !EOI_MODE });
}
