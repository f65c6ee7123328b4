//! A guest as long as the board runs: its configuration, where it is in its life, what is remembered of earlier ones.
//!
//! Problem: a guest ends and starts again, and nothing of one life may leak into the next: no register of a device, no
//! byte of memory. Idea: what a life is made of is one value, a [`Vm`], which is built from the configuration at each
//! start and dropped at the end. What stays is here, and it is all that others hold on to: to reach the life they take an
//! `Arc` for a moment ([`Guest::vm`]), which the end of the life waits for. Idea not taken: to reset each part in place.
//! It is quicker by an allocation or two, and each forgotten field is a hole.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::lock::Mutex;
use tessera_abi::layout::MAX_VCPUS;

use crate::addr::{CpuId, VcpuId, VcpuSet, VmId};
use crate::config::VmConfig;
use crate::counters::{GuestCounters, Observed};
use crate::disk::Window;
use crate::group::Share;
use crate::hw::Hw;
use crate::life::{Action, Life, Refusal, Request, StopReason};
use crate::snapshot::Snapshot;
use crate::trng::Stream;
use crate::vm::Vm;

/// A disk that the guest has in each of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSeat {
    /// Its number at the board's disk.
    pub owner: u8,
    /// What it may reach.
    pub window: Window,
    /// What it calls itself (VIRTIO 1.3 5.2.6.1, VIRTIO_BLK_T_GET_ID).
    pub serial: [u8; 20],
}

/// A guest.
pub struct Guest {
    /// Its number.
    pub id: VmId,
    /// What it was configured to be.
    pub config: VmConfig,
    /// Its kernel, as the bundle has it.
    pub kernel: &'static [u8],
    /// Its ramdisk; empty for none.
    pub ramdisk: &'static [u8],
    /// Its disks.
    pub disks: Vec<DiskSeat>,
    /// Its groups.
    pub groups: Vec<Share>,
    /// Where it is in its life.
    pub life: Life,
    /// What each life gets its random numbers from, where the board has any.
    pub random: Mutex<Option<Stream>>,
    /// What is counted of it, over all its lives.
    pub counters: Arc<GuestCounters>,
    /// It is to start as soon as those run that it depends on.
    pub waits: AtomicBool,
    /// Whoever asks for something holds it until that is under way: what two ask for at once happens one after the other.
    asking: Mutex<()>,
    vm: Mutex<Option<Arc<Vm>>>,
    last_failure: Mutex<Option<Failure>>,
    /// Registers of each vCPU, from when it last ended, stood still, or was looked at.
    snapshots: [Mutex<Option<Box<Snapshot>>>; MAX_VCPUS],
}

/// What is kept of a life that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why it ended.
    pub reason: StopReason,
    /// When, on the board's counter.
    pub at: u64,
    /// Which life it was, counted from 1.
    pub life: u64,
    /// Registers of the vCPUs that ran.
    pub vcpus: Vec<(VcpuId, Snapshot)>,
}

