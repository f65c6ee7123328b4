//! GICv2 (IHI 0048): distributor, the cores' interface and the virtual interface are memory.
//!
//! A GIC with the security extension shows us its non-secure side (on a board with firmware), one without shows all it
//! has (QEMU's Raspberry Pi). Both are set up by the same writes: bit 0 of GICD_CTLR and GICC_CTLR enables what we can
//! have, group 1 there and group 0 here, and bit 9 of GICC_CTLR is the EOI mode of it (IHI 0048 4.3.1, 4.4.1). Which
//! group an interrupt is in is the firmware's to say; what it kept for itself reads as disabled, which is found out
//! when it is enabled.
//!
//! QEMU's GICv2 (up to 10.0 at least) deactivates a physical interrupt when a guest ends the virtual one that is linked to it,
//! and does not look whether its line is up again. So a timer that a guest sets anew in its handler is lost if the time comes
//! before the handler's end, until anything else happens to the GIC: a guest with one vCPU on a board that is idle slept
//! for ever. There each core's own timer fires now and then ([`needs_stirring`]): its line moves, which is enough.
//!
//! Not taken: the GICv2 driver of the arm-gic crate (0.10), which knows the secure side's enable bit only, cannot route
//! an SPI, and changes the priority of the three neighbours too.

pub mod lists;

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

pub use lists::reset as reset_virtual;
use tessera_core::addr::{CpuId, IntId, Pa};
use tessera_core::lock::Mutex;

use super::{Acknowledged, KICK, PRIVATE};
use crate::cpu::MAX_CPUS;
use crate::memory;

/// The distributor's registers (IHI 0048 4.3).
mod gicd {
    pub const CTLR: u64 = 0x000;
    pub const TYPER: u64 = 0x004;
    pub const IIDR: u64 = 0x008;
    /// IIDR of QEMU's: Arm's product 0 (QEMU hw/intc/arm_gic.c), which in silicon has no virtualization. A GIC-400 is 2.
    pub const IIDR_QEMU: u32 = 0x43b;
    /// TYPER.ITLinesNumber: 32 interrupts each, less one.
    pub const LINES: u32 = 0x1f;
    pub const ISENABLER: u64 = 0x100;
    pub const ICENABLER: u64 = 0x180;
    pub const ISPENDR: u64 = 0x200;
    pub const ICPENDR: u64 = 0x280;
    pub const ISACTIVER: u64 = 0x300;
    pub const ICACTIVER: u64 = 0x380;
    pub const IPRIORITYR: u64 = 0x400;
    pub const ITARGETSR: u64 = 0x800;
    pub const ICFGR: u64 = 0xc00;
    pub const SGIR: u64 = 0xf00;
    /// CTLR and GICC_CTLR: the group that is ours.
    pub const ENABLE: u32 = 1;
    /// SGIR: all cores but this one.
    pub const TO_OTHERS: u32 = 0b01 << 24;
    /// SGIR: where the list of target cores begins.
    pub const TARGETS_SHIFT: u32 = 16;
}

/// The registers of a core's interface (IHI 0048 4.4).
mod gicc {
    pub const CTLR: u64 = 0x0000;
    pub const PMR: u64 = 0x0004;
    pub const BPR: u64 = 0x0008;
    pub const IAR: u64 = 0x000c;
    pub const EOIR: u64 = 0x0010;
    pub const APR: u64 = 0x00d0;
    pub const DIR: u64 = 0x1000;
    /// CTLR: ending an interrupt only drops its priority.
    pub const EOI_MODE: u32 = 1 << 9;
    /// CTLR: what firmware said of bypassing the interface.
    pub const BYPASS: u32 = 0xf << 5;
    /// PMR: interrupts of every priority.
    pub const ALL_PRIORITIES: u32 = 0xff;
    /// How many APRs there are.
    pub const APRS: u64 = 4;
}

/// A priority in the middle, the same for all that is ours.
const PRIORITY: u32 = 0xa0a0_a0a0;

/// Where the interfaces are in EL2's address space. Written once, before other cores run.
static GICD: AtomicU64 = AtomicU64::new(0);
static GICC: AtomicU64 = AtomicU64::new(0);
static GICH: AtomicU64 = AtomicU64::new(0);

/// It is QEMU's.
static STIR: AtomicBool = AtomicBool::new(false);

/// Guards the distributor's registers of several interrupts.
static SETUP: Mutex<()> = Mutex::new(());

/// GICD_SGIR that kicks each core.
static KICKS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

#[inline(always)]
fn read(interface: &AtomicU64, offset: u64) -> u32 {
    let at = (interface.load(Ordering::Relaxed) + offset) as *const u32;
    // SAFETY: an interface of the board's GIC, mapped as device memory; offsets are those of the specification.
    unsafe { ptr::read_volatile(at) }
}

#[inline(always)]
fn write(interface: &AtomicU64, offset: u64, value: u32) {
    let at = (interface.load(Ordering::Relaxed) + offset) as *mut u32;
    // SAFETY: as for the load; no register of a GIC makes it access memory.
    unsafe { ptr::write_volatile(at, value) }
}

/// Sets the distributor up.
pub fn init_board(gicd: Pa, gicc: Pa, gich: Pa) {
    for (interface, at) in [(&GICD, gicd), (&GICC, gicc), (&GICH, gich)] {
        interface.store(memory::direct(at), Ordering::Relaxed);
    }
    STIR.store(read(&GICD, gicd::IIDR) == gicd::IIDR_QEMU, Ordering::Relaxed);
    // The first 32 are the cores' own.
    let words = u64::from(read(&GICD, gicd::TYPER) & gicd::LINES) + 1;
    for n in 1..words {
        quieten(n);
    }
    write(&GICD, gicd::CTLR, gicd::ENABLE);
}

