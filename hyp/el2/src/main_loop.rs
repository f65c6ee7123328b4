//! What a core does: run its vCPU, and in between what the guest's life asks of it.
//!
//! Each core owns the one vCPU that the configuration gives it, as a local value. There is no other way to a
//! [`Vcpu`], so no second core can have it.

use tessera_core::addr::{VcpuId, VmId};
use tessera_core::exit::Exit;
use tessera_core::hw::Hw;
use tessera_core::life::{Parked, Phase, StopReason};
use tessera_core::machine::{self, Next, Step};
use tessera_core::psci::{self, Start};
use tessera_core::vcpu::Vcpu;
use tessera_core::vgic::VgicCpu;
use tessera_core::vm::Vm;
use tessera_core::vtimer::PhysicalTimer;

use crate::gic::{self, ListRegisters};
use crate::guests::{self, Guest};
use crate::hw::El2;
use crate::run::run;
use crate::{accounts, barrier, console, cpu, el1, interrupt, panic, power, timer, usage};

/// A core's life, from when it is set up.
pub fn run_core() -> ! {
    while guests::all().is_none() {
        guests::help_hashing();
        sleep();
    }
    match guests::seat(cpu::current_id()) {
        Some((guest, id)) => Seat::new(guest, id).serve(),
        None => loop {
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

/// A core's place in a guest.
struct Seat {
    guest: &'static Guest,
    vcpu: Vcpu,
    /// The start of the guest at whose end this core parked last.
    parked_at: u64,
}

impl Seat {
    fn new(guest: &'static Guest, id: VcpuId) -> Self {
        Self { guest, vcpu: Vcpu::new(id, guest.observed(id)), parked_at: 0 }
    }

    fn serve(mut self) -> ! {
        self.prepare();
        loop {
            let vm = &self.guest.vm;
            if vm.disk_news.any() {
                vm.take_disk_news(&El2, cpu::current_id());
            }
            match vm.life.phase() {
                Phase::Clearing => self.clear(),
                Phase::Running => match vm.services.psci.power.take_start(self.vcpu.id()) {
                    Some(start) => self.run(start),
                    None => sleep(),
                },
                Phase::Stopping if self.parked_at != vm.life.starts() => self.park(),
                Phase::Stopping | Phase::Loading | Phase::Stopped => sleep(),
            }
        }
    }

    fn clear(&mut self) {
        accounts::clearing();
        if !guests::clear(self.guest) {
            // The last chunks are with the others: their last kicks us.
            if self.guest.vm.life.phase() == Phase::Clearing {
                sleep();
            }
            return;
        }
        accounts::cleared();
        let vm = &self.guest.vm;
        match guests::load(self.guest) {
            Ok(()) => vm.life.begin_running(),
            Err(why) => {
                log::error!("{}: {why}; it stays off", vm.name);
                vm.life.end();
                end_if_last();
            }
        }
        vm.kick_all(&El2);
    }

    /// This core has left the guest for good; the last one decides what becomes of it.
    fn park(&mut self) {
        let vm = &self.guest.vm;
        self.parked_at = vm.life.starts();
        let Parked::Lead(reason) = vm.life.park() else { return };
        // The disk may still write to the guest's memory.
        while !vm.reset_disks() {
            // To look, about once a second, whether the disk still does anything.
            El2.set_deadline(Some(El2.now() + El2.counter_hz()));
            sleep();
            vm.take_disk_news(&El2, cpu::current_id());
            guests::check_disk();
        }
        El2.set_deadline(None);
        vm.services.psci.power.switch_all_off();
        if reason.starts_again() {
            console::about(vm, format_args!("{} starts anew: {reason}", vm.name));
            vm.reset_devices(&El2);
            console::with(|console| console.reset_guest(vm.id));
            vm.life.begin_clearing();
        } else {
            log::info!("{} stopped: {reason}", vm.name);
            vm.life.end();
            end_if_last();
        }
        vm.kick_all(&El2);
    }

    /// Runs the vCPU from `start` until it is off or its guest stops.
    fn run(&mut self, start: Start) {
        self.begin(start);
        accounts::first_guest();
        let stop = self.run_until_off();
        self.leave();
        // Before anybody can see that the vCPU is off, and switch it on.
        self.prepare();
        let vm = &self.guest.vm;
        let power = &vm.services.psci.power;
        match stop {
            Some(reason) => self.stop(reason),
            None if vm.life.phase() == Phase::Running => {
                power.switch_off(self.vcpu.id());
                if power.all_off() {
                    self.stop(StopReason::AllCpusOff);
                }
            }
            None => {}
        }
    }

    fn stop(&self, reason: StopReason) {
        let vm = &self.guest.vm;
        if vm.life.stop(reason) {
            vm.kick_all(&El2);
        }
    }

    /// Gives this core the vCPU's state as the architecture starts it, all but where: done ahead, so that CPU_ON is
    /// quick. The core only sleeps in between.
    fn prepare(&mut self) {
        let id = self.vcpu.id();
        self.vcpu.registers.x = [0; 31];
        self.vcpu.timer = PhysicalTimer::default();
        self.vcpu.vgic = VgicCpu::new(id);
        el1::reset(psci::vmpidr(id));
    }

    /// Enters the guest at `start`, from what [`Seat::prepare`] left.
    fn begin(&mut self, start: Start) {
        let vm = &self.guest.vm;
        self.vcpu.registers.write(0, start.context);
        self.vcpu.clock = *vm.clock.lock();
        el1::enter(self.guest.vttbr(), self.vcpu.clock.offset().unwrap_or(0));
        el1::start_at(start.entry.0);
        usage::begin(&self.vcpu.observed.usage);
        let kick = vm.vgic.deliver(&mut self.vcpu.vgic, &mut ListRegisters);
        vm.kick(&El2, kick);
    }

    /// Takes back from this core what a guest could leave behind: interrupts and timers.
    fn leave(&mut self) {
        timer::init();
        el1::leave();
        let observed = self.vcpu.observed;
        usage::end(&observed.usage);
        observed.injected.add(self.guest.vm.vgic.take_injected(self.vcpu.id()));
        let kick = self.guest.vm.vgic.park(&mut self.vcpu.vgic, &mut ListRegisters, true);
        self.guest.vm.kick(&El2, kick);
        interrupt::deactivate(self.vcpu.vgic.take_deactivations());
        gic::reset_virtual();
    }

    /// The way of every exit. Returns why the guest stops, or `None` where only this vCPU is off or others stopped it.
    #[inline(never)]
    fn run_until_off(&mut self) -> Option<StopReason> {
        let (vm, vcpu) = (&*self.guest.vm, &mut self.vcpu);
        let mut lrs = ListRegisters;
        let news = vm.vgic.news(vcpu.id());
        let mut next = Next::Resume;
        loop {
            if news.any() {
                interrupt::deliver(vm, vcpu);
            }
            let (exit, recorded) = run(&mut vcpu.registers);
            if let Exit::Irq = exit {
                // Before all others: a kick is on the way of every interrupt between vCPUs.
                if interrupt::in_guest(vm, vcpu, recorded) {
                    return None;
                }
                continue;
            }
            if machine::answered_at_once(vcpu, &exit) {
                continue;
            }
            match machine::handle(vm, vcpu, exit, &El2, &mut lrs, &mut next) {
                Step::Resume => {}
                Step::Advance => el1::advance(),
                Step::Other => {
                    if let Some(off) = unusual(vm, vcpu, next) {
                        return off;
                    }
                }
            }
        }
    }
}

/// What exits are seldom about. Some where the vCPU is left, with the reason if the whole guest stops.
#[inline(never)]
fn unusual(vm: &Vm, vcpu: &mut Vcpu, next: Next) -> Option<Option<StopReason>> {
    match next {
        // Interrupts are taken where the exit is looked at.
        Next::Resume | Next::Interrupt => {}
        Next::Advance => el1::advance(),
        Next::Inject(fault) => el1::inject(fault),
        Next::Refuse(abort) => el1::inject(machine::refused(vm, &abort, &el1::stage1(), &El2)),
        Next::Suspend { advance, resume } => {
            if advance {
                el1::advance();
            }
            if !vm.vgic.has_pending(&vcpu.vgic, &ListRegisters) {
                usage::wait(&vcpu.observed.usage);
            }
            if let Some(start) = resume {
                el1::reset(psci::vmpidr(vcpu.id()));
                el1::start_at(start.entry.0);
                vcpu.registers.x = [0; 31];
                vcpu.registers.write(0, start.context);
                vcpu.timer = PhysicalTimer::default();
                machine::update_timer(vm, vcpu, &El2);
            }
        }
        Next::Off => return Some(None),
        Next::Stop(reason) => return Some(Some(reason)),
    }
    None
}

/// Turns the board off once no guest is left.
fn end_if_last() {
    let stopped = |guest: &Guest| guest.vm.life.phase() == Phase::Stopped;
    if guests::all().is_some_and(|all| all.iter().all(stopped)) {
        log::info!("all guests have stopped; the board goes off");
        console::flush();
        power::off();
    }
}

/// Moves what was typed to guest `id`.
pub fn typed(id: VmId) {
    if let Some(guest) = guests::get(id) {
        guest.vm.feed_uart(&El2);
    }
}
