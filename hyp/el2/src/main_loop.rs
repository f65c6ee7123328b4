//! What a core does: run the vCPU that owns it, and in between what the guest's life asks of it.
//!
//! A core that is owned has its one vCPU as a local value. There is no other way to a `Vcpu`, so no second core can have
//! it. A core that is shared has a queue of vCPUs as a local value (`shared`).

use tessera_core::attention::Standing;
use tessera_core::deadlines::Slot;
use tessera_core::exit::Exit;
use tessera_core::hw::Hw;
use tessera_core::life::StopReason;
use tessera_core::machine::{self, Next, Step as Ended};
use tessera_core::psci::{self, Start};
use tessera_core::vcpu::Vcpu;
use tessera_core::vm::Vm;
use tessera_core::vtimer::PhysicalTimer;

use crate::gic::{self, ListRegisters};
use crate::hw::El2;
use crate::run::run;
use crate::seat::{Seat, Step};
use crate::{
    accounts, barrier, care, console, cpu, el1, guests, interrupt, panic, power, pulse, shared,
    timer, usage,
};

/// A core's life, from when it is set up.
pub fn run_core() -> ! {
    while guests::all().is_none() {
        guests::help_hashing();
        sleep();
    }
    let me = cpu::current_id();
    match guests::seat(me) {
        Some((guest, id)) => serve(Seat::new(guest, id)),
        None if guests::share(me) => shared::serve(me),
        None => loop {
            care::idle();
            sleep();
        },
    }
}

/// Sleeps until something happens, and handles it.
fn sleep() {
    if panic::is_panicking() {
        power::halt();
    }
    barrier::dsb_sy();
    barrier::wfi();
    interrupt::outside_guest();
}

/// The life of a core that `seat` owns.
fn serve(mut seat: Seat) -> ! {
    prepare(&mut seat);
    loop {
        match seat.step() {
            Step::Again => {}
            Step::Sleep => sleep(),
            Step::SleepUntil(at) => {
                timer::set(Slot::Vcpu, Some(at));
                sleep();
                timer::set(Slot::Vcpu, None);
            }
            Step::Start(vm, start) => run_from(&mut seat, &vm, start),
        }
    }
}

/// Runs the vCPU from `start` until it is off or its guest ends.
fn run_from(seat: &mut Seat, vm: &Vm, start: Start) {
    begin(&mut seat.vcpu, vm, start);
    accounts::guest_runs();
    let why = run_until_off(seat, vm);
    seat.keep_snapshot(vm);
    leave(&mut seat.vcpu, vm);
    // Before anybody can see that the vCPU is off, and switch it on.
    prepare(seat);
    seat.went_off(vm, why);
}

/// Gives this core the vCPU's state as the architecture starts it, all but where: done ahead, so that CPU_ON is
/// quick. The core only sleeps in between.
fn prepare(seat: &mut Seat) {
    seat.reset();
    el1::reset(psci::vmpidr(seat.vcpu.id()));
}

/// Enters the guest at `start`, from what [`prepare`] left.
fn begin(vcpu: &mut Vcpu, vm: &Vm, start: Start) {
    vcpu.registers.write(0, start.context);
    vcpu.clock = *vm.clock.lock();
    el1::enter(vm.stage2.vttbr(), vcpu.clock.offset().unwrap_or(0));
    el1::start_at(start.entry.0);
    timer::set(Slot::Vcpu, None);
    usage::begin(&vcpu.observed.usage);
    let kick = vm.vgic.deliver(&mut vcpu.vgic, &mut ListRegisters);
    vm.kick(&El2, kick);
    pulse::enter();
}

/// Takes back from this core what a guest could leave behind: interrupts and timers.
fn leave(vcpu: &mut Vcpu, vm: &Vm) {
    pulse::leave();
    timer::init();
    timer::set(Slot::Vcpu, None);
    el1::leave();
    usage::end(&vcpu.observed.usage);
    // Whoever is switched on asks anyway; left behind, it would send the other vCPUs to look at each kick.
    let _ = vm.attention.take_usage(vcpu.id());
    interrupt::park(vm, vcpu);
    gic::reset_virtual();
}

/// What a kick was for that was not for an interrupt: whether the vCPU runs on.
#[cold]
#[inline(never)]
fn attend(seat: &mut Seat, vm: &Vm) -> bool {
    seat.attend(vm);
    usage::kicked(vm, &seat.vcpu);
    if vm.attention.pauses() && !vm.attention.stops() {
        stand_still(seat, vm);
    }
    !vm.attention.stops()
}

