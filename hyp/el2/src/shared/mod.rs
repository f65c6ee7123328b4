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
mod mail;
mod moves;
mod state;
mod task;

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

/// A vCPU or none, as one number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Who(u16);

impl Who {
    const NONE: Self = Self(u16::MAX);

    const fn only(id: TaskId) -> Self {
        Self(id.0 as u16)
    }

    const fn id(self) -> Option<TaskId> {
        if self.0 <= u8::MAX as u16 { Some(TaskId(self.0 as u8)) } else { None }
    }
}

/// A guest of which no vCPU has run.
const NOBODY: u8 = u8::MAX;

struct Core {
    me: CpuId,
    mailbox: &'static Mailbox,
    queue: RunQueue<Task>,
    /// The vCPU that was given the core last, until it waits or another is.
    current: Who,
    /// Whose registers this core has.
    loaded: Who,
    /// Whose SIMD and floating-point registers this core has, and nobody changed elsewhere.
    fp: Who,
    /// Which vCPU of each guest ran here last.
    last: [u8; tessera_core::config::MAX_GUESTS],
    /// The time, where it was read just now.
    now: Option<u64>,
    vttbr_of_nobody: u64,
    /// In ticks.
    granularity: u64,
    /// When it asks others for work again at the earliest, and offers what waits here to those that sleep.
    asks_from: u64,
    offers_from: u64,
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
        moves::make_room(me);
        for guest in guests::all().unwrap_or_default() {
            let Some(sharing) = guest.config.sharing else { continue };
            let share =
                Share { weight: sharing.shares, cap: sharing.cap, reserve: sharing.reserve };
            for (n, _) in guest.config.homes.iter().enumerate().filter(|(_, home)| **home == me) {
                let task = Task::new(guest, VcpuId(n as u8));
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
            current: Who::NONE,
            loaded: Who::NONE,
            fp: Who::NONE,
            last: [NOBODY; _],
            now: None,
            vttbr_of_nobody: tlb::vttbr_of_nobody(0),
            granularity: timing.granularity(),
            asks_from: 0,
            offers_from: 0,
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
            Decision::Run { id, until } => (Who::only(id), until),
            Decision::Idle { until } => (Who::NONE, until),
        };
        let mut until = earlier(until, self.watch_at);
        if chosen != self.loaded
            && chosen != Who::NONE
            && let Some(id) = self.loaded.id()
        {
            self.loaded = Who::NONE;
            // Of one that waits, the core has a timer less, and the queue one more.
            until = earlier(until, self.unload(id));
        }
        timer::set_anew(Slot::Guest, until);
        if self.current != chosen {
            self.preempted(now);
        }
        match chosen.id() {
            Some(id) => self.give(id, now),
            None => self.idle(now),
        }
    }

    /// Who waits for another vCPU by spinning gives the core up, where others want it. Where they do not any more, that is found
    /// out at the next time.
    fn trap_spinning(&mut self) {
        if !self.spinning_traps && self.queue.is_contended() {
            self.spinning_traps = true;
            el1::trap_wfe(true);
        }
    }

    /// The vCPU spins.
    #[inline(never)]
    fn yields(&mut self) {
        self.queue.yields(El2.now());
        if !self.queue.is_contended() {
            self.spinning_traps = false;
            el1::trap_wfe(false);
        }
    }

    /// The vCPU that ran, if one did, gives way to another.
    fn preempted(&mut self, now: u64) {
        let Some(id) = self.current.id() else { return };
        self.current = Who::NONE;
        PLACES.put(id, self.me, PlaceState::Queued);
        if let Some(task) = self.queue.task_mut(id).filter(|task| task.is_on()) {
            task.seat.vcpu.observed.usage.preempted(now);
        }
    }

