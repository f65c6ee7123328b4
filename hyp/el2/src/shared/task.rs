//! A vCPU that shares its core: its turn, from when it is chosen until it waits, is off, or others may have a better claim.

use alloc::sync::Arc;

use tessera_core::addr::{CpuId, VcpuId};
use tessera_core::attention::Standing;
use tessera_core::counters::Cause;
use tessera_core::deadlines::Slot;
use tessera_core::exit::{Exit, SysRegAccess};
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::StopReason;
use tessera_core::machine::{self, Next, Step as Ended};
use tessera_core::psci::{self, Start};
use tessera_core::sched::{Mailbox, TaskId};
use tessera_core::vm::Vm;

use super::extras::FirstUse;
use super::state::{Arrival, Leaving, State};
use super::{PLACES, fp};
use crate::gic::{self, ListRegisters};
use crate::hw::El2;
use crate::main_loop::{self, Unusual};
use crate::run::run_in_turn;
use crate::seat::Seat;
use crate::{accounts, el1, interrupt, provoke, timer};

/// A vCPU with all that it takes to run it on any core.
pub struct Task {
    pub seat: Seat,
    pub state: State,
    /// Whether it is on, and in which way.
    pub power: Power,
    /// Why its whole guest stops, where that is why it goes off.
    stops: Option<StopReason>,
}

/// Whether a vCPU is on.
pub enum Power {
    Off,
    On,
    /// It is on and waits, having given its state up: it begins here.
    Anew(Start),
    /// Its guest is paused, and it stands still.
    Standing(el1::Held),
}

/// How a turn ended.
pub enum Left {
    /// Others may have a better claim by now, or there is something else to do.
    Ready,
    /// It waits for an interrupt.
    Waits,
    /// It spins.
    Yields,
    /// Its guest is paused.
    Stands,
    /// It is off.
    Off,
}

impl Task {
    // Not inlined, or the stack would have it twice.
    #[inline(never)]
    pub fn new(guest: &'static Guest, id: VcpuId) -> Self {
        Self { seat: Seat::new(guest, id), state: State::default(), power: Power::Off, stops: None }
    }

    pub fn id(&self) -> TaskId {
        TaskId::new(self.seat.guest.id, self.seat.vcpu.id())
    }

    pub fn is_on(&self) -> bool {
        !matches!(self.power, Power::Off)
    }

    /// It was ready, and gets the core: its guest is told how long it has waited for one.
    #[inline(always)]
    pub fn runs(&self, now: u64) {
        let vcpu = &self.seat.vcpu;
        let waited = vcpu.observed.usage.runs(now);
        if let Some(steal) = self.seat.vm.as_ref().and_then(|vm| vm.steal.as_ref()) {
            steal.publish(&El2, vcpu.id(), waited);
        }
    }

    /// It was blocked, and is ready.
    pub fn woken(&self, here: CpuId, now: u64) {
        // Who else wakes it at this moment leaves a bit, which finds it ready.
        let _ = PLACES.unblock(self.id(), here);
        if self.is_on() {
            self.seat.vcpu.observed.usage.wakes(now);
        }
    }

    /// Whether anybody has left word for a vCPU that is on since it looked.
    pub fn has_news(&self) -> bool {
        let Some(vm) = &self.seat.vm else { return false };
        vm.vgic.needs_delivery(&self.seat.vcpu.vgic) || vm.attention.any()
    }

    /// Whether an interrupt waits for a vCPU whose registers are this core's.
    #[inline(always)]
    pub fn has_interrupt(&self, vm: &Vm) -> bool {
        vm.vgic.has_pending(&self.seat.vcpu.vgic, &ListRegisters)
    }

    /// Handles what ended the sleep of this core, which has the vCPU's registers while it waits; whether it has something to
    /// do.
    pub fn while_idle(&mut self) -> bool {
        let Seat { vm: Some(vm), vcpu, .. } = &mut self.seat else { return false };
        interrupt::while_idle(Some((vm, vcpu)));
        vm.vgic.has_pending(&vcpu.vgic, &ListRegisters) || vm.attention.any()
    }

