//! What happens at an exit: one match, and what each kind of exit means.
//!
//! Nothing here knows how the guest's state is held while EL2 runs. What is to be done with it comes back as a
//! [`Next`]: go on, step over the instruction, take an exception, stop. Devices and other guests' interrupts are worked
//! on in place, through [`Hw`].

mod devices;
mod hypercall;
mod mmio;
#[cfg(test)]
pub(crate) mod tests;

pub use mmio::device_at;

use crate::addr::{IntId, VcpuSet};
use crate::counters::Cause;
use crate::deadlines::Slot;
use crate::exit::{Exit, StageTwoAbort, SysRegAccess};
use crate::hw::Hw;
use crate::id_regs::reg::ID_AA64MMFR2_EL1;
use crate::inject::{Access, Fault, Stage1};
use crate::life::StopReason;
use crate::psci::Start;
use crate::smccc::{Call, Services};
use crate::steal::StealTime;
use crate::sysreg::{self, Outcome, TimerReg};
use crate::vcpu::Vcpu;
use crate::vgic::ListRegisters;
use crate::vm::Vm;

/// What the core does with the vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Next {
    /// Run it on.
    Resume,
    /// Step over the instruction, then run it on.
    Advance,
    /// Let it take an exception.
    Inject(Fault),
    /// Let it take the external abort that [`refused`] makes of this.
    Refuse(StageTwoAbort),
    /// A physical interrupt is pending: acknowledge it.
    Interrupt,
    /// Wait for an interrupt, then run it on, or begin anew where it gave its state up.
    Suspend {
        /// Step over the instruction that asked.
        advance: bool,
        /// Where it begins anew.
        resume: Option<Start>,
    },
    /// It waits for another vCPU, by spinning: step over the instruction, and let others have the core.
    Yield,
    /// It switched itself off.
    Off,
    /// The whole guest stops.
    Stop(StopReason),
}

/// How an exit ends: in one of the two usual ways, or in another.
///
/// Apart from [`Next`], because a byte is passed in a register and decided on at once, and a `Next` is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// As [`Next::Resume`].
    Resume,
    /// As [`Next::Advance`].
    Advance,
    /// What the caller's `Next` says now.
    Other,
}

impl Step {
    #[inline(always)]
    fn other(next: &mut Next, what: Next) -> Self {
        *next = what;
        Self::Other
    }
}

/// Handles an exit of `vcpu`. What is not usual is left in `next`.
#[inline(always)]
pub fn handle(
    vm: &Vm,
    vcpu: &mut Vcpu,
    exit: Exit,
    hw: &impl Hw,
    lrs: &mut impl ListRegisters,
    next: &mut Next,
) -> Step {
    let (cause, what) = match exit {
        Exit::Mmio(access) => return mmio::access(vm, vcpu, access, hw, lrs, next),
        Exit::SysReg(access) => return system_register(vm, vcpu, access, hw, lrs, next),
        Exit::Hvc(immediate) if immediate != 0 => {
            hypercall::answer(vm, vcpu, immediate, hw);
            return Step::Resume;
        }
        Exit::Hvc(immediate) => {
            vcpu.observed.exits.count(Cause::Hvc);
            return call(vm, vcpu, immediate, hw, Step::Resume, next);
        }
        Exit::Smc(immediate) => {
            vcpu.observed.exits.count(Cause::Smc);
            return call(vm, vcpu, immediate, hw, Step::Advance, next);
        }
        // Counted where it is known which.
        Exit::Irq => return Step::other(next, Next::Interrupt),
        Exit::Abort(syndrome) => (Cause::Abort, Next::Refuse(StageTwoAbort::new(syndrome))),
        // Where SIMD and floating point trap, the core's loop has answered before.
        Exit::Undefined | Exit::Fp => (Cause::Undefined, Next::Inject(Fault::Undefined)),
        // Trapped where others want the core, or while somebody wants to know how long it takes.
        Exit::Wfx(false) => (Cause::Wfi, Next::Suspend { advance: true, resume: None }),
        // Going on is what the architecture allows it to do at any time.
        Exit::Wfx(true) => (Cause::Wfe, Next::Yield),
        Exit::SError => (Cause::SError, Next::Stop(StopReason::SystemError)),
        Exit::Unexpected => (Cause::Unexpected, Next::Stop(StopReason::UnexpectedExit)),
    };
    vcpu.observed.exits.count(cause);
    Step::other(next, what)
}

/// Answers an exit that takes nothing but a register, before all others are looked at; whether it was one.
#[inline(always)]
pub fn answered_at_once(vcpu: &mut Vcpu, exit: &Exit) -> bool {
    match exit {
        Exit::Hvc(immediate) if Services::answer_version(*immediate, &mut vcpu.registers.x) => {
            vcpu.observed.exits.count(Cause::Hvc);
            true
        }
        _ => false,
    }
}

