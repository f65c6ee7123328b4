//! Physical interrupts: whose they are, and what is done. They arrive as exits, or end a sleep; never in between.

use tessera_abi::layout::{PMU_INTID, VTIMER_INTID};
use tessera_core::addr::IntId;
use tessera_core::counters::Cause;
use tessera_core::deadlines::{Due, Slot};
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::machine;
use tessera_core::vcpu::Vcpu;
use tessera_core::vm::Vm;

use crate::gic::{self, Acknowledged, HYP_TIMER, KICK, ListRegisters, MAINTENANCE};
use crate::hw::El2;
use crate::lines::Work;
use crate::run::Recorded;
use crate::sysreg::mrs;
use crate::{barrier, care, cpu, guests, lines, monitor, panic, power, timer, usage};

/// Handles the interrupt that ended a run of `vcpu`. `true` where there is something to attend to before it runs on.
#[inline(always)]
pub fn in_guest(vm: &Vm, vcpu: &mut Vcpu, guest: &&'static Guest, recorded: Recorded) -> bool {
    let exits = &vcpu.observed.exits;
    let taken = gic::acknowledge_any();
    let intid = taken.intid();
    recorded.detail(taken.token());
    match intid.0 {
        VTIMER_INTID => {
            gic::end(taken);
            exits.count(Cause::VirtualTimer);
            // Stays active on the board until the guest has ended it.
            let kick = vm.vgic.inject_hw_ppi(&mut vcpu.vgic, &mut ListRegisters, intid);
            vm.kick(&El2, kick);
            false
        }
        KICK => {
            gic::end(taken);
            exits.count(Cause::Kick);
            gic::deactivate(taken);
            // What it is about is in the vGIC's news, which are looked at before the guest runs on, or seldom here.
            vm.attention.any() || panic::is_panicking()
        }
        gic::SPURIOUS_FROM.. => {
            exits.count(Cause::Spurious);
            false
        }
        _ => {
            gic::end(taken);
            if other(vm, vcpu, taken) {
                guests::watch_here(guest);
            }
            // Where one such interrupt follows the other no kick may get through: equal priorities promise no order.
            vm.attention.any() || panic::is_panicking()
        }
    }
}

/// As [`in_guest`], of a vCPU that shares its core: `true` where there is something to look at before it runs on. Mail is
/// looked for before each entry.
#[inline(always)]
pub fn in_turn(vm: &Vm, vcpu: &mut Vcpu, recorded: Recorded) -> bool {
    let taken = gic::acknowledge_any();
    let intid = taken.intid();
    recorded.detail(taken.token());
    let mut watch = false;
    match intid.0 {
        VTIMER_INTID => {
            gic::end(taken);
            vcpu.observed.exits.count(Cause::VirtualTimer);
            let kick = vm.vgic.inject_hw_ppi(&mut vcpu.vgic, &mut ListRegisters, intid);
            vm.kick(&El2, kick);
            return false;
        }
        gic::SPURIOUS_FROM.. => {
            vcpu.observed.exits.count(Cause::Spurious);
            return false;
        }
        KICK => {
            gic::end(taken);
            vcpu.observed.exits.count(Cause::Kick);
            gic::deactivate(taken);
        }
        _ => {
            gic::end(taken);
            watch = other(vm, vcpu, taken);
        }
    }
    if panic::is_panicking() {
        power::halt();
    }
    watch || vm.attention.any()
}

/// Handles the interrupt that ended the sleep of a core that is shared. `here` is the vCPU whose registers the core has, which
/// waits for an interrupt.
pub fn while_idle(here: Option<(&Vm, &mut Vcpu)>) {
    let Some(taken) = gic::acknowledge() else { return };
    gic::end(taken);
    match (taken.intid().0, here) {
        (KICK, _) => {
            gic::deactivate(taken);
            if panic::is_panicking() {
                power::halt();
            }
        }
        (VTIMER_INTID, Some((vm, vcpu))) => {
            vcpu.observed.exits.count(Cause::VirtualTimer);
            let kick = vm.vgic.inject_hw_ppi(&mut vcpu.vgic, &mut ListRegisters, taken.intid());
            vm.kick(&El2, kick);
        }
        (_, Some((vm, vcpu))) => _ = other(vm, vcpu, taken),
        (intid, None) => {
            match intid {
                HYP_TIMER => chores(timer::take_due()),
                VTIMER_INTID => timer::init(),
                MAINTENANCE | PMU_INTID => {}
                _ => _ = lines::interrupt(taken.intid()),
            }
            gic::deactivate(taken);
        }
    }
}