    /// Gives this core the vCPU's registers.
    #[inline(always)]
    pub fn load(&mut self, arrival: Arrival) {
        let Seat { vm: Some(vm), vcpu, .. } = &mut self.seat else { return };
        self.state.restore(vm, vcpu, arrival);
    }

    /// Takes them from this core. Whether SIMD and floating point are among them.
    #[inline(always)]
    pub fn unload(&mut self, vttbr_of_nobody: u64) -> bool {
        let with_fp = !fp::traps();
        if let Seat { vm: Some(vm), vcpu, .. } = &mut self.seat {
            self.state.save(vm, vcpu, Leaving { with_fp, vttbr: vttbr_of_nobody });
        }
        with_fp
    }

    /// Switches the vCPU on, at `start`: this core's registers are nobody's.
    pub fn begin(&mut self, vm: &Vm, start: Start) {
        let vcpu = &mut self.seat.vcpu;
        fp::allow();
        el1::reset(psci::vmpidr(vcpu.id()));
        fp::set_trap(true);
        vcpu.registers.write(0, start.context);
        vcpu.clock = *vm.clock.lock();
        self.state.extras.begin();
        gic::reset_virtual();
        el1::enter(vm.stage2.vttbr(), vcpu.clock.offset().unwrap_or(0));
        el1::start_at(start.entry.0);
        let kick = vm.vgic.deliver(&mut vcpu.vgic, &mut ListRegisters);
        vm.kick(&El2, kick);
        self.power = Power::On;
        accounts::guest_runs();
        provoke::on_entry();
    }

    /// The vCPU goes off, and this core's registers are nobody's from here on.
    pub fn end(&mut self) {
        let Some(vm) = self.seat.vm.clone() else { return };
        self.seat.keep_snapshot(&vm);
        timer::init();
        timer::set(Slot::Vcpu, None);
        self.state.extras.end();
        el1::leave();
        interrupt::park(&vm, &mut self.seat.vcpu);
        gic::reset_virtual();
        self.seat.reset();
        self.power = Power::Off;
        self.seat.went_off(&vm, self.stops.take());
    }

    fn begin_anew(&mut self, vm: &Vm, start: Start) {
        fp::allow();
        main_loop::begin_anew(vm, &mut self.seat.vcpu, start);
    }

    /// Runs the vCPU, whose registers are this core's.
    pub fn go(&mut self, mailbox: &Mailbox) -> Left {
        // Not cloned, which would be atomic.
        let Some(vm) = self.seat.vm.take() else { return Left::Off };
        let seldom = vm.attention.any() || !matches!(self.power, Power::On);
        let left = if seldom { self.attend(&vm) } else { None };
        let left = left.unwrap_or_else(|| self.run(&vm, mailbox));
        // There is none to be dropped.
        core::mem::forget(self.seat.vm.replace(vm));
        left
    }

    /// What is seldom, before the vCPU runs on: how the turn ends, where it does not.
    #[cold]
    #[inline(never)]
    fn attend(&mut self, vm: &Arc<Vm>) -> Option<Left> {
        self.seat.attend(vm);
        if vm.attention.stops() {
            return Some(Left::Off);
        }
        if vm.attention.pauses() || matches!(self.power, Power::Standing(_)) {
            return self.stand(vm);
        }
        if let Power::Anew(start) = self.power {
            self.power = Power::On;
            self.begin_anew(vm, start);
        }
        None
    }

    /// Stands still, or goes on where the pause is over.
    fn stand(&mut self, vm: &Vm) -> Option<Left> {
        if !matches!(self.power, Power::Standing(_)) {
            self.seat.keep_snapshot(vm);
            // One that waits to begin anew has begun by now, in all that can be seen of it.
            if let Power::Anew(start) = self.power {
                self.begin_anew(vm, start);
            }
            self.power = Power::Standing(el1::hold());
            El2.set_deadline(Slot::Vcpu, None);
        }
        match vm.attention.stand(self.seat.vcpu.id(), vm.vcpus_on(), &vm.clock, El2.now()) {
            Standing::Wait => {
                // Which stands: no timer of it goes off.
                self.seat.vcpu.clock = *vm.clock.lock();
                return Some(Left::Stands);
            }
            Standing::Go => {}
            Standing::GoAll => vm.kick_all(&El2),
        }
        if let Power::Standing(held) = core::mem::replace(&mut self.power, Power::On) {
            self.seat.vcpu.clock = *vm.clock.lock();
            el1::release(held, self.seat.vcpu.clock.offset().unwrap_or(0));
            self.seat.watch();
            machine::update_timer(vm, &mut self.seat.vcpu, &El2);
        }
        None
    }

