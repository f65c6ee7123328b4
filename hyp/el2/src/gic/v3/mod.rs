//! GICv3 and later: the arm-gic crate sets up distributor and redistributors, once; the CPU interface, which every
//! interrupt goes through, is system registers (IHI 0069 12.2).

pub mod lists;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arm_gic::gicv3::GicV3;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::{IntId as GicIntId, Trigger, UniqueMmioPointer};
pub use lists::reset as reset_virtual;
use tessera_core::addr::{CpuId, IntId, Pa};
use tessera_core::lock::Mutex;

use super::{Acknowledged, FIRST_SPI, KICK, PRIVATE};
use crate::cpu::{self, MAX_CPUS, PerCpu};
use crate::sysreg::{mrs, msr};
use crate::{barrier, memory};

static DRIVER: Mutex<Option<GicV3<'static>>> = Mutex::new(None);

/// The distributor's registers in the direct map, once it is set up.
static GICD: AtomicU64 = AtomicU64::new(0);
/// GICD_ISPENDR<n>.
const ISPENDR: u64 = 0x200;
/// GICR_ISACTIVER0, in the frame of SGIs and PPIs (IHI 0069 12.11.27).
const ISACTIVER: u64 = 0x300;
/// Where the redistributors are, in the direct map.
static GICR: AtomicU64 = AtomicU64::new(0);
/// A frame of a redistributor: the second is that of SGIs and PPIs (IHI 0069 12.10).
const FRAME: u64 = 0x1_0000;

/// ICC_SGI1R_EL1 that kicks each core (IHI 0069 12.2.20).
static KICKS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Sets the distributor up, and knows the redistributors of `cpus` cores from `gicr` on.
pub fn init_board(gicd: Pa, gicr: Pa, cpus: usize) {
    GICD.store(memory::direct(gicd), Ordering::Relaxed);
    GICR.store(memory::direct(gicr), Ordering::Relaxed);
    let gicd = memory::direct(gicd) as *mut Gicd;
    let gicr = memory::direct(gicr) as *mut GicrSgi;
    let (Some(gicd), Some(gicr)) = (NonNull::new(gicd), NonNull::new(gicr)) else { return };
    // SAFETY: the ranges come from the board's device tree, are mapped as device memory, and this driver is the only
    // one that touches them.
    let gicd = unsafe { UniqueMmioPointer::new(gicd) };
    // SAFETY: as above.
    let Ok(mut driver) = (unsafe { GicV3::new(gicd, gicr, cpus) }) else { return };
    // Firmware may have used some: a line that nobody waits for would interrupt for ever.
    driver.distributor().enable_all_interrupts(false);
    driver.distributor().configure_default_settings();
    *DRIVER.lock() = Some(driver);
}

/// Remembers how `cpu` is addressed.
pub fn set_kick(cpu: CpuId, mpidr: u64) {
    let aff = |n: u32| mpidr >> n & 0xff;
    let target = aff(32) << 48 | (aff(0) >> 4) << 44 | aff(16) << 32 | aff(8) << 16;
    let value = target | u64::from(KICK) << 24 | 1 << (aff(0) & 15);
    if let Some(kick) = KICKS.get(usize::from(cpu.0)) {
        kick.store(value, Ordering::Relaxed);
    }
}

/// Sets this core's redistributor and CPU interface up.
pub fn init_cpu(mpidr: u64) {
    // System registers on, for EL1 too; no bypass (IHI 0069 12.2.24).
    msr!("icc_sre_el2", 0xf);
    barrier::isb();
    msr!("icc_sre_el1", 0x7);
    if let Some(driver) = DRIVER.lock().as_mut() {
        init_redistributor(driver, mpidr);
    }
    msr!("icc_pmr_el1", 0xff);
    msr!("icc_bpr1_el1", 0);
    // EOImode: ending drops the priority only.
    msr!("icc_ctlr_el1", 1 << 1);
    msr!("icc_igrpen1_el1", 1);
    lists::init();
    barrier::isb();
}

fn init_redistributor(driver: &mut GicV3<'_>, mpidr: u64) {
    let mine = |driver: &mut GicV3<'_>, n: &usize| {
        driver.gicr_typer(*n).is_ok_and(|typer| typer.core_mpidr() == mpidr)
    };
    let Some(index) = (0..MAX_CPUS).find(|n| mine(driver, n)) else { return };
    if let Some(cpu) = cpu::current() {
        cpu.gicr_sgi.store(sgi_frame(index as u64), Ordering::Relaxed);
    }
    let Ok(mut redistributor) = driver.redistributor(index) else { return };
    // An error says that it is awake already.
    let _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    for intid in PRIVATE {
        let id = if intid < 16 { GicIntId::sgi(intid) } else { GicIntId::ppi(intid - 16) };
        let _ = redistributor.enable_interrupt(id, true);
    }
}