/// Handles an interrupt that is seldom; whether its guest, or the core's queue, has something to do by the clock.
#[inline(never)]
fn other(vm: &Vm, vcpu: &mut Vcpu, taken: Acknowledged) -> bool {
    let mut watch = false;
    let intid = taken.intid();
    vcpu.observed.exits.count(cause_of(intid));
    match intid.0 {
        PMU_INTID => {
            let kick = vm.vgic.inject_hw_ppi(&mut vcpu.vgic, &mut ListRegisters, intid);
            vm.kick(&El2, kick);
            return false;
        }
        MAINTENANCE => rebuild(vm, vcpu),
        HYP_TIMER => {
            let due = timer::take_due();
            if due.has(Slot::Vcpu) {
                machine::update_timer(vm, vcpu, &El2);
            }
            watch = due.has(Slot::Guest);
            if due.has(Slot::Board) || due.has(Slot::Care) {
                let began = El2.now();
                chores(due);
                stolen(vm, vcpu, began);
            }
        }
        _ => {
            let began = El2.now();
            if lines::interrupt(intid) != Work::Own {
                stolen(vm, vcpu, began);
            }
        }
    }
    gic::deactivate(taken);
    watch
}

/// Takes everything of the vCPU out of this core's list registers, as it goes off.
pub fn park(vm: &Vm, vcpu: &mut Vcpu) {
    vcpu.observed.injected.add(vm.vgic.take_injected(vcpu.id()));
    let kick = vm.vgic.park(&mut vcpu.vgic, &mut ListRegisters, true);
    vm.kick(&El2, kick);
    deactivate(vcpu.vgic.take_deactivations());
}

/// The same, as another takes this core over. Returns the private interrupts to deactivate, a bit each, once their lines are down.
#[inline(always)]
#[must_use]
pub fn set_aside(vm: &Vm, vcpu: &mut Vcpu) -> u32 {
    let kick = vm.vgic.set_aside(&mut vcpu.vgic, &mut ListRegisters);
    if !kick.is_empty() {
        vm.kick(&El2, kick);
    }
    vcpu.vgic.take_deactivations()
}

/// Makes private interrupts of this core active, a bit each: they are when this returns.
pub fn activate(mut intids: u32) {
    while intids != 0 {
        gic::activate_ppi(IntId(intids.trailing_zeros()));
        intids &= intids - 1;
    }
    // The store is to a device, and the lines may be up as soon as a timer is on (DDI 0487 B2.3.12).
    barrier::dsb_sy();
}

/// Notes what the guest did with its interrupts since the list registers were written, and writes them anew.
pub fn rebuild(vm: &Vm, vcpu: &mut Vcpu) {
    let kick = vm.vgic.maintenance(&mut vcpu.vgic, &mut ListRegisters);
    vm.kick(&El2, kick);
    deactivate(vcpu.vgic.take_deactivations());
}

/// Since `began` this core worked for others than its guest.
fn stolen(vm: &Vm, vcpu: &Vcpu, began: u64) {
    // Who stands still misses nothing.
    if !vm.attention.pauses() {
        vcpu.observed.stolen.add(El2.now().saturating_sub(began));
    }
}