    /// The way of every exit. Inlined into the loop of its core, which never ends, and has no registers to keep.
    #[inline(always)]
    fn run(&mut self, vm: &Vm, mailbox: &Mailbox) -> Left {
        let mut lrs = ListRegisters;
        let news = vm.vgic.news(self.seat.vcpu.id());
        let mut next = Next::Resume;
        loop {
            if mailbox.any() {
                return Left::Ready;
            }
            let vcpu = &mut self.seat.vcpu;
            if news.any() {
                interrupt::deliver(vm, vcpu);
            }
            let (exit, recorded) = run_in_turn(&mut vcpu.registers);
            if let Exit::Irq = exit {
                if interrupt::in_turn(vm, vcpu, recorded) {
                    return Left::Ready;
                }
                continue;
            }
            if machine::answered_at_once(vcpu, &exit) || self.fetched(&exit) {
                continue;
            }
            if let Exit::Wfx(event) = exit {
                el1::advance();
                let cause = if event { Cause::Wfe } else { Cause::Wfi };
                self.seat.vcpu.observed.exits.count(cause);
                match event {
                    true => return Left::Yields,
                    false if !self.has_interrupt(vm) => return Left::Waits,
                    false => continue,
                }
            }
            let vcpu = &mut self.seat.vcpu;
            match machine::handle(vm, vcpu, exit, &El2, &mut lrs, &mut next) {
                Ended::Resume => {}
                Ended::Advance => el1::advance(),
                Ended::Other => {
                    if let Some(left) = self.unusual(vm, next) {
                        return left;
                    }
                }
            }
        }
    }

    /// Gives the vCPU registers that it did not use so far; whether the exit was for that.
    #[inline(always)]
    fn fetched(&mut self, exit: &Exit) -> bool {
        match *exit {
            Exit::Fp => {
                self.seat.vcpu.observed.exits.count(Cause::Fp);
                self.state.extras.fetch_fp();
                true
            }
            Exit::SysReg(access) if Self::may_be_unused(access) => self.first_use(access),
            _ => false,
        }
    }

    /// Whether the register may be one that traps until it is used: none of those that are trapped often.
    #[inline(always)]
    fn may_be_unused(access: SysRegAccess) -> bool {
        let register = access.reg();
        register.op0() == 2 || register.crn() == 9 || register.crn() == 14
    }

    #[cold]
    #[inline(never)]
    fn first_use(&mut self, access: SysRegAccess) -> bool {
        let registers = &mut self.seat.vcpu.registers;
        match self.state.extras.first_use(access, registers.read(access.rt())) {
            FirstUse::None => return false,
            FirstUse::Again => {}
            FirstUse::Done(value) => {
                if !access.write() {
                    registers.write(access.rt(), value);
                }
                el1::advance();
            }
        }
        self.seat.vcpu.observed.exits.count(Cause::SysReg);
        true
    }

    /// What exits are seldom about: how the turn ends, where it does.
    #[inline(never)]
    fn unusual(&mut self, vm: &Vm, next: Next) -> Option<Left> {
        match main_loop::unusual(vm, &mut self.seat.vcpu, next) {
            Unusual::GoOn => None,
            Unusual::Wait(resume) => {
                let at_once = self.has_interrupt(vm);
                match resume {
                    Some(start) if at_once => {
                        self.begin_anew(vm, start);
                    }
                    Some(start) => self.power = Power::Anew(start),
                    None => {}
                }
                (!at_once).then_some(Left::Waits)
            }
            Unusual::Off(why) => {
                self.stops = why;
                Some(Left::Off)
            }
        }
    }
}
