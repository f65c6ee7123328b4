//! Work for cores that have nothing to do.
//!
//! A core that has nothing to do says so, and asks the one on which most wait; that one hands one over. Where one is left
//! waiting behind another, it is handed over at once to a core that has said so. A board on which all are busy pays a load
//! for it.

use alloc::vec::Vec;

use tessera_core::addr::{CoreSet, CpuId};
use tessera_core::hw::Hw;
use tessera_core::lock::Mutex;
use tessera_core::sched::{IdleCores, Parcel, PlaceState, TASKS, TaskId};

use super::task::Task;
use super::{Core, PLACES, Who, mailbox};
use crate::cpu::MAX_CPUS;
use crate::hw::El2;

static IDLE: IdleCores = IdleCores::new();

/// vCPUs on their way to each core. Locked for a push, or for taking one.
static PARCELS: [Mutex<Vec<Parcel<Task>>>; MAX_CPUS] = [const { Mutex::new(Vec::new()) }; MAX_CPUS];

fn parcels(core: CpuId) -> &'static Mutex<Vec<Parcel<Task>>> {
    &PARCELS[usize::from(core.0) % MAX_CPUS]
}

impl Task {
    /// The cores on which it may run.
    fn cores(&self) -> CoreSet {
        let cores = self.seat.guest.config.cpus.iter();
        cores.fold(CoreSet::EMPTY, |set, &core| set.union(CoreSet::only(core)))
    }
}

/// Makes room for all that may come to `core`, so that nothing is allocated when they do.
pub(super) fn make_room(core: CpuId) {
    parcels(core).lock().reserve(TASKS);
}

impl Core {
    /// Before this core sleeps: others may have more than they can do. It asks once in a granularity at most, as often as it
    /// goes to sleep: the other core's guests pay for the answer.
    pub(super) fn look_for_work(&mut self, now: u64) {
        IDLE.set_waiting(self.me, 0);
        IDLE.publish(self.me);
        let others = CoreSet(u8::MAX).without(self.me);
        if now >= self.asks_from
            && let Some(core) = IDLE.longest(others)
        {
            self.asks_from = now.saturating_add(self.granularity);
            mailbox(core).leave_ask(self.me);
            El2.kick(core);
        }
    }

    /// This core does not sleep any more.
    pub(super) fn found_work(&self) {
        IDLE.withdraw(self.me);
    }

    /// Tells the others how many wait here, and hands one over to a core that has nothing to do.
    #[inline]
    pub(super) fn share_out(&mut self, now: u64) {
        let waiting = self.queue.waiting();
        IDLE.set_waiting(self.me, waiting);
        if waiting != 0 && IDLE.any() && now >= self.offers_from {
            self.offer(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn offer(&mut self, now: u64) {
        for core in IDLE.published().without(self.me).iter() {
            // Before it is claimed, or it would have to be published again, and might be busy by then.
            let may = self.may_go_to(core);
            if self.queue.has_for(may) && IDLE.claim(CoreSet::only(core)).is_some() {
                self.hand_over(core, now);
                return;
            }
        }
        // Those that wait may run on none of them, and that will be so for a while.
        self.offers_from = now.saturating_add(self.granularity);
    }

    /// Who may go to `core`.
    fn may_go_to(&self, core: CpuId) -> impl Fn(TaskId, &Task) -> bool + use<> {
        let loaded = self.loaded;
        move |id, task| loaded != Who::only(id) && task.cores().contains(core)
    }

    /// Hands one that waits over to `core`, if there is one.
    pub(super) fn hand_over(&mut self, core: CpuId, now: u64) {
        let may = self.may_go_to(core);
        let Some(parcel) = self.queue.hand_over(now, may) else { return };
        let id = parcel.id();
        if self.fp == Who::only(id) {
            self.fp = Who::NONE;
        }
        // It changes hands with the lock: nobody is its owner in between.
        let mut parcels = parcels(core).lock();
        PLACES.put(id, core, PlaceState::Queued);
        parcels.push(parcel);
        drop(parcels);
        mailbox(core).leave_parcel_note();
        El2.kick(core);
    }

    /// Takes in what others handed over.
    pub(super) fn adopt(&mut self, now: u64) {
        loop {
            let parcel = parcels(self.me).lock().pop();
            let Some(parcel) = parcel else { break };
            let id = self.queue.adopt(parcel, now);
            self.mind_watch(id);
        }
    }
}
