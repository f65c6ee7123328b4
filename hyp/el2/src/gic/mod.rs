//! The board's interrupt controller, as the hypervisor uses it: its own interrupts, kicks, and acknowledging.
//!
//! A GICv3's CPU interface is system registers, a GICv2's is memory; [`v3`] and [`v2`] are the two, and this module is
//! the one of the board ([`choice`]). Interrupts are acknowledged with EOImode 1 (IHI 0069 4.8.2, IHI 0048 3.2.1):
//! ending one drops its priority, so that the next can come; deactivating is a second step, which a guest's own EOI does
//! for interrupts that are linked to a list register.

mod choice;
mod v2;
mod v3;

use tessera_core::addr::{CpuId, IntId};
use tessera_core::board::Gic;
use tessera_core::vgic;

use crate::barrier;
use crate::boot::stop;
use crate::cpu;
use crate::sysreg::mrs;
use choice::is_v2;

/// What the acknowledge register gives when nothing is pending (IHI 0069 2.2.1, IHI 0048 3.2.4).
pub const SPURIOUS_FROM: u32 = 1020;
/// First SPI.
const FIRST_SPI: u32 = 32;
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

/// An interrupt that was acknowledged.
#[derive(Clone, Copy)]
pub struct Acknowledged {
    /// What the register said, which is what ends it: a GICv2 also tells which core sent an SGI.
    token: u64,
}

impl Acknowledged {
    /// Which. Neither LPIs nor extended ranges are enabled, so the INTID is in the ten bits that a GICv2 has for it.
    #[inline(always)]
    pub fn intid(self) -> IntId {
        IntId(self.token as u32 & 0x3ff)
    }

    /// What the register said, for the record of the exit.
    #[inline(always)]
    pub fn token(self) -> u64 {
        self.token
    }
}

/// Sets the distributor up. Call once; its register ranges are mapped. Stops with advice where cores and board do not
/// go together.
pub fn init_board(gic: Gic, cpus: usize) {
    match gic {
        Gic::V3 { gicd, gicr } if !is_v2() => v3::init_board(gicd.start, gicr.start, cpus),
        Gic::V2 { gicd, gicc, gich, .. } if is_v2() => {
            v2::init_board(gicd.start, gicc.start, gich.start);
        }
        _ => stop(format_args!(
            "the board's device tree and its cores (ID_AA64PFR0_EL1 {:#x}) disagree whether the interrupt controller \
             is a GICv2 or a GICv3: check the DTB",
            mrs!("id_aa64pfr0_el1")
        )),
    }
}

/// Whether something has to happen to the GIC now and then, for it to look at the lines of all interrupts.
pub fn needs_stirring() -> bool {
    is_v2() && v2::needs_stirring()
}

/// Sets this core's part up. Others can kick it from then on as `cpu`.
pub fn init_cpu(cpu: CpuId, mpidr: u64) {
    if is_v2() { v2::init_cpu(cpu) } else { v3::init_cpu(mpidr) }
}

/// Remembers how `cpu` is addressed, where its MPIDR tells.
pub fn set_kick(cpu: CpuId, mpidr: u64) {
    if !is_v2() {
        v3::set_kick(cpu, mpidr);
    }
}

/// Lets SPI `intid` interrupt core `cpu`.
pub fn enable_spi(intid: IntId, cpu: CpuId, edge: bool) {
    let Some(core) = cpu::get(cpu).filter(|_| intid.0 >= FIRST_SPI) else { return };
    let done =
        if is_v2() { v2::enable_spi(intid, cpu, edge) } else { v3::enable_spi(intid, core, edge) };
    if !done {
        log::error!(
            "interrupt {intid} cannot be enabled: the firmware keeps it, or it is not there"
        );
    }
}

/// Lets SPI `intid`, which is enabled, interrupt core `cpu` from now on. One that is pending meanwhile comes to either core
/// (IHI 0069 8.9.13, IHI 0048 4.3.12).
#[cold]
pub fn route_spi(intid: IntId, cpu: CpuId) {
    let Some(core) = cpu::get(cpu).filter(|_| intid.0 >= FIRST_SPI) else { return };
    if is_v2() { v2::route_spi(intid, cpu) } else { v3::route_spi(intid, core) }
}

/// Makes SPI `intid` pending, as if its line had been asserted (IHI 0069 8.9.17, IHI 0048 4.3.7).
#[cold]
pub fn pend_spi(intid: IntId) {
    if intid.0 < FIRST_SPI {
        return;
    }
    if is_v2() { v2::pend_spi(intid) } else { v3::pend_spi(intid) }
}