impl Guest {
    /// A guest that was never started.
    pub fn new(
        id: VmId,
        config: VmConfig,
        kernel: &'static [u8],
        ramdisk: &'static [u8],
        disks: Vec<DiskSeat>,
        groups: Vec<Share>,
        random: Option<Stream>,
    ) -> Self {
        let life = Life::new(config.vcpus() as u8, config.life.policy, config.life.stop_timeout);
        Self {
            id,
            kernel,
            ramdisk,
            disks,
            groups,
            life,
            random: Mutex::new(random),
            counters: Arc::new(GuestCounters::new(config.vcpus())),
            waits: AtomicBool::new(config.life.autostart),
            asking: Mutex::new(()),
            vm: Mutex::new(None),
            last_failure: Mutex::new(None),
            snapshots: [const { Mutex::new(None) }; MAX_VCPUS],
            config,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The cores that it owns, one a vCPU; none where its vCPUs share cores with others'.
    pub fn cores(&self) -> &[CpuId] {
        if self.config.sharing.is_some() { &[] } else { &self.config.cpus }
    }

    /// What is written down about `vcpu`, one of its own.
    pub fn observed(&self, vcpu: VcpuId) -> &Observed {
        &self.counters.vcpus[usize::from(vcpu.0)]
    }

    /// Makes its first vCPU, which builds it and tears it down, look at what there is to do.
    pub fn kick_leader(&self, hw: &impl Hw) {
        match self.cores().first() {
            Some(&core) => hw.kick(core),
            None => hw.call(self.id, VcpuId(0)),
        }
    }

    /// Its present life. To be let go soon, and not kept while a guest runs: the end of the life waits for it.
    pub fn vm(&self) -> Option<Arc<Vm>> {
        self.vm.lock().clone()
    }

    /// Begins a life.
    pub fn install(&self, vm: Arc<Vm>) {
        self.groups.iter().for_each(|share| share.begin(&vm));
        *self.vm.lock() = Some(vm);
        self.snapshots.iter().for_each(|snapshot| *snapshot.lock() = None);
    }

    /// Takes the life away from everybody who does not hold it yet.
    pub fn take_vm(&self) -> Option<Arc<Vm>> {
        self.groups.iter().for_each(Share::end);
        self.vm.lock().take()
    }

    /// Makes all its cores look at what they have to do, after a change of its life, which whoever shares memory with it learns.
    pub fn kick_all(&self, hw: &impl Hw) {
        self.groups.iter().for_each(|share| share.tell(hw, &self.life));
        if self.cores().is_empty() {
            (0..self.config.vcpus() as u8).for_each(|vcpu| hw.call(self.id, VcpuId(vcpu)));
        }
        self.cores().iter().for_each(|&core| hw.kick(core));
    }

    /// Somebody outside asks for something. Granted, it is under way when this returns.
    pub fn ask(&self, request: Request, hw: &impl Hw) -> Result<Action, Refusal> {
        let _turn = self.asking.lock();
        // Held before it is asked: no other life begins to run while this one is held, and that one was not meant.
        let held = self.vm();
        let action = self.life.ask(request, hw.now(), hw.counter_hz())?;
        self.waits.store(false, Ordering::Relaxed);
        if let Some(vm) = held.or_else(|| self.vm()) {
            match action {
                Action::Leave => vm.attention.stop(),
                Action::Pause => vm.attention.pause(),
                Action::Resume => vm.attention.resume(vm.vcpus_on(), &vm.clock, hw.now()),
                Action::PressButton => {
                    // Where nobody listens yet, the press waits for who will.
                    vm.press_power_button(hw);
                    vm.attention.mind_the_clock();
                }
                Action::Build | Action::Forget => {}
            }
        }
        // Also where only the leader's deadline changed.
        self.kick_all(hw);
        Ok(action)
    }

    /// The life ends, for a reason of its own.
    pub fn end(&self, vm: &Vm, reason: StopReason, hw: &impl Hw) {
        if self.life.end(reason, hw.now()) {
            vm.attention.stop();
            self.kick_all(hw);
        }
    }

    /// Asks the vCPUs of `wanted` that run for their registers, which arrive soon by [`Guest::keep_snapshot`].
    pub fn look(&self, wanted: VcpuSet, hw: &impl Hw) {
        if let Some(vm) = self.vm() {
            vm.attention.look(VcpuSet(vm.vcpus_on().0 & wanted.0));
            self.kick_all(hw);
        }
    }

    /// Keeps a vCPU's registers.
    pub fn keep_snapshot(&self, vcpu: VcpuId, snapshot: Snapshot) {
        if let Some(place) = self.snapshots.get(usize::from(vcpu.0)) {
            *place.lock() = Some(Box::new(snapshot));
        }
    }

    /// The registers of a vCPU as they were last kept in this life, or at the end of the last.
    pub fn snapshot(&self, vcpu: VcpuId) -> Option<Snapshot> {
        self.snapshots.get(usize::from(vcpu.0))?.lock().as_deref().cloned()
    }

    /// Keeps what is known of a life that failed. For the leader, when all cores have left it.
    #[inline(never)]
    pub fn keep_failure(&self, reason: StopReason, at: u64) {
        let all = (0..self.config.vcpus() as u8).map(VcpuId);
        let vcpus = all.filter_map(|vcpu| Some((vcpu, self.snapshot(vcpu)?))).collect();
        let failure = Failure { reason, at, life: self.life.starts(), vcpus };
        *self.last_failure.lock() = Some(failure);
    }

    /// The last failure of the guest, whatever happened since.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;
    use crate::addr::Pa;
    use crate::hw::fake::FakeHw;
    use crate::{machine, monitor};

    #[test]
    fn what_two_ask_for_at_once_happens_one_after_the_other() {
        const ROUNDS: u32 = 20_000;
        let guest = &monitor::fake::Fake::default().guests[0];
        let hw = || FakeHw::new(Pa(0), 1 << 20);
        assert_eq!(guest.ask(Request::Start, &hw()), Ok(Action::Build));
        guest.install(Arc::new(machine::tests::vm()));
        guest.life.begin_clearing();
        assert!(guest.life.begin_running(0));
        let vm = guest.vm().unwrap();
        // Nobody is on, so a pause is over as soon as somebody resumes it.
        vm.services.psci.power.switch_off(VcpuId(0));
        let insist = |request, hw: &FakeHw| {
            while guest.ask(request, hw).is_err() {
                thread::yield_now();
            }
            hw.events();
        };
        let (resumed, mut stuck) = (AtomicU32::new(0), 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let hw = hw();
                for round in 1..=ROUNDS {
                    insist(Request::Resume, &hw);
                    resumed.store(round, Ordering::Release);
                }
            });
            let hw = hw();
            for round in 1..=ROUNDS {
                insist(Request::Pause, &hw);
                while resumed.load(Ordering::Acquire) < round {
                    thread::yield_now();
                }
                stuck += u32::from(vm.attention.pauses());
            }
        });
        assert_eq!(stuck, 0, "it ran, and its cores stood still");
    }
}
