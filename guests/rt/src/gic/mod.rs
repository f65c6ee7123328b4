//! The interrupt controller: a GICv2 (IHI 0048) or a GICv3 (IHI 0069), as the device tree has it.
//!
//! The distributors of both have the same arrays at the same offsets, and the rest has one face here, so that a guest
//! that only wants its interrupts does not ask which it has. What one version alone has is in its own module. It was an
//! idea to ask ID_AA64PFR0_EL1.GIC; but a CPU with system registers may well be on a board with a GICv2.

pub mod v2;
pub mod v3;

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tessera_abi::layout::{GROUP_INTID, MAX_GROUPS};

use crate::cpu;
use crate::mmio::{read32, write8, write32};

/// Architecture of the interrupt controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    /// Distributor and CPU interface by memory.
    V2,
    /// Distributor and redistributors by memory, CPU interface by system registers.
    #[default]
    V3,
}

/// Interrupt numbers that the run-time keeps handlers for.
pub const INTIDS: usize = 256;
/// From here on an INTID says that there is none.
pub const SPURIOUS: u32 = 1020;

/// Distributor.
pub const GICD: u64 = 0x0800_0000;

/// Distributor control (IHI 0048 4.3.1, IHI 0069 12.9.4).
pub const CTLR: u64 = 0x0000;
/// What the distributor has.
pub const TYPER: u64 = 0x0004;
/// Who made it.
pub const IIDR: u64 = 0x0008;
/// Group registers; these and the following lie alike in both distributors and in GICv3's SGI frame.
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

/// Priority that everything has after [`init_cpu`].
pub const DEFAULT_PRIORITY: u8 = 0xa0;
/// Priority mask after [`init_cpu`]: all but the least urgent.
pub const DEFAULT_MASK: u8 = 0xf0;

static IS_V2: AtomicBool = AtomicBool::new(false);

/// Says which it is, before anything else is called.
pub(crate) fn set_version(version: Version) {
    IS_V2.store(version == Version::V2, Relaxed);
}

/// It is a GICv2.
#[inline(always)]
pub fn is_v2() -> bool {
    IS_V2.load(Relaxed)
}

/// The frame that has the registers of `intid`: the distributor's for SPIs, and for SGIs and PPIs the one that shows
/// this CPU's own.
pub fn frame(intid: u32) -> u64 {
    if intid >= 32 || is_v2() {
        return GICD;
    }
    v3::redistributor(cpu::affinity()).unwrap_or(v3::GICR) + v3::SGI_FRAME
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
    write8(frame(intid) + IPRIORITYR + u64::from(intid), priority);
}

/// Makes an SPI or PPI edge-triggered, or level-sensitive.
pub fn set_edge(intid: u32, edge: bool) {
    let at = frame(intid) + ICFGR + u64::from(intid / 16) * 4;
    let shift = intid % 16 * 2;
    write32(at, read32(at) & !(3 << shift) | u32::from(edge) << (shift + 1));
}

/// Interrupts that the distributor has, from GICD_TYPER.
pub fn lines() -> u32 {
    32 * ((read32(GICD + TYPER) & 0x1f) + 1)
}

/// The first array of the distributor that has not its reset value, 0; before anything was set up (IHI 0048 4.3, IHI 0069
/// 12.9). SGIs may be enabled from the start.
pub fn not_reset() -> Option<u64> {
    // Members of a group may have rung already.
    let doorbells = ((1 << MAX_GROUPS) - 1) << (GROUP_INTID % 32);
    let dirty = |array: u64, intid: u32, own: u32| {
        let at = frame(intid) + array + u64::from(intid / 32) * 4;
        let others = if array == ISPENDR { !doorbells } else { u32::MAX };
        read32(at) & if intid < 32 { own } else { others } != 0
    };
    let words = || (0..lines()).step_by(32);
    let arrays = [(ISENABLER, 0xffff_0000), (ISPENDR, u32::MAX), (ISACTIVER, u32::MAX)];
    let bits = arrays.into_iter().find(|(array, own)| words().any(|n| dirty(*array, n, *own)));
    let priority = |intid: u32| read32(frame(intid) + IPRIORITYR + u64::from(intid)) != 0;
    let bytes = (0..lines()).step_by(4).any(priority).then_some(IPRIORITYR);
    let interface = if is_v2() { v2::not_reset() } else { None };
    bits.map(|(array, _)| array).or(bytes).or(interface)
}

/// Sends an SPI to the CPU with this affinity; to none, where no CPU has it.
pub fn route(intid: u32, affinity: u64) {
    if is_v2() { v2::route(intid, v2::target(affinity)) } else { v3::route(intid, affinity) }
}

/// Sets up the distributor: all SPIs off, at the default priority, sent to the boot CPU.
pub fn init_distributor() {
    if is_v2() { v2::init_distributor() } else { v3::init_distributor() }
}

/// Sets up this CPU's interface and its own interrupts; SGIs are on, PPIs off.
pub fn init_cpu() {
    if is_v2() { v2::init_cpu() } else { v3::init_cpu() }
}

/// Takes the most urgent interrupt. On a GICv2 an SGI has its sender in bits 12:10; [`end`] wants it as it came.
pub fn acknowledge() -> u32 {
    if is_v2() { v2::acknowledge() } else { v3::acknowledge() }
}

/// Ends an interrupt that was acknowledged.
pub fn end(taken: u32) {
    if is_v2() { v2::end(taken) } else { v3::end(taken) }
}

/// Deactivates an interrupt whose end dropped its priority only ([`set_split_end`]).
pub fn deactivate(taken: u32) {
    if is_v2() { v2::deactivate(taken) } else { v3::deactivate(taken) }
}

/// Sends SGI `intid` to the CPUs in the list of cluster 0.
pub fn send_sgi(intid: u32, targets: u16) {
    if is_v2() { v2::send_sgi(intid, targets as u8) } else { v3::send_sgi(intid, targets) }
}

/// Sends SGI `intid` to all CPUs but this one.
pub fn broadcast_sgi(intid: u32) {
    if is_v2() { v2::broadcast_sgi(intid) } else { v3::broadcast_sgi(intid) }
}

/// Only interrupts more urgent than this come.
pub fn set_mask(mask: u8) {
    if is_v2() { v2::set_mask(mask) } else { v3::set_mask(mask) }
}

/// The priority mask.
pub fn mask() -> u64 {
    if is_v2() { v2::mask() } else { v3::mask() }
}

/// Priority of what runs, 0xff where nothing does.
pub fn running() -> u64 {
    if is_v2() { v2::running() } else { v3::running() }
}

/// What [`acknowledge`] would take.
pub fn most_urgent() -> u32 {
    if is_v2() { v2::most_urgent() } else { v3::most_urgent() }
}

/// Lets interrupts through to this CPU, or none.
pub fn set_interface(on: bool) {
    if is_v2() { v2::set_interface(on) } else { v3::set_interface(on) }
}

/// Whether the end of an interrupt drops its priority only, and [`deactivate`] does the rest (EOImode).
pub fn set_split_end(split: bool) {
    if is_v2() { v2::set_split_end(split) } else { v3::set_split_end(split) }
}

/// Bits of GICD_CTLR that let the run-time's group through.
pub fn group_enable() -> u32 {
    if is_v2() { v2::GROUP0 } else { v3::GROUP1 }
}