/// The fault for an access that stage 2 refused. `stage1` are the registers of the guest's own translation.
pub fn refused(vm: &Vm, abort: &StageTwoAbort, stage1: &Stage1, hw: &impl Hw) -> Fault {
    let read = |at| {
        let mut bytes = [0; 8];
        vm.ram.read(hw, at, &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let level = || stage1.level_of(abort.va, abort.ipa, read);
    Fault::External(Access::refused(abort, level))
}

/// A firmware call; `done` says how to go on behind it, as HVC returns behind itself and a trapped SMC to itself.
#[inline(never)]
fn call(
    vm: &Vm,
    vcpu: &mut Vcpu,
    immediate: u16,
    hw: &impl Hw,
    done: Step,
    next: &mut Next,
) -> Step {
    let what = match vm.services.call(immediate, &mut vcpu.registers.x) {
        Call::Done => return done,
        Call::CpuOn(target) => {
            vm.kick(hw, VcpuSet::only(target));
            return done;
        }
        Call::CpuOff => Next::Off,
        Call::Suspend { resume } => Next::Suspend { advance: done == Step::Advance, resume },
        Call::SystemOff => Next::Stop(StopReason::Off),
        Call::SystemReset { warm: false } => Next::Stop(StopReason::Reset),
        Call::SystemReset { warm: true } => Next::Stop(StopReason::WarmReset),
        Call::Workaround(id) => {
            hw.firmware_call(id, vcpu.registers.read(1));
            return done;
        }
        Call::Random { bits, wide } => {
            if let Some(stream) = vm.random.lock().as_mut() {
                stream.answer(&mut vcpu.registers.x, bits, wide);
            }
            return done;
        }
        Call::StealTime => {
            vcpu.registers.x[0] = StealTime::address(vcpu.id()).0;
            return done;
        }
    };
    Step::other(next, what)
}

/// A trapped MRS or MSR.
#[inline(always)]
fn system_register(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: SysRegAccess,
    hw: &impl Hw,
    lrs: &mut impl ListRegisters,
    next: &mut Next,
) -> Step {
    let value = vcpu.registers.read(access.rt());
    let outcome = sysreg::emulate(access, value, &vm.ids);
    let sgi = matches!(outcome, Outcome::Sgi1(_) | Outcome::Sgi0(_));
    vcpu.observed.exits.count(if sgi { Cause::Sgi } else { Cause::SysReg });
    match outcome {
        Outcome::Value(value) => vcpu.registers.write(access.rt(), value),
        Outcome::Done => {}
        Outcome::Sgi1(value) => {
            let kick = vm.vgic.sgi1r(&mut vcpu.vgic, lrs, value);
            vm.kick(hw, kick);
        }
        Outcome::Sgi0(value) => {
            let kick = vm.vgic.sgi0r(&mut vcpu.vgic, lrs, value);
            vm.kick(hw, kick);
        }
        Outcome::Deactivate(value) => {
            let kick = vm.vgic.write_dir(&mut vcpu.vgic, lrs, value);
            vm.kick(hw, kick);
        }
        Outcome::TimerRead(register) => {
            let time = vcpu.clock.time(hw.now());
            vcpu.registers.write(access.rt(), vcpu.timer.read(register, time));
        }
        Outcome::TimerWrite(register, value) => write_timer(vm, vcpu, register, value, hw),
        Outcome::Undefined => {
            let mmfr2 = vm.ids.read(ID_AA64MMFR2_EL1);
            return Step::other(next, Next::Inject(Fault::no_register(access, mmfr2)));
        }
    }
    Step::Advance
}

fn write_timer(vm: &Vm, vcpu: &mut Vcpu, register: TimerReg, value: u64, hw: &impl Hw) {
    vcpu.timer.write(register, value, vcpu.clock.time(hw.now()));
    update_timer(vm, vcpu, hw);
}

/// Brings the physical timer's interrupt line and the core's deadline up to date: after a write, and when the
/// deadline has come.
pub fn update_timer(vm: &Vm, vcpu: &mut Vcpu, hw: &impl Hw) {
    let high = vcpu.timer.level(vcpu.clock.time(hw.now()));
    let intid = IntId(tessera_abi::layout::PTIMER_INTID);
    // The own vCPU needs no kick: it looks before it runs on.
    let _ = vm.vgic.set_ppi_level(vcpu.id(), intid, high);
    let deadline = vcpu.timer.physical_deadline(&vcpu.clock);
    hw.set_deadline(Slot::Vcpu, deadline.filter(|_| !high));
}