/// Handles the interrupt that ended a wait of a vCPU that stands still. Its virtual timer is held.
pub fn while_standing(vm: &Vm, vcpu: &mut Vcpu, guest: &'static Guest) {
    let Some(taken) = gic::acknowledge() else { return };
    gic::end(taken);
    match taken.intid().0 {
        KICK => {
            gic::deactivate(taken);
            if panic::is_panicking() {
                power::halt();
            }
            usage::kicked(vm, vcpu);
            vm.take_disk_news(&El2, cpu::current_id());
        }
        // It came just before it was held, and comes again when it is let go.
        VTIMER_INTID => gic::deactivate(taken),
        _ => {
            if other(vm, vcpu, taken) {
                guests::watch_here(guest);
            }
        }
    }
}

fn cause_of(intid: IntId) -> Cause {
    match intid.0 {
        PMU_INTID => Cause::Pmu,
        MAINTENANCE => Cause::Maintenance,
        HYP_TIMER => Cause::HypTimer,
        _ => Cause::Board,
    }
}

/// Gives the vCPU what became pending for it.
#[inline(always)]
pub fn deliver(vm: &Vm, vcpu: &mut Vcpu) {
    if vm.vgic.held_hw_ppis(&vcpu.vgic) != 0 {
        withdraw(vm, vcpu);
    }
    let kick = vm.vgic.deliver(&mut vcpu.vgic, &mut ListRegisters);
    if !kick.is_empty() {
        vm.kick(&El2, kick);
    }
    let deactivations = vcpu.vgic.take_deactivations();
    if deactivations != 0 {
        deactivate(deactivations);
    }
}

/// Takes back the interrupts of a timer or of performance monitors that the guest changed before it could take them.
#[cold]
fn withdraw(vm: &Vm, vcpu: &mut Vcpu) {
    let held = vm.vgic.held_hw_ppis(&vcpu.vgic);
    for (intid, fires) in [(VTIMER_INTID, timer_fires as fn() -> bool), (PMU_INTID, pmu_fires)] {
        if held >> intid & 1 != 0 && !fires() {
            let intid = IntId(intid);
            let kick = vm.vgic.withdraw_hw_ppi(&mut vcpu.vgic, &mut ListRegisters, intid);
            vm.kick(&El2, kick);
        }
    }
}

/// Whether the guest's virtual timer asserts its line.
fn timer_fires() -> bool {
    /// CNTV_CTL_EL0: ENABLE set, IMASK clear, ISTATUS set (DDI 0487 D24.10.20).
    const FIRES: u64 = 0b101;
    mrs!("cntv_ctl_el0") & 0b111 == FIRES
}

/// Whether the performance monitors assert their line (DDI 0487 D13.4.1): PMCR_EL0.E is set, and a counter overflowed
/// whose interrupt is enabled.
fn pmu_fires() -> bool {
    const ENABLE: u64 = 1;
    mrs!("pmcr_el0") & ENABLE != 0 && mrs!("pmovsset_el0") & mrs!("pmintenset_el1") != 0
}

/// Deactivates private interrupts, a bit each.
pub fn deactivate(mut intids: u32) {
    while intids != 0 {
        gic::deactivate_ppi(IntId(intids.trailing_zeros()));
        intids &= intids - 1;
    }
}

/// Handles the interrupt that ended a sleep, if one did, on a core that runs no vCPU.
pub fn outside_guest() {
    let Some(taken) = gic::acknowledge() else { return };
    gic::end(taken);
    match taken.intid().0 {
        KICK if panic::is_panicking() => power::halt(),
        HYP_TIMER => {
            let due = timer::take_due();
            if let Some((guest, _)) = guests::seat(cpu::current_id())
                && due.has(Slot::Guest)
            {
                guests::watch_here(guest);
            }
            chores(due);
        }
        // There is no vCPU whose timer it could be.
        VTIMER_INTID => timer::init(),
        KICK | MAINTENANCE | PMU_INTID => {}
        _ => _ = lines::interrupt(taken.intid()),
    }
    gic::deactivate(taken);
}

/// What is done for the board by the clock.
fn chores(due: Due) {
    if due.has(Slot::Board) {
        monitor::run();
    }
    if due.has(Slot::Care) {
        care::look();
    }
}