/// Keeps SPI `intid` from interrupting.
pub fn disable_spi(intid: IntId) {
    if intid.0 < FIRST_SPI {
        return;
    }
    if is_v2() { v2::disable_spi(intid) } else { v3::disable_spi(intid) }
}

/// Lets SPI `intid` interrupt again, as it did before [`disable_spi`].
pub fn unmask_spi(intid: IntId) {
    if intid.0 < FIRST_SPI {
        return;
    }
    if is_v2() { v2::unmask_spi(intid) } else { v3::unmask_spi(intid) }
}

/// Makes `cpu` leave its guest or its sleep.
#[inline]
pub fn kick(cpu: CpuId) {
    // What the other core is to see must be visible before the interrupt is (IHI 0069 4.3.2).
    barrier::dsb_ishst();
    if is_v2() { v2::kick(cpu) } else { v3::kick(cpu) }
}

/// Kicks every core but this one.
pub fn kick_all_others() {
    barrier::dsb_ishst();
    if is_v2() { v2::kick_all_others() } else { v3::kick_all_others() }
}

/// Takes the pending interrupt of highest priority, or `None` where there is none.
pub fn acknowledge() -> Option<Acknowledged> {
    let taken = acknowledge_any();
    (taken.intid().0 < SPURIOUS_FROM).then_some(taken)
}

/// As [`acknowledge`]; from [`SPURIOUS_FROM`] on the INTID says that there is none, and there is nothing to end.
#[inline(always)]
pub fn acknowledge_any() -> Acknowledged {
    let taken = if is_v2() { v2::acknowledge() } else { v3::acknowledge() };
    // The acknowledgement happens before anything the interrupt is about is read.
    barrier::dsb_sy();
    taken
}

/// Drops the priority of an acknowledged interrupt, at the latest when a guest is entered; it stays active.
#[inline(always)]
pub fn end(taken: Acknowledged) {
    if is_v2() { v2::end(taken.token) } else { v3::end(taken.token) }
}

/// Deactivates an interrupt whose priority was dropped: it can come again.
#[inline(always)]
pub fn deactivate(taken: Acknowledged) {
    if is_v2() { v2::deactivate(taken.token) } else { v3::deactivate(taken.token) }
}

/// Deactivates a PPI of this core that was acknowledged some time ago.
pub fn deactivate_ppi(intid: IntId) {
    deactivate(Acknowledged { token: intid.0.into() });
}

/// Makes a PPI of this core active, as if it had been acknowledged.
pub fn activate_ppi(intid: IntId) {
    if is_v2() { v2::activate_ppi(intid) } else { v3::activate_ppi(intid) }
}

/// What the virtual interface has of a vCPU beside its list registers: the guest's CPU interface.
#[derive(Default)]
pub struct Virtual {
    machine_control: u64,
    /// Active priorities: of group 0, then of group 1; a GICv2 has them in one.
    active: [u64; 8],
    /// ICC_SRE_EL1 of a GICv3.
    enable: u64,
}

impl Virtual {
    /// Takes it from this core.
    #[inline(always)]
    pub fn save(&mut self) {
        if is_v2() { v2::lists::save(self) } else { v3::lists::save(self) }
    }

    /// Gives it to this core.
    #[inline(always)]
    pub fn restore(&self) {
        if is_v2() { v2::lists::restore(self) } else { v3::lists::restore(self) }
    }
}

/// This core's virtual interface as the architecture resets it: nothing pending or active, all groups off.
pub fn reset_virtual() {
    if is_v2() { v2::reset_virtual() } else { v3::reset_virtual() }
}

/// The list registers of the core that runs this.
pub struct ListRegisters;

impl vgic::ListRegisters for ListRegisters {
    #[inline(always)]
    fn count(&self) -> usize {
        if is_v2() { v2::lists::count() } else { v3::lists::count() }
    }

    #[inline(always)]
    fn read(&self, index: usize) -> u64 {
        if is_v2() { v2::lists::read(index) } else { v3::lists::read(index) }
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: u64) {
        if is_v2() { v2::lists::write(index, value) } else { v3::lists::write(index, value) }
    }

    #[inline(always)]
    fn empty(&self) -> u32 {
        if is_v2() { v2::lists::empty() } else { v3::lists::empty() }
    }

    #[inline(always)]
    fn machine_control(&self) -> u64 {
        if is_v2() { v2::lists::machine_control() } else { mrs!("ich_vmcr_el2") }
    }

    #[inline(always)]
    fn control(&self) -> u64 {
        if is_v2() { v2::lists::control() } else { mrs!("ich_hcr_el2") }
    }

    #[inline(always)]
    fn set_control(&mut self, value: u64) {
        if is_v2() { v2::lists::set_control(value) } else { v3::lists::set_control(value) }
    }
}