    /// Gives the core to `id`, and as long as it is only for another that waits, to the next.
    fn give(&mut self, mut id: TaskId, mut now: u64) {
        let mut came = self.current != Who::only(id);
        loop {
            let who = Who::only(id);
            self.current = who;
            let Some(task) = self.queue.task_mut(id) else { return };
            if !task.is_on() {
                return self.step(id);
            }
            if came {
                task.runs(now);
                PLACES.run(id, self.me);
            }
            if self.loaded != who {
                let stale = comes_behind_a_sibling(&mut self.last, id);
                task.load(Arrival { stale, has_fp: self.fp == who });
                self.loaded = who;
            }
            match task.go(self.mailbox) {
                Left::Ready => {}
                left @ (Left::Waits | Left::Stands) => {
                    PLACES.block(id, self.me);
                    // What came since it looked last is not told again.
                    if task.has_news() && !matches!(left, Left::Stands) {
                        PLACES.run(id, self.me);
                    } else {
                        now = El2.now();
                        task.seat.vcpu.observed.usage.blocks(now);
                        if task.seat.watch_at.is_none()
                            && let Some(next) = self.pass_on(id, now)
                        {
                            id = next;
                            came = true;
                            continue;
                        }
                        self.queue.block(now, None);
                        self.current = Who::NONE;
                        self.now = Some(now);
                    }
                }
                Left::Yields => self.yields(),
                Left::Off => {
                    task.seat.vcpu.observed.usage.end_shared(El2.now());
                    task.end();
                    self.loaded = Who::NONE;
                    self.fp = Who::NONE;
                }
            }
            return self.mind_watch(id);
        }
    }

    /// The vCPU waits for an interrupt, and another takes the core at once, if there is one and nothing else to think of. Else its
    /// registers stay, and so do its timers.
    #[inline(always)]
    fn pass_on(&mut self, id: TaskId, now: u64) -> Option<TaskId> {
        // Mail is looked for before that one runs.
        if self.watch_at.is_some() {
            return None;
        }
        let (next, until) = self.queue.pass_on(now)?;
        self.share_out(now);
        self.trap_spinning();
        self.loaded = Who::NONE;
        self.current = Who::NONE;
        let until = earlier(until, self.unload(id));
        timer::set_anew(Slot::Guest, until);
        Some(next)
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
                self.loaded = Who::only(id);
                self.fp = Who::NONE;
                if comes_behind_a_sibling(&mut self.last, id) {
                    tlb::forget_here();
                }
                return;
            }
            Step::Sleep => None,
            Step::SleepUntil(at) => Some(at),
        };
        self.queue.block(El2.now(), timer);
        self.current = Who::NONE;
        self.mind_watch(id);
    }

    /// Takes the registers of whom this core has them. Where that one waits, its timers are the queue's from now on: when the
    /// first of them goes off.
    #[inline(always)]
    fn unload(&mut self, id: TaskId) -> Option<u64> {
        let waits = self.current != Who::only(id);
        let task = self.queue.task_mut(id)?;
        if task.unload(self.vttbr_of_nobody) {
            self.fp = Who::only(id);
        }
        if !waits {
            return None;
        }
        let deadline = task.state.deadline(&task.seat.vcpu);
        if deadline.is_some() {
            self.queue.set_timer(id, deadline);
        }
        deadline
    }

    /// Nobody is ready.
    fn idle(&mut self, now: u64) {
        if panic::is_panicking() {
            power::halt();
        }
        self.look_for_work(now);
        // What this core has left for itself since it looked came with no kick.
        if self.mailbox.any() {
            return self.found_work();
        }
        barrier::dsb_sy();
        barrier::wfi();
        self.found_work();
        let Some(id) = self.loaded.id() else { return interrupt::while_idle(None) };
        let Some(task) = self.queue.task_mut(id) else { return };
        if task.while_idle() {
            self.woken(id, El2.now());
        }
    }
}

/// Whether another vCPU of the guest ran here since `id` did, which does now. `last` says which did of each guest.
fn comes_behind_a_sibling(last: &mut [u8; tessera_core::config::MAX_GUESTS], id: TaskId) -> bool {
    let guest = usize::from(id.vm().0) % last.len();
    let before = core::mem::replace(&mut last[guest], id.vcpu().0);
    before != NOBODY && before != id.vcpu().0
}