/// Whether something has to happen to the GIC now and then, for it to look at the lines of all interrupts.
pub fn needs_stirring() -> bool {
    STIR.load(Ordering::Relaxed)
}

/// Switches 32 interrupts off. Firmware may have used some: a line that nobody waits for would interrupt for ever.
fn quieten(n: u64) {
    write(&GICD, gicd::ICENABLER + 4 * n, u32::MAX);
    write(&GICD, gicd::ICPENDR + 4 * n, u32::MAX);
    write(&GICD, gicd::ICACTIVER + 4 * n, u32::MAX);
    for four in 0..8 {
        write(&GICD, gicd::IPRIORITYR + 32 * n + 4 * four, PRIORITY);
    }
}

/// Sets this core's interface up.
pub fn init_cpu(cpu: CpuId) {
    quieten(0);
    let ours = PRIVATE.iter().fold(0, |all, intid| all | 1 << intid);
    write(&GICD, gicd::ISENABLER, ours);
    let enabled = read(&GICD, gicd::ISENABLER);
    if enabled & ours != ours {
        log::error!("core {}: the firmware keeps interrupts {:#x}", cpu.0, ours & !enabled);
    }
    // The targets of a core's own interrupts are that core. A GIC for one core has no such register, and that core is
    // the first (IHI 0048 4.3.12).
    let targets = read(&GICD, gicd::ITARGETSR).to_le_bytes();
    let own = targets.iter().fold(0, |all, &target| all | target).max(1);
    if let Some(kick) = KICKS.get(usize::from(cpu.0)) {
        kick.store(u32::from(own) << gicd::TARGETS_SHIFT | KICK, Ordering::Relaxed);
    }
    for n in 0..gicc::APRS {
        write(&GICC, gicc::APR + 4 * n, 0);
    }
    write(&GICC, gicc::PMR, gicc::ALL_PRIORITIES);
    write(&GICC, gicc::BPR, 0);
    let bypass = read(&GICC, gicc::CTLR) & gicc::BYPASS;
    write(&GICC, gicc::CTLR, bypass | gicc::EOI_MODE | gicd::ENABLE);
    lists::init();
}

/// Lets SPI `intid` interrupt core `cpu`; whether it does.
pub fn enable_spi(intid: IntId, cpu: CpuId, edge: bool) -> bool {
    let n = u64::from(intid.0);
    route_spi(intid, cpu);
    let _setup = SETUP.lock();
    // Two bits of configuration an interrupt, of which the upper says edge (4.3.13).
    set_field(gicd::ICFGR + n / 16 * 4, 2 * (intid.0 % 16), 0b11, u32::from(edge) << 1);
    write(&GICD, gicd::ISENABLER + n / 32 * 4, 1 << (intid.0 % 32));
    read(&GICD, gicd::ISENABLER + n / 32 * 4) >> (intid.0 % 32) & 1 != 0
}

/// Lets SPI `intid` interrupt core `cpu`.
pub fn route_spi(intid: IntId, cpu: CpuId) {
    let kick = KICKS.get(usize::from(cpu.0)).map_or(0, |kick| kick.load(Ordering::Relaxed));
    let n = u64::from(intid.0);
    let _setup = SETUP.lock();
    // A byte of targets an interrupt (4.3.12).
    set_field(gicd::ITARGETSR + n / 4 * 4, 8 * (intid.0 % 4), 0xff, kick >> gicd::TARGETS_SHIFT);
}

/// Makes SPI `intid` pending.
pub fn pend_spi(intid: IntId) {
    write(&GICD, gicd::ISPENDR + u64::from(intid.0) / 32 * 4, 1 << (intid.0 % 32));
}

/// Changes one field of a register that has those of several interrupts.
fn set_field(offset: u64, shift: u32, mask: u32, value: u32) {
    let others = read(&GICD, offset) & !(mask << shift);
    write(&GICD, offset, others | value << shift);
}

/// Keeps SPI `intid` from interrupting.
pub fn disable_spi(intid: IntId) {
    write(&GICD, gicd::ICENABLER + u64::from(intid.0) / 32 * 4, 1 << (intid.0 % 32));
}

/// Lets SPI `intid` interrupt again.
pub fn unmask_spi(intid: IntId) {
    write(&GICD, gicd::ISENABLER + u64::from(intid.0) / 32 * 4, 1 << (intid.0 % 32));
}

/// Makes a PPI of this core active: the registers of the first 32 interrupts are each core's own (IHI 0048 4.3.9).
pub fn activate_ppi(intid: IntId) {
    write(&GICD, gicd::ISACTIVER, 1 << (intid.0 % 32));
}

/// Sends the kick.
#[inline(always)]
pub fn kick(cpu: CpuId) {
    if let Some(kick) = KICKS.get(usize::from(cpu.0)) {
        write(&GICD, gicd::SGIR, kick.load(Ordering::Relaxed));
    }
}

/// Sends the kick to all other cores.
pub fn kick_all_others() {
    if GICD.load(Ordering::Relaxed) != 0 {
        write(&GICD, gicd::SGIR, gicd::TO_OTHERS | KICK);
    }
}

/// GICC_IAR.
#[inline(always)]
pub fn acknowledge() -> Acknowledged {
    Acknowledged { token: read(&GICC, gicc::IAR).into() }
}

/// GICC_EOIR.
#[inline(always)]
pub fn end(token: u64) {
    write(&GICC, gicc::EOIR, token as u32);
}

/// GICC_DIR.
#[inline(always)]
pub fn deactivate(token: u64) {
    write(&GICC, gicc::DIR, token as u32);
}