/// The frame of SGIs and PPIs of redistributor `index`, in the direct map.
fn sgi_frame(index: u64) -> u64 {
    /// GICR_TYPER, and its VLPIS: two more frames for virtual LPIs (IHI 0069 12.10, 12.11.34).
    const TYPER: u64 = 0x8;
    const VLPIS: u64 = 1 << 1;
    let first = GICR.load(Ordering::Relaxed);
    // SAFETY: a register of the first redistributor, mapped as device memory; a read has no effect.
    let typer = unsafe { core::ptr::read_volatile((first + TYPER) as *const u64) };
    let frames = if typer & VLPIS != 0 { 4 } else { 2 };
    first + index * frames * FRAME + FRAME
}

/// Lets SPI `intid` interrupt `core`; whether it does.
pub fn enable_spi(intid: IntId, core: &PerCpu, edge: bool) -> bool {
    let id = GicIntId::spi(intid.0 - FIRST_SPI);
    let mut driver = DRIVER.lock();
    let Some(distributor) = driver.as_mut().map(GicV3::distributor) else { return false };
    let trigger = if edge { Trigger::Edge } else { Trigger::Level };
    let _ = distributor.set_trigger(id, trigger);
    distributor.set_routing(id, Some(core.mpidr.load(Ordering::Relaxed))).is_ok()
        && distributor.enable_interrupt(id, true).is_ok()
}

/// Lets SPI `intid` interrupt `core`.
pub fn route_spi(intid: IntId, core: &PerCpu) {
    if let Some(driver) = DRIVER.lock().as_mut() {
        let id = GicIntId::spi(intid.0 - FIRST_SPI);
        let mpidr = core.mpidr.load(Ordering::Relaxed);
        let _ = driver.distributor().set_routing(id, Some(mpidr));
    }
}

/// Makes SPI `intid` pending, which the crate has nothing for.
pub fn pend_spi(intid: IntId) {
    let at = GICD.load(Ordering::Relaxed) + ISPENDR + u64::from(intid.0) / 32 * 4;
    // SAFETY: a register of the distributor, mapped as device memory since before SPIs were enabled. It changes only
    // the interrupts whose bit is written as one, so it does not get into the driver's way.
    unsafe { core::ptr::write_volatile(at as *mut u32, 1 << (intid.0 % 32)) };
}

/// Keeps SPI `intid` from interrupting.
pub fn disable_spi(intid: IntId) {
    set_spi(intid, false);
}

/// Lets SPI `intid` interrupt again.
pub fn unmask_spi(intid: IntId) {
    set_spi(intid, true);
}

fn set_spi(intid: IntId, enabled: bool) {
    if let Some(driver) = DRIVER.lock().as_mut() {
        let id = GicIntId::spi(intid.0 - FIRST_SPI);
        let _ = driver.distributor().enable_interrupt(id, enabled);
    }
}

/// Makes a PPI of this core active.
pub fn activate_ppi(intid: IntId) {
    let Some(cpu) = cpu::current() else { return };
    let at = cpu.gicr_sgi.load(Ordering::Relaxed) + ISACTIVER;
    // SAFETY: a register of this core's redistributor, mapped as device memory since before this core took interrupts. It
    // changes only the interrupts whose bit is written as one, so it does not get into the driver's way.
    unsafe { core::ptr::write_volatile(at as *mut u32, 1 << (intid.0 % 32)) };
}

/// Sends the kick.
#[inline(always)]
pub fn kick(cpu: CpuId) {
    if let Some(kick) = KICKS.get(usize::from(cpu.0)) {
        msr!("icc_sgi1r_el1", kick.load(Ordering::Relaxed));
        barrier::isb();
    }
}

/// Sends the kick to all other cores.
pub fn kick_all_others() {
    // IRM: all but self (IHI 0069 12.2.20).
    msr!("icc_sgi1r_el1", 1 << 40 | u64::from(KICK) << 24);
    barrier::isb();
}

/// ICC_IAR1_EL1.
#[inline(always)]
pub fn acknowledge() -> Acknowledged {
    Acknowledged { token: mrs!("icc_iar1_el1") }
}

/// ICC_EOIR1_EL1. Nothing is to wait for it but what follows in [`deactivate`].
#[inline(always)]
pub fn end(token: u64) {
    msr!("icc_eoir1_el1", token);
}

/// ICC_DIR_EL1.
#[inline(always)]
pub fn deactivate(token: u64) {
    barrier::isb();
    msr!("icc_dir_el1", token);
    barrier::isb();
}
