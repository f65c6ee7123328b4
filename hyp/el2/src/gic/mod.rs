//! The board's interrupt controller, as the hypervisor uses it: its own interrupts, kicks, and acknowledging.
//!
//! The distributor and redistributors are set up by the arm-gic crate, once. What happens at every interrupt are the
//! CPU interface's system registers, here. Interrupts are acknowledged with EOImode 1 (IHI 0069 4.8.2): ending one drops
//! its priority, so that the next can come; deactivating is a second step, which a guest's own EOI does for interrupts
//! that are linked to a list register.

mod list_registers;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arm_gic::gicv3::GicV3;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::{IntId as GicIntId, Trigger, UniqueMmioPointer};
pub use list_registers::{Cpu as ListRegisters, reset as reset_virtual};
use spin::Mutex;
use tessera_core::addr::{CpuId, IntId};
use tessera_core::board::Gic;

use crate::cpu::{self, MAX_CPUS};
use crate::sysreg::{mrs, msr};
use crate::{barrier, memory};

/// What the acknowledge register gives when nothing is pending (IHI 0069 2.2.1).
const SPURIOUS_FROM: u32 = 1020;
/// The software-generated interrupt that makes a core look at what it has to do.
pub const KICK: u32 = 0;
/// Interrupt of the GIC's virtual interface: PPI 9 (BSA, table of PPIs).
pub const MAINTENANCE: u32 = 25;
/// Interrupt of EL2's physical timer: PPI 10.
pub const HYP_TIMER: u32 = 26;

/// Interrupts private to a core that the hypervisor takes.
const PRIVATE: [u32; 5] = [
    KICK,
    tessera_abi::layout::PMU_INTID,
    MAINTENANCE,
    HYP_TIMER,
    tessera_abi::layout::VTIMER_INTID,
];

static DRIVER: Mutex<Option<GicV3<'static>>> = Mutex::new(None);

/// ICC_SGI1R_EL1 that kicks each core (IHI 0069 12.2.20).
static KICKS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Sets the distributor up. Call once; its register ranges are mapped.
pub fn init_board(gic: Gic, cpus: usize) {
    let Gic::V3 { gicd, gicr } = gic else { return };
    let gicd = memory::direct(gicd.start) as *mut Gicd;
    let gicr = memory::direct(gicr.start) as *mut GicrSgi;
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
    list_registers::init();
    barrier::isb();
}

fn init_redistributor(driver: &mut GicV3<'_>, mpidr: u64) {
    let mine = |driver: &mut GicV3<'_>, n: &usize| {
        driver.gicr_typer(*n).is_ok_and(|typer| typer.core_mpidr() == mpidr)
    };
    let Some(index) = (0..MAX_CPUS).find(|n| mine(driver, n)) else { return };
    let Ok(mut redistributor) = driver.redistributor(index) else { return };
    // An error says that it is awake already.
    let _ = redistributor.mark_core_awake();
    redistributor.configure_default_settings();
    for intid in PRIVATE {
        let id = if intid < 16 { GicIntId::sgi(intid) } else { GicIntId::ppi(intid - 16) };
        let _ = redistributor.enable_interrupt(id, true);
    }
}

/// Lets SPI `intid` interrupt core `cpu`.
pub fn enable_spi(intid: IntId, cpu: CpuId, edge: bool) {
    let (Some(number), Some(core)) = (intid.0.checked_sub(32), cpu::get(cpu)) else { return };
    let id = GicIntId::spi(number);
    if let Some(driver) = DRIVER.lock().as_mut() {
        let trigger = if edge { Trigger::Edge } else { Trigger::Level };
        let distributor = driver.distributor();
        let _ = distributor.set_trigger(id, trigger);
        let _ = distributor.set_routing(id, Some(core.mpidr.load(Ordering::Relaxed)));
        let _ = distributor.enable_interrupt(id, true);
    }
}

/// Keeps SPI `intid` from interrupting.
pub fn disable_spi(intid: IntId) {
    let Some(number) = intid.0.checked_sub(32) else { return };
    if let Some(driver) = DRIVER.lock().as_mut() {
        let _ = driver.distributor().enable_interrupt(GicIntId::spi(number), false);
    }
}

/// Makes `cpu` leave its guest or its sleep.
#[inline]
pub fn kick(cpu: CpuId) {
    if let Some(kick) = KICKS.get(usize::from(cpu.0)) {
        // What the other core is to see must be visible before the interrupt is (IHI 0069 4.3.2).
        barrier::dsb_ishst();
        msr!("icc_sgi1r_el1", kick.load(Ordering::Relaxed));
        barrier::isb();
    }
}

/// Kicks every core but this one.
pub fn kick_all_others() {
    barrier::dsb_ishst();
    // IRM: all but self (IHI 0069 12.2.20).
    msr!("icc_sgi1r_el1", 1 << 40 | u64::from(KICK) << 24);
    barrier::isb();
}

/// Takes the pending interrupt of highest priority, or `None` where there is none.
#[inline]
pub fn acknowledge() -> Option<IntId> {
    let intid = mrs!("icc_iar1_el1") as u32;
    // The acknowledgement happens before anything the interrupt is about is read.
    barrier::dsb_sy();
    (intid < SPURIOUS_FROM).then_some(IntId(intid))
}

/// Drops the priority of an acknowledged interrupt; it stays active.
#[inline]
pub fn end(intid: IntId) {
    msr!("icc_eoir1_el1", u64::from(intid.0));
    barrier::isb();
}

/// Deactivates an interrupt whose priority was dropped: it can come again.
#[inline]
pub fn deactivate(intid: IntId) {
    msr!("icc_dir_el1", u64::from(intid.0));
    barrier::isb();
}
