//! What others left for the core and its vCPUs, and what their guests have to do by the clock.

use tessera_core::hw::Hw;
use tessera_core::sched::TaskId;

use super::{Core, call, earlier};
use crate::hw::El2;

impl Core {
    /// Takes what others left.
    pub(super) fn take_mail(&mut self) {
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
    pub(super) fn woken(&mut self, id: TaskId, now: u64) {
        if self.queue.wake(id, now)
            && let Some(task) = self.queue.task_mut(id)
        {
            task.woken(self.me, now);
            self.queue.prefer(id);
        }
    }

    /// A vCPU was called, which was on this core then.
    pub(super) fn called(&mut self, id: TaskId, now: u64) {
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
    pub(super) fn watch(&mut self, now: u64) {
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
    pub(super) fn mind_watch(&mut self, id: TaskId) {
        if let Some(task) = self.queue.task_mut(id)
            && task.seat.watch_at.is_some()
        {
            self.watch_at = earlier(self.watch_at, task.seat.watch_at);
        }
    }
}
