//! A core whose time several vCPUs share.
//!
//! The core has the queue of its vCPUs as a local value, as a core that is owned has its one vCPU: nobody else reaches
//! them. Who runs is decided by `tessera_core::sched`; here it is done: [`Core::serve`] takes the mail, has the queue pick,
//! and gives the vCPU its turn ([`task`]). The registers of a vCPU stay on the core when it waits, until another really needs
//! the core ([`state`]).
//!
//! Others wake a vCPU by [`wake`], whatever core it is on, and hand over what is ready where a core has nothing to do
//! ([`moves`]).

mod debug;
mod extras;
mod fp;
mod moves;
mod state;
mod task;

use alloc::boxed::Box;

use tessera_core::addr::{CpuId, VcpuId, VmId};
use tessera_core::deadlines::Slot;
use tessera_core::hw::Hw;
use tessera_core::psci;
use tessera_core::sched::{
    Decision, Mailbox, PlaceState, Places, RunQueue, Share, TaskId, Timing, Wake,
};

use self::state::Arrival;
use self::task::{Left, Task};
use crate::cpu::{self, MAX_CPUS};
use crate::hw::El2;
use crate::seat::Step;
use crate::{barrier, el1, guests, interrupt, panic, power, pulse, run, timer, tlb};

/// Where each vCPU is that shares its core.
static PLACES: Places = Places::new();
/// What others leave for each core.
static MAILBOXES: [Mailbox; MAX_CPUS] = [const { Mailbox::new() }; MAX_CPUS];

/// Makes a vCPU look at its interrupts, which were made pending before.
pub fn wake(vm: VmId, vcpu: VcpuId) {
    let id = TaskId::new(vm, vcpu);
    match PLACES.wake(id) {
        Wake::Nothing => {}
        Wake::Kick(core) => El2.kick(core),
        Wake::Leave(core) => {
            mailbox(core).leave_wake(id);
            // This core looks before it enters a guest.
            if core != cpu::current_id() {
                El2.kick(core);
            }
        }
    }
}

/// Makes a vCPU look at what its guest has to do, before others go on.
pub fn call(vm: VmId, vcpu: VcpuId) {
    let id = TaskId::new(vm, vcpu);
    let (core, _) = PLACES.get(id);
    mailbox(core).leave_call(id);
    El2.kick(core);
}

/// Whether this core runs the vCPU.
pub fn runs_here(vm: VmId, vcpu: VcpuId) -> bool {
    PLACES.get(TaskId::new(vm, vcpu)) == (cpu::current_id(), PlaceState::Running)
}

/// What is left for `core`.
fn mailbox(core: CpuId) -> &'static Mailbox {
    &MAILBOXES[usize::from(core.0) % MAX_CPUS]
}

/// The life of core `me`, which is shared.
pub fn serve(me: CpuId) -> ! {
    // Also where no vCPU is ever switched on, but some come from elsewhere: what they have not used is at its reset.
    el1::reset(psci::vmpidr(VcpuId(0)));
    el1::share();
    run::use_vectors();
    pulse::watch();
    let mut core = Core::new(me);
    loop {
        core.turn();
    }
}

/// The first of two times.
#[inline(always)]
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// A guest of which no vCPU has run.
const NOBODY: u8 = u8::MAX;

struct Core {
    me: CpuId,
    mailbox: &'static Mailbox,
    queue: RunQueue<Box<Task>>,
    /// The vCPU that was given the core last, until it waits or another is.
    current: Option<TaskId>,
    /// Whose registers this core has.
    loaded: Option<TaskId>,
    /// Whose SIMD and floating-point registers this core has, and nobody changed elsewhere.
    fp: Option<TaskId>,
    /// Which vCPU of each guest ran here last.
    last: [u8; tessera_core::config::MAX_GUESTS],
    /// The time, where it was read just now.
    now: Option<u64>,
    /// Whether a guest's WFE traps.
    spinning_traps: bool,
    /// When the first of the guests has something to do by the clock.
    watch_at: Option<u64>,
}