/// Stands still until the guest goes on or ends. Timer, watchdog and the counters of events stand, too.
#[cold]
fn stand_still(seat: &mut Seat, vm: &Vm) {
    seat.keep_snapshot(vm);
    let stopped = el1::hold();
    let usage = &seat.vcpu.observed.usage;
    usage.waits(El2.now());
    El2.set_deadline(Slot::Vcpu, None);
    let me = seat.vcpu.id();
    loop {
        match vm.attention.stand(me, vm.vcpus_on(), &vm.clock, El2.now()) {
            Standing::Wait if !vm.attention.stops() => {
                if vm.attention.take_clock() {
                    seat.watch();
                }
                barrier::dsb_sy();
                barrier::wfi();
                interrupt::while_standing(vm, &mut seat.vcpu, seat.guest);
            }
            Standing::Wait | Standing::Go => break,
            Standing::GoAll => {
                vm.kick_all(&El2);
                break;
            }
        }
    }
    usage.woke(El2.now());
    seat.vcpu.clock = *vm.clock.lock();
    el1::release(stopped, seat.vcpu.clock.offset().unwrap_or(0));
    seat.watch();
    machine::update_timer(vm, &mut seat.vcpu, &El2);
}

/// The way of every exit. Returns why the guest stops, or `None` where only this vCPU is off or others stopped it.
#[inline(never)]
fn run_until_off(seat: &mut Seat, vm: &Vm) -> Option<StopReason> {
    let mut lrs = ListRegisters;
    let news = vm.vgic.news(seat.vcpu.id());
    let mut next = Next::Resume;
    loop {
        let vcpu = &mut seat.vcpu;
        if news.any() {
            interrupt::deliver(vm, vcpu);
        }
        let (exit, recorded) = run(&mut vcpu.registers);
        if let Exit::Irq = exit {
            // Before all others: a kick is on the way of every interrupt between vCPUs.
            if interrupt::in_guest(vm, vcpu, &seat.guest, recorded) && !attend(seat, vm) {
                return None;
            }
            continue;
        }
        if machine::answered_at_once(vcpu, &exit) {
            continue;
        }
        match machine::handle(vm, vcpu, exit, &El2, &mut lrs, &mut next) {
            Ended::Resume => {}
            Ended::Advance => el1::advance(),
            Ended::Other => match unusual(vm, vcpu, next) {
                Unusual::GoOn => {}
                Unusual::Wait(resume) => wait(vm, vcpu, resume),
                Unusual::Off(why) => return why,
            },
        }
    }
}

/// What exits are seldom about.
pub enum Unusual {
    /// The vCPU goes on.
    GoOn,
    /// It waits for an interrupt, and begins anew then if told where.
    Wait(Option<Start>),
    /// It is off, with the reason if the whole guest stops.
    Off(Option<StopReason>),
}

/// Does what exits are seldom about.
#[inline(never)]
pub fn unusual(vm: &Vm, vcpu: &mut Vcpu, next: Next) -> Unusual {
    match next {
        // Interrupts are taken where the exit is looked at, and who owns its core has nobody to give way to.
        Next::Resume | Next::Interrupt => {}
        Next::Advance | Next::Yield => el1::advance(),
        Next::Inject(fault) => _ = el1::inject(fault),
        Next::Refuse(abort) => {
            let lost = !el1::inject(machine::refused(vm, &abort, &el1::stage1(), &El2));
            // With others on, the guest has lost a core, as it would have on a board.
            if lost && vm.vcpus_on().without(vcpu.id()).is_empty() {
                return Unusual::Off(Some(StopReason::LostVectors));
            }
        }
        Next::Suspend { advance, resume } => {
            if advance {
                el1::advance();
            }
            return Unusual::Wait(resume);
        }
        Next::Off => return Unusual::Off(None),
        Next::Stop(reason) => return Unusual::Off(Some(console::explained(vm.id, reason))),
    }
    Unusual::GoOn
}

/// Waits for an interrupt, and begins anew then if told where.
fn wait(vm: &Vm, vcpu: &mut Vcpu, resume: Option<Start>) {
    if !vm.vgic.has_pending(&vcpu.vgic, &ListRegisters) {
        usage::wait(&vcpu.observed.usage);
    }
    if let Some(start) = resume {
        begin_anew(vm, vcpu, start);
    }
}

/// A vCPU that gave its state up while it waited begins at `start`.
#[cold]
pub fn begin_anew(vm: &Vm, vcpu: &mut Vcpu, start: Start) {
    el1::reset(psci::vmpidr(vcpu.id()));
    el1::start_at(start.entry.0);
    vcpu.registers.x = [0; 31];
    vcpu.registers.write(0, start.context);
    vcpu.timer = PhysicalTimer::default();
    machine::update_timer(vm, vcpu, &El2);
}
