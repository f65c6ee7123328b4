//! A vCPU's place in its guest: what the guest's life asks of whoever runs the vCPU.
//!
//! The way of a life is the same whether a vCPU owns its core (`main_loop`) or shares one (`shared`): [`Seat::step`] does
//! what there is to do now, and says how to go on. The guest's first vCPU leads: it builds each life and tears it down.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use tessera_core::addr::VcpuId;
use tessera_core::attention::Standing;
use tessera_core::deadlines::Slot;
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::{After, Phase, StopReason};
use tessera_core::psci::Start;
use tessera_core::snapshot::Snapshot;
use tessera_core::vcpu::Vcpu;
use tessera_core::vgic::VgicCpu;
use tessera_core::vm::Vm;
use tessera_core::vtimer::PhysicalTimer;

use crate::guests::Loading;
use crate::hw::El2;
use crate::{accounts, console, cpu, el1, guests, interrupt, monitor, panic, power};

/// A vCPU with its guest. In this order, so that the way into a guest has the vCPU's registers where it has the seat.
#[repr(C)]
pub struct Seat {
    pub vcpu: Vcpu,
    pub guest: &'static Guest,
    /// The guest's life, from when this vCPU takes part in it until it parks.
    pub vm: Option<Arc<Vm>>,
    /// When the guest has something to do by the clock, of a vCPU that shares its core; who owns one sets its timer.
    pub watch_at: Option<u64>,
    /// The life at whose end this vCPU parked last.
    parked_at: u64,
    /// What is on its way into the guest's memory, of the vCPU that cleared the last of it.
    loading: Option<Box<Loading>>,
}

/// How to go on.
pub enum Step {
    /// There may be more to do.
    Again,
    /// There is nothing to do until the vCPU is called.
    Sleep,
    /// The same, or until the counter has reached this.
    SleepUntil(u64),
    /// The vCPU is switched on.
    Start(Arc<Vm>, Start),
}

impl Seat {
    pub fn new(guest: &'static Guest, id: VcpuId) -> Self {
        let vcpu = Vcpu::new(id, guest.observed(id));
        Self { guest, vcpu, vm: None, watch_at: None, parked_at: 0, loading: None }
    }

    /// Does what the guest's life asks of a vCPU that is off.
    pub fn step(&mut self) -> Step {
        if let Some(vm) = &self.vm {
            vm.take_disk_news(&El2, cpu::current_id());
            if vm.attention.any() {
                // Who is off has been looked at, and would keep the others awake with it.
                let _ = vm.attention.take_look(self.vcpu.id());
            }
        }
        let life = &self.guest.life;
        match life.phase() {
            Phase::Building if self.leads() => self.build(),
            Phase::Clearing => return self.clear(),
            Phase::Loading if self.loading.is_some() => return self.load(),
            Phase::Running => return self.take_part(),
            Phase::Leaving if self.parked_at != life.starts() => self.park(),
            Phase::Leaving if self.leads() && life.all_parked() => return self.tear_down(),
            Phase::Building | Phase::Loading | Phase::Leaving | Phase::Down => return Step::Sleep,
        }
        Step::Again
    }

    fn leads(&self) -> bool {
        self.vcpu.id() == VcpuId(0)
    }

    /// Does what the guest has to do by the clock, and sees to it that this is done again when there is more.
    pub fn watch(&mut self) {
        let at = guests::watch(self.guest);
        if self.guest.config.sharing.is_some() {
            self.watch_at = at;
        } else {
            El2.set_deadline(Slot::Guest, at);
        }
    }