impl Core {
    /// With the vCPUs whose home this is.
    ///
    /// Not inlined, or what it is made of would lie below all that is done on this core.
    #[inline(never)]
    fn new(me: CpuId) -> Self {
        let timing = Timing::new(El2.counter_hz(), guests::wake_latency());
        let mut queue = RunQueue::new(timing);
        for guest in guests::all().unwrap_or_default() {
            let Some(sharing) = guest.config.sharing else { continue };
            let share =
                Share { weight: sharing.shares, cap: sharing.cap, reserve: sharing.reserve };
            for (n, _) in guest.config.homes.iter().enumerate().filter(|(_, home)| **home == me) {
                let task = Task::boxed(guest, VcpuId(n as u8));
                let id = task.id();
                queue.add(id, share, task);
                PLACES.put(id, me, PlaceState::Blocked);
                // It looks what there is to do before it waits for the first call.
                mailbox(me).leave_call(id);
            }
        }
        Self {
            me,
            mailbox: mailbox(me),
            queue,
            current: None,
            loaded: None,
            fp: None,
            last: [NOBODY; _],
            now: None,
            spinning_traps: false,
            watch_at: None,
        }
    }

    /// Finds out who runs now, and lets it.
    fn turn(&mut self) {
        let now = match self.now.take() {
            Some(now) if !self.mailbox.any() => now,
            _ => {
                self.take_mail();
                El2.now()
            }
        };
        if self.watch_at.is_some_and(|at| at <= now) {
            self.watch(now);
        }
        let me = self.me;
        let decision = self.queue.pick(now, |_, task| task.woken(me, now));
        self.share_out(now);
        self.trap_spinning();
        let (chosen, until) = match decision {
            Decision::Run { id, until } => (Some(id), until),
            Decision::Idle { until } => (None, until),
        };
        let mut until = earlier(until, self.watch_at);
        if chosen.is_some_and(|id| self.loaded != Some(id)) {
            // Of one that waits, the core has a timer less, and the queue one more.
            until = earlier(until, self.unload());
        }
        timer::set_anew(Slot::Guest, until);
        self.preempted(chosen, now);
        match chosen {
            Some(id) => self.give(id, now),
            None => self.idle(),
        }
    }

    /// Who waits for another vCPU by spinning gives the core up, where others want it.
    fn trap_spinning(&mut self) {
        let contended = self.queue.is_contended();
        if contended != self.spinning_traps {
            self.spinning_traps = contended;
            el1::trap_wfe(contended);
        }
    }

    /// The vCPU that ran gives way to `chosen`, if that is another.
    fn preempted(&mut self, chosen: Option<TaskId>, now: u64) {
        let Some(id) = self.current.filter(|&id| Some(id) != chosen) else { return };
        self.current = None;
        PLACES.put(id, self.me, PlaceState::Queued);
        if let Some(task) = self.queue.task_mut(id).filter(|task| task.is_on()) {
            task.seat.vcpu.observed.usage.preempted(now);
        }
    }

    /// Gives the core to `id`.
    fn give(&mut self, id: TaskId, now: u64) {
        let came = self.current != Some(id);
        self.current = Some(id);
        let Some(task) = self.queue.task_mut(id) else { return };
        if !task.is_on() {
            return self.step(id);
        }
        if came {
            task.runs(now);
            PLACES.run(id, self.me);
        }
        if self.loaded != Some(id) {
            self.load(id);
        }
        let Some(task) = self.queue.task_mut(id) else { return };
        match task.go(self.mailbox) {
            Left::Ready => {}
            Left::Waits | Left::Stands => self.block(id),
            Left::Yields => self.queue.yields(El2.now()),
            Left::Off(why) => {
                task.seat.vcpu.observed.usage.end_shared(El2.now());
                task.end(why);
                self.loaded = None;
                self.fp = None;
            }
        }
        self.mind_watch(id);
    }

    /// The vCPU waits for an interrupt. Its registers stay, and so do its timers.
    fn block(&mut self, id: TaskId) {
        PLACES.block(id, self.me);
        let Some(task) = self.queue.task_mut(id) else { return };
        // What came since it looked last is not told again.
        if task.has_news() && !task.stands() {
            return PLACES.run(id, self.me);
        }
        let now = El2.now();
        task.seat.vcpu.observed.usage.blocks(now);
        self.queue.block(now, None);
        self.current = None;
        self.now = Some(now);
    }

