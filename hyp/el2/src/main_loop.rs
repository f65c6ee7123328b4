//! What a core does: run its vCPU, and in between what the guest's life asks of it.
//!
//! Each core owns the one vCPU that the configuration gives it, as a local value. There is no other way to a
//! [`Vcpu`], so no second core can have it. The guest's first core leads: it builds each life and tears it down.

use alloc::sync::Arc;
use core::fmt;

use tessera_core::addr::VcpuId;
use tessera_core::attention::Standing;
use tessera_core::deadlines::Slot;
use tessera_core::exit::Exit;
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::{After, Phase, StopReason};
use tessera_core::machine::{self, Next, Step};
use tessera_core::psci::{self, Start};
use tessera_core::snapshot::Snapshot;
use tessera_core::vcpu::Vcpu;
use tessera_core::vgic::VgicCpu;
use tessera_core::vm::Vm;
use tessera_core::vtimer::PhysicalTimer;

use crate::gic::{self, ListRegisters};
use crate::hw::El2;
use crate::run::run;
use crate::{
    accounts, barrier, care, console, cpu, el1, guests, interrupt, monitor, panic, power, pulse,
    timer, usage,
};

/// A core's life, from when it is set up.
pub fn run_core() -> ! {
    while guests::all().is_none() {
        guests::help_hashing();
        sleep();
    }
    match guests::seat(cpu::current_id()) {
        Some((guest, id)) => Seat::new(guest, id).serve(),
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

/// A core's place in a guest.
struct Seat {
    guest: &'static Guest,
    vcpu: Vcpu,
    /// The guest's life, from when this core takes part in it until it parks.
    vm: Option<Arc<Vm>>,
    /// The life at whose end this core parked last.
    parked_at: u64,
}

impl Seat {
    fn new(guest: &'static Guest, id: VcpuId) -> Self {
        Self { guest, vcpu: Vcpu::new(id, guest.observed(id)), vm: None, parked_at: 0 }
    }

    fn serve(mut self) -> ! {
        self.prepare();
        loop {
            if let Some(vm) = &self.vm {
                vm.take_disk_news(&El2, cpu::current_id());
            }
            let life = &self.guest.life;
            match life.phase() {
                Phase::Building if self.leads() => self.build(),
                Phase::Clearing => self.clear(),
                Phase::Running => self.take_part(),
                Phase::Leaving if self.parked_at != life.starts() => self.park(),
                Phase::Leaving if self.leads() && life.all_parked() => self.tear_down(),
                Phase::Building | Phase::Loading | Phase::Leaving | Phase::Down => sleep(),
            }
        }
    }

    fn leads(&self) -> bool {
        self.guest.leader() == Some(cpu::current_id())
    }

    fn build(&mut self) {
        guests::watch(self.guest);
        match guests::build(self.guest) {
            Ok(()) => self.guest.life.begin_clearing(),
            Err(why) => {
                log::error!("{}: {why}", self.guest.name());
                let (reason, after) = self.guest.life.not_built(El2.now(), El2.counter_hz());
                self.conclude(reason, after);
            }
        }
        self.guest.kick_all(&El2);
    }

    fn clear(&mut self) {
        let Some(vm) = self.guest.vm() else { return sleep() };
        accounts::clearing();
        if !guests::clear(self.guest, &vm) {
            drop(vm);
            // The last chunks are with the others: their last kicks us.
            if self.guest.life.phase() == Phase::Clearing {
                sleep();
            }
            return;
        }
        accounts::cleared();
        if let Err(why) = guests::load(self.guest, &vm) {
            log::error!("{}: {why}", self.guest.name());
            self.guest.life.fail_loading();
        }
        if self.guest.life.begin_running(El2.now()) {
            guests::start_waiting();
        }
        self.guest.kick_all(&El2);
        drop(vm);
        monitor::run();
    }

    /// In a life that runs: runs the vCPU when it is switched on.
    fn take_part(&mut self) {
        if self.vm.is_none() {
            self.vm = self.guest.vm();
        }
        let Some(vm) = self.vm.clone() else { return sleep() };
        if vm.attention.pauses() {
            return sleep();
        }
        let start = vm.services.psci.power.take_start(self.vcpu.id());
        start.map_or_else(sleep, |start| self.run(&vm, start));
    }

    /// This core has left the life for good.
    fn park(&mut self) {
        self.vm = None;
        self.parked_at = self.guest.life.starts();
        if self.guest.life.park()
            && let Some(leader) = self.guest.leader()
        {
            El2.kick(leader);
        }
    }

    /// All cores have left: gives back all that the life was made of, and decides what follows.
    fn tear_down(&mut self) {
        let life = &self.guest.life;
        if let Some(vm) = self.guest.vm() {
            // The disk may still write to the guest's memory.
            guests::drain(&vm, sleep);
        }
        if let Some(reason) = life.reason().filter(|reason| reason.is_failure()) {
            self.guest.keep_failure(reason, El2.now());
        }
        if let Some(vm) = self.guest.take_vm() {
            guests::give_back(vm);
        }
        let (reason, after) = life.ended(El2.now(), El2.counter_hz());
        self.conclude(reason, after);
        self.guest.kick_all(&El2);
    }

    /// Says what follows the end of a life, and does it.
    fn conclude(&self, reason: StopReason, after: After) {
        let name = self.guest.name();
        console::with(|console| console.reset_guest(self.guest.id));
        let say = |text: fmt::Arguments<'_>| console::about(self.guest, text);
        match after {
            After::Anew => say(format_args!("{name} starts anew: {reason}")),
            After::Wait(seconds) => {
                say(format_args!("{name} starts anew in {seconds} s: {reason}"))
            }
            After::Stopped => log::info!("{name} stopped: {reason}"),
            After::Crashed => log::error!("{name} crashed: {reason}"),
            After::TooOften => log::error!("{name} crashed too often, and stays off: {reason}"),
        }
        guests::watch(self.guest);
        monitor::run();
        if matches!(after, After::Stopped | After::Crashed | After::TooOften) {
            guests::went_down(self.guest, reason);
        }
    }

    /// Runs the vCPU from `start` until it is off or its guest ends.
    fn run(&mut self, vm: &Vm, start: Start) {
        self.begin(vm, start);
        accounts::guest_runs();
        let end = self.run_until_off(vm);
        self.keep_snapshot(vm);
        self.leave(vm);
        // Before anybody can see that the vCPU is off, and switch it on.
        self.prepare();
        let power = &vm.services.psci.power;
        match end {
            Some(reason) => {
                accounts::stopping();
                self.guest.end(vm, reason, &El2);
                monitor::run();
            }
            None if !vm.attention.stops() => {
                let me = self.vcpu.id();
                power.switch_off(me);
                if power.all_off() {
                    self.guest.end(vm, StopReason::AllCpusOff, &El2);
                }
                if vm.attention.went_off(me, vm.vcpus_on(), &vm.clock, El2.now()) == Standing::GoAll
                {
                    vm.kick_all(&El2);
                }
            }
            None => {}
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
    fn begin(&mut self, vm: &Vm, start: Start) {
        self.vcpu.registers.write(0, start.context);
        self.vcpu.clock = *vm.clock.lock();
        el1::enter(vm.stage2.vttbr(), self.vcpu.clock.offset().unwrap_or(0));
        el1::start_at(start.entry.0);
        timer::set(Slot::Vcpu, None);
        usage::begin(&self.vcpu.observed.usage);
        let kick = vm.vgic.deliver(&mut self.vcpu.vgic, &mut ListRegisters);
        vm.kick(&El2, kick);
        pulse::enter();
    }

    /// Takes back from this core what a guest could leave behind: interrupts and timers.
    fn leave(&mut self, vm: &Vm) {
        pulse::leave();
        timer::init();
        timer::set(Slot::Vcpu, None);
        el1::leave();
        let observed = self.vcpu.observed;
        usage::end(&observed.usage);
        // Whoever is switched on asks anyway; left behind, it would send the other vCPUs to look at each kick.
        let _ = vm.attention.take_usage(self.vcpu.id());
        observed.injected.add(vm.vgic.take_injected(self.vcpu.id()));
        let kick = vm.vgic.park(&mut self.vcpu.vgic, &mut ListRegisters, true);
        vm.kick(&El2, kick);
        interrupt::deactivate(self.vcpu.vgic.take_deactivations());
        gic::reset_virtual();
    }

    fn keep_snapshot(&self, vm: &Vm) {
        let registers = el1::registers(&self.vcpu.registers);
        self.guest.keep_snapshot(self.vcpu.id(), Snapshot::take(&El2, &vm.ram, registers));
    }

    /// What a kick was for that was not for an interrupt: whether the vCPU runs on.
    #[cold]
    #[inline(never)]
    fn attend(&mut self, vm: &Vm) -> bool {
        if panic::is_panicking() {
            power::halt();
        }
        vm.take_disk_news(&El2, cpu::current_id());
        usage::kicked(vm, &self.vcpu);
        if vm.attention.take_look(self.vcpu.id()) {
            self.keep_snapshot(vm);
            interrupt::rebuild(vm, &mut self.vcpu);
        }
        if vm.attention.take_clock() {
            guests::watch(self.guest);
        }
        if vm.attention.pauses() && !vm.attention.stops() {
            self.stand_still(vm);
        }
        !vm.attention.stops()
    }

    /// Stands still until the guest goes on or ends. Timer, watchdog and the counters of events stand, too.
    #[cold]
    fn stand_still(&mut self, vm: &Vm) {
        self.keep_snapshot(vm);
        let stopped = el1::hold();
        let usage = &self.vcpu.observed.usage;
        usage.waits(El2.now());
        El2.set_deadline(Slot::Vcpu, None);
        let me = self.vcpu.id();
        loop {
            match vm.attention.stand(me, vm.vcpus_on(), &vm.clock, El2.now()) {
                Standing::Wait if !vm.attention.stops() => {
                    if vm.attention.take_clock() {
                        guests::watch(self.guest);
                    }
                    barrier::dsb_sy();
                    barrier::wfi();
                    interrupt::while_standing(vm, &mut self.vcpu, self.guest);
                }
                Standing::Wait | Standing::Go => break,
                Standing::GoAll => {
                    vm.kick_all(&El2);
                    break;
                }
            }
        }
        usage.woke(El2.now());
        self.vcpu.clock = *vm.clock.lock();
        el1::release(stopped, self.vcpu.clock.offset().unwrap_or(0));
        guests::watch(self.guest);
        machine::update_timer(vm, &mut self.vcpu, &El2);
    }

    /// The way of every exit. Returns why the guest stops, or `None` where only this vCPU is off or others stopped it.
    #[inline(never)]
    fn run_until_off(&mut self, vm: &Vm) -> Option<StopReason> {
        let mut lrs = ListRegisters;
        let news = vm.vgic.news(self.vcpu.id());
        let mut next = Next::Resume;
        loop {
            let vcpu = &mut self.vcpu;
            if news.any() {
                interrupt::deliver(vm, vcpu);
            }
            let (exit, recorded) = run(&mut vcpu.registers);
            if let Exit::Irq = exit {
                // Before all others: a kick is on the way of every interrupt between vCPUs.
                if interrupt::in_guest(vm, vcpu, &self.guest, recorded) && !self.attend(vm) {
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
        Next::Inject(fault) => _ = el1::inject(fault),
        Next::Refuse(abort) => {
            let lost = !el1::inject(machine::refused(vm, &abort, &el1::stage1(), &El2));
            // With others on, the guest has lost a core, as it would have on a board.
            if lost && vm.vcpus_on().without(vcpu.id()).is_empty() {
                return Some(Some(StopReason::LostVectors));
            }
        }
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
        Next::Stop(reason) => return Some(Some(console::explained(vm.id, reason))),
    }
    None
}