    fn build(&mut self) {
        self.watch();
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

    fn clear(&mut self) -> Step {
        let Some(vm) = self.guest.vm() else { return Step::Sleep };
        accounts::clearing();
        let last = loop {
            match guests::clear(self.guest, &vm) {
                Some(last) if last => break true,
                // Others of the core have their turns in between.
                Some(_) if self.guest.config.sharing.is_some() => return Step::Again,
                Some(_) => {}
                None => break false,
            }
        };
        if !last {
            drop(vm);
            // The last chunks are with the others: their last kicks us.
            return match self.guest.life.phase() {
                Phase::Clearing => Step::Sleep,
                _ => Step::Again,
            };
        }
        accounts::cleared();
        let loading = Loading::begin(self.guest, &vm);
        drop(vm);
        match loading {
            Ok(loading) => self.loading = Some(Box::new(loading)),
            Err(why) => self.loaded(Err(why)),
        }
        Step::Again
    }

    /// Brings the guest's files into its memory: at once, or a part of them where others of the core have their turns in between.
    fn load(&mut self) -> Step {
        let (Some(mut loading), Some(vm)) = (self.loading.take(), self.guest.vm()) else {
            return Step::Sleep;
        };
        let result = loop {
            match loading.step(self.guest, &vm) {
                Ok(true) if self.guest.config.sharing.is_some() => {
                    self.loading = Some(loading);
                    return Step::Again;
                }
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        // Both are gone before anybody can end the life.
        drop((loading, vm));
        self.loaded(result);
        Step::Again
    }

    /// The guest is loaded, or for some reason cannot be.
    fn loaded(&mut self, result: Result<(), String>) {
        if let Err(why) = result {
            log::error!("{}: {why}", self.guest.name());
            self.guest.life.fail_loading();
        }
        if self.guest.life.begin_running(El2.now()) {
            guests::start_waiting();
        }
        self.guest.kick_all(&El2);
        monitor::run();
    }

    /// In a life that runs: whether the vCPU is switched on.
    fn take_part(&mut self) -> Step {
        if self.vm.is_none() {
            self.vm = self.guest.vm();
        }
        let Some(vm) = self.vm.clone() else { return Step::Sleep };
        if vm.attention.pauses() {
            return Step::Sleep;
        }
        let start = vm.services.psci.power.take_start(self.vcpu.id());
        start.map_or(Step::Sleep, |start| Step::Start(vm, start))
    }

    /// This vCPU has left the life for good.
    fn park(&mut self) {
        self.vm = None;
        self.parked_at = self.guest.life.starts();
        if self.guest.life.park() {
            self.guest.kick_leader(&El2);
        }
    }

    /// All vCPUs have left: gives back all that the life was made of, and decides what follows.
    fn tear_down(&mut self) -> Step {
        let life = &self.guest.life;
        if let Some(vm) = self.guest.vm()
            && !guests::drain(&vm)
        {
            // To look, about once a second, whether the disk still does anything.
            return Step::SleepUntil(El2.now() + El2.counter_hz());
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
        Step::Again
    }

    /// Says what follows the end of a life, and does it.
    fn conclude(&mut self, reason: StopReason, after: After) {
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
        self.watch();
        monitor::run();
        if matches!(after, After::Stopped | After::Crashed | After::TooOften) {
            guests::went_down(self.guest, reason);
        }
    }

    /// What a vCPU has as the architecture starts it, beside what the core holds of it.
    pub fn reset(&mut self) {
        let id = self.vcpu.id();
        self.vcpu.registers.x = [0; 31];
        self.vcpu.timer = PhysicalTimer::default();
        self.vcpu.vgic = VgicCpu::new(id);
    }

    /// The vCPU is off, because the guest stops for a reason, or else by itself or because others stopped it.
    pub fn went_off(&mut self, vm: &Vm, why: Option<StopReason>) {
        let power = &vm.services.psci.power;
        match why {
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

    pub fn keep_snapshot(&self, vm: &Vm) {
        let registers = el1::registers(&self.vcpu.registers);
        self.guest.keep_snapshot(self.vcpu.id(), Snapshot::take(&El2, &vm.ram, registers));
    }

    /// What is seldom, but for a pause and the end: what a kick was for that was not for an interrupt. The vCPU's registers
    /// are this core's.
    pub fn attend(&mut self, vm: &Vm) {
        if panic::is_panicking() {
            power::halt();
        }
        vm.take_disk_news(&El2, cpu::current_id());
        if vm.attention.take_look(self.vcpu.id()) {
            self.keep_snapshot(vm);
            interrupt::rebuild(vm, &mut self.vcpu);
        }
        if vm.attention.take_clock() {
            self.watch();
        }
    }
}