    /// Does what the guest's life asks of a vCPU that is off. This core's registers are nobody's, for it may take interrupts.
    fn step(&mut self, id: TaskId) {
        // Before it looks: who leaves word behind this wakes it.
        PLACES.block(id, self.me);
        pulse::leave();
        let Some(task) = self.queue.task_mut(id) else { return };
        let step = task.seat.step();
        pulse::watch();
        let timer = match step {
            Step::Again => return self.mind_watch(id),
            Step::Start(vm, start) => {
                let now = El2.now();
                task.seat.vcpu.observed.usage.begin_shared(now);
                task.runs(now);
                PLACES.run(id, self.me);
                task.begin(&vm, start);
                self.loaded = Some(id);
                self.fp = Some(id);
                if self.comes_behind_a_sibling(id) {
                    tlb::forget_here();
                }
                return;
            }
            Step::Sleep => None,
            Step::SleepUntil(at) => Some(at),
        };
        self.queue.block(El2.now(), timer);
        self.current = None;
        self.mind_watch(id);
    }

    /// Takes what others left.
    fn take_mail(&mut self) {
        if !self.mailbox.any() {
            return;
        }
        let mail = self.mailbox.take();
        let now = El2.now();
        for id in mail.woken() {
            self.woken(id, now);
        }
        for id in mail.called() {
            self.called(id, now);
        }
        if mail.parcels() {
            self.adopt(now);
        }
        for core in mail.asking().iter() {
            self.hand_over(core, now);
        }
    }

    /// Something came for a vCPU of this core.
    fn woken(&mut self, id: TaskId, now: u64) {
        if self.queue.wake(id, now)
            && let Some(task) = self.queue.task_mut(id)
        {
            task.woken(self.me, now);
            self.queue.prefer(id);
        }
    }

    /// A vCPU was called, which was on this core then.
    fn called(&mut self, id: TaskId, now: u64) {
        if self.queue.wake(id, now)
            && let Some(task) = self.queue.task_mut(id)
        {
            task.woken(self.me, now);
        }
        if !self.queue.call(id, now) {
            call(id.vm(), id.vcpu());
        }
    }

    /// Has the guests that have something to do by the clock do it.
    #[cold]
    fn watch(&mut self, now: u64) {
        self.watch_at = None;
        for id in (0..=u8::MAX).map(TaskId) {
            let Some(task) = self.queue.task_mut(id) else { continue };
            if task.seat.watch_at.is_some_and(|at| at <= now) {
                task.seat.watch();
            }
            self.mind_watch(id);
        }
    }

    /// The guest of `id` may have something to do by the clock.
    fn mind_watch(&mut self, id: TaskId) {
        if let Some(task) = self.queue.task_mut(id)
            && task.seat.watch_at.is_some()
        {
            self.watch_at = earlier(self.watch_at, task.seat.watch_at);
        }
    }

    /// Gives this core the registers of `id`; those that it has are nobody's.
    fn load(&mut self, id: TaskId) {
        let arrival =
            Arrival { stale: self.comes_behind_a_sibling(id), has_fp: self.fp == Some(id) };
        let Some(task) = self.queue.task_mut(id) else { return };
        task.load(arrival);
        self.loaded = Some(id);
    }

    /// Whether another vCPU of the guest ran here since `id` did, which does now.
    fn comes_behind_a_sibling(&mut self, id: TaskId) -> bool {
        let guest = usize::from(id.vm().0) % self.last.len();
        let last = core::mem::replace(&mut self.last[guest], id.vcpu().0);
        last != NOBODY && last != id.vcpu().0
    }

    /// Takes the registers of whom this core has them. Where that one waits, its timers are the queue's from now on: when the
    /// first of them goes off.
    fn unload(&mut self) -> Option<u64> {
        let id = self.loaded.take()?;
        let waits = self.current != Some(id);
        let task = self.queue.task_mut(id)?;
        if task.unload() {
            self.fp = Some(id);
        }
        if !waits {
            return None;
        }
        let deadline = task.state.deadline(&task.seat.vcpu);
        self.queue.set_timer(id, deadline);
        deadline
    }

    /// Nobody is ready.
    fn idle(&mut self) {
        if panic::is_panicking() {
            power::halt();
        }
        self.look_for_work();
        // What this core has left for itself since it looked came with no kick.
        if self.mailbox.any() {
            return self.found_work();
        }
        barrier::dsb_sy();
        barrier::wfi();
        self.found_work();
        let Some(id) = self.loaded else { return interrupt::while_idle(None) };
        let Some(task) = self.queue.task_mut(id) else { return };
        if task.while_idle() {
            self.woken(id, El2.now());
        }
    }
}
