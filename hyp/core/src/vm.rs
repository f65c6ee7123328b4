//! One life of a guest: what its vCPUs share from its start to its end.
//!
//! Each device has a lock of its own, and none is shared with another guest. The order in which they are taken is the
//! order of the fields: disk, power button, watchdog, control port, UART, GPIO, then the interrupt controller's own lock, which is innermost.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use tessera_abi::layout;

use crate::addr::{CpuId, IntId, VcpuId, VcpuSet, VmId};
use crate::attention::Attention;
use crate::control::Control;
use crate::counters::{DiskCounters, GuestCounters};
use crate::disk::{Accepted, DiskError, DiskRequest, SubmitError};
use crate::group::Share;
use crate::guest_mem::GuestRam;
use crate::hw::Hw;
use crate::id_regs::IdRegs;
use crate::life::StopReason;
use crate::lock::Mutex;
use crate::monitor::World;
use crate::pl061::Pl061;
use crate::psci::Power;
use crate::smccc::Services;
use crate::stage2::Stage2;
use crate::steal::StealTime;
use crate::trng::Stream;
use crate::vgic::{Rung, Vgic};
use crate::virtio::blk::VirtioBlk;
use crate::virtio::input::PowerButton;
use crate::vtimer::Clock;
use crate::vuart::Vuart;
use crate::watchdog::{Signal, Watchdog};

/// A guest while it lives. Each start makes a new one, so nothing of an earlier life can be left in it.
pub struct Vm {
    /// Its number.
    pub id: VmId,
    /// Its name in the configuration.
    pub name: String,
    /// The core of each vCPU; none where its vCPUs share cores, and are where the scheduler put them.
    pub cpus: Vec<CpuId>,
    /// Its RAM.
    pub ram: GuestRam,
    /// Its physical address space. Nothing changes it while the guest runs.
    pub stage2: Stage2,
    /// What it is told of time that others had; where it shares its cores.
    pub steal: Option<StealTime>,
    /// What its cores have to look at when they are kicked.
    pub attention: Attention,
    /// PSCI, SMCCC and what they know.
    pub services: Services,
    /// Its ID registers.
    pub ids: IdRegs,
    /// Its counter, from when it was started.
    pub clock: Mutex<Clock>,
    /// Its random numbers, where there is a seed.
    pub random: Mutex<Option<Stream>>,
    /// Its disks, by the number of their virtio slot.
    pub disks: Vec<Mutex<VirtioBlk>>,
    /// What the board's disk has for them, from the core that it interrupted.
    pub disk_news: DiskNews,
    /// Its power button.
    pub power_button: Mutex<PowerButton>,
    /// Its watchdog, where it has one.
    pub watchdog: Option<Mutex<Watchdog>>,
    /// Its control port, where it may look after the others.
    pub control: Option<Control>,
    /// Its UART, where it has a console.
    pub uart: Option<Mutex<Vuart>>,
    /// Its GPIO, where it is in groups.
    pub gpio: Option<Mutex<Pl061>>,
    /// Its groups, each at the doorbell of its place here.
    pub groups: Vec<Share>,
    /// Its interrupt controller.
    pub vgic: Vgic,
    /// What is counted of it; outlives it.
    pub counters: Arc<GuestCounters>,
}

/// The end of a disk's request and how it went, or that the disk's turn has come (`None`).
pub type DiskEvent = Option<(u16, Result<(), DiskError>)>;

/// Events of the board's disk on their way to the guest that they concern.
#[derive(Default)]
pub struct DiskNews {
    waiting: Mutex<VecDeque<(u8, DiskEvent)>>,
}

impl DiskNews {
    /// Room for what can be under way for a guest at once: the board's disk has no more requests in flight, and each
    /// device waits for its turn once.
    const ROOM: usize = 128;

    /// None, and room for all that can come.
    pub fn new() -> Self {
        Self { waiting: Mutex::new(VecDeque::with_capacity(Self::ROOM)) }
    }

    fn leave(&self, slot: u8, event: DiskEvent) {
        self.waiting.lock().push_back((slot, event));
    }

    fn take(&self) -> Option<(u8, DiskEvent)> {
        self.waiting.lock().pop_front()
    }

    fn any(&self) -> bool {
        !self.waiting.lock().is_empty()
    }
}

impl Vm {
    /// The core that `vcpu` owns, if it does.
    #[inline]
    pub fn core_of(&self, vcpu: VcpuId) -> Option<CpuId> {
        self.cpus.get(usize::from(vcpu.0)).copied()
    }

    /// Makes the cores of `vcpus` look at their interrupts.
    #[inline(always)]
    pub fn kick(&self, hw: &impl Hw, vcpus: VcpuSet) {
        if !vcpus.is_empty() {
            self.kick_each(hw, vcpus);
        }
    }

    #[inline(never)]
    fn kick_each(&self, hw: &impl Hw, vcpus: VcpuSet) {
        for vcpu in vcpus.iter() {
            match self.core_of(vcpu) {
                Some(core) => hw.kick(core),
                // All of them own their cores, or none does.
                None => return self.wake_each(hw, vcpus),
            }
        }
    }

    // On its own, so that the way above keeps nothing for it.
    #[inline(never)]
    fn wake_each(&self, hw: &impl Hw, vcpus: VcpuSet) {
        vcpus.iter().for_each(|vcpu| hw.wake(self.id, vcpu));
    }

    /// As [`Vm::kick`], for what may concern this core's own vCPU too: it looks before it runs on.
    pub(crate) fn kick_others(&self, hw: &impl Hw, vcpus: VcpuSet) {
        if self.cpus.is_empty() {
            return self.wake_others(hw, vcpus);
        }
        let here = hw.this_cpu();
        let other = |vcpu: &VcpuId| self.core_of(*vcpu) != Some(here);
        vcpus.iter().filter(other).for_each(|vcpu| self.kick(hw, VcpuSet::only(vcpu)));
    }

    #[inline(never)]
    fn wake_others(&self, hw: &impl Hw, vcpus: VcpuSet) {
        let other = |vcpu: &VcpuId| !hw.runs_here(self.id, *vcpu);
        vcpus.iter().filter(other).for_each(|vcpu| hw.wake(self.id, vcpu));
    }

    /// Whether this core is at work for the guest: it owns the core, or one of its vCPUs has its turn there.
    pub fn is_here(&self, hw: &impl Hw) -> bool {
        match self.cpus.is_empty() {
            true => self.vcpus().any(|vcpu| hw.runs_here(self.id, vcpu)),
            false => self.cpus.contains(&hw.this_cpu()),
        }
    }

    /// Makes all vCPUs of the guest look at what they have to do.
    pub fn kick_all(&self, hw: &impl Hw) {
        if self.cpus.is_empty() {
            self.vcpus().for_each(|vcpu| hw.call(self.id, vcpu));
        }
        self.cpus.iter().for_each(|&core| hw.kick(core));
    }

    /// Makes one vCPU of the guest look at what the board's disk has for it, in its own time.
    pub fn kick_first(&self, hw: &impl Hw) {
        self.kick(hw, VcpuSet::only(VcpuId(0)));
    }

    fn vcpus(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..self.services.psci.power.count()).map(VcpuId)
    }

    /// The line of the UART, where it changed, as the interrupt controller sees it. Called under the UART's lock, so
    /// that two changes arrive in their order.
    pub(crate) fn uart_line(&self, hw: &impl Hw, line: Option<bool>) {
        if let Some(high) = line {
            if high {
                self.counters.console_interrupts.add(1);
            }
            let intid = IntId(layout::UART_INTID);
            self.kick_others(hw, self.vgic.set_spi_level(intid, high));
        }
    }

    /// Moves what was typed for the guest into its UART, as far as that has room.
    pub fn feed_uart(&self, hw: &impl Hw) {
        let Some(uart) = &self.uart else { return };
        let mut uart = uart.lock();
        while uart.rx_room() > 0 {
            let Some(byte) = hw.console_input(self.id) else { break };
            self.counters.console_in.add(1);
            let effect = uart.receive(byte);
            self.uart_line(hw, effect.line);
        }
    }

    /// Makes the guest's UART hold back its output, or lets it go on.
    pub fn hold_uart(&self, hw: &impl Hw, hold: bool) {
        let Some(uart) = &self.uart else { return };
        let mut uart = uart.lock();
        let effect = uart.hold_transmit(hold);
        self.uart_line(hw, effect.line);
    }

    /// A request of disk `slot` came to its end, or its turn at the board's disk came (`None`).
    pub fn disk_event(&self, hw: &impl Hw, slot: u8, done: DiskEvent) {
        let Some(disk) = self.disks.get(usize::from(slot)) else { return };
        let mut disk = disk.lock();
        let interrupt = match done {
            Some((request, result)) => {
                if result.is_err() {
                    self.count_disk(slot, |disk| disk.errors.add(1));
                }
                disk.finish(request, result, hw, &self.ram)
            }
            None => {
                let mut submit = |request: &_| self.submit(hw, slot, request);
                disk.resume(hw, &self.ram, &mut submit).interrupt
            }
        };
        if interrupt {
            self.disk_interrupt(hw, slot);
        }
    }

    /// The interrupt of disk `slot`. Called under its lock.
    #[inline]
    pub(crate) fn disk_interrupt(&self, hw: &impl Hw, slot: u8) {
        self.count_disk(slot, |disk| disk.interrupts.add(1));
        self.virtio_interrupt(hw, slot);
    }

    /// Passes a request of disk `slot` on to the board's disk. Called under the lock of the former.
    #[inline]
    pub(crate) fn submit(
        &self,
        hw: &impl Hw,
        slot: u8,
        request: &DiskRequest,
    ) -> Result<Accepted, SubmitError> {
        let accepted = hw.disk_submit(request)?;
        self.count_disk(slot, |disk| disk.submitted(request));
        Ok(accepted)
    }

    #[inline]
    fn count_disk(&self, slot: u8, count: impl FnOnce(&DiskCounters)) {
        if let Some(disk) = self.counters.disks.get(usize::from(slot)) {
            count(disk);
        }
    }

    /// Leaves an event of the board's disk for disk `slot`. The caller kicks a core of the guest.
    pub fn leave_disk_news(&self, slot: u8, event: DiskEvent) {
        self.disk_news.leave(slot, event);
        self.attention.mind_the_disk();
    }

    /// Takes what the board's disk had for this guest's disks, if anything; called on one of its own cores, so that a
    /// guest's work is done in its own time. A part of it at a time: the rest is left with a kick for this core. Whether
    /// there was anything.
    #[inline]
    pub fn take_disk_news(&self, hw: &impl Hw, here: CpuId) -> bool {
        let any = self.attention.take_disk();
        if any {
            self.take_some_disk_news(hw, here);
        }
        any
    }

    #[cold]
    #[inline(never)]
    fn take_some_disk_news(&self, hw: &impl Hw, here: CpuId) {
        /// Completions handled before the guest is let run on.
        const TURN: usize = 16;
        for _ in 0..TURN {
            let Some((slot, done)) = self.disk_news.take() else { return };
            self.disk_event(hw, slot, done);
        }
        if self.disk_news.any() {
            self.attention.mind_the_disk();
            hw.kick(here);
        }
    }

    /// The interrupt of the group in `slot`; called on the core of whoever caused it. Whether it takes any of the guest's time.
    #[inline(always)]
    pub(crate) fn group_interrupt(&self, hw: &impl Hw, slot: u8) -> bool {
        match self.vgic.ring(slot) {
            Rung::One(vcpu) => {
                match self.core_of(vcpu) {
                    Some(core) => hw.kick(core),
                    None => hw.wake(self.id, vcpu),
                }
                true
            }
            Rung::Told(vcpus) => {
                self.kick(hw, vcpus);
                !vcpus.is_empty()
            }
        }
    }

    /// The interrupt of the virtio device in `slot`.
    pub(crate) fn virtio_interrupt(&self, hw: &impl Hw, slot: u8) {
        let intid = IntId(layout::VIRTIO_INTID + u32::from(slot));
        self.kick_others(hw, self.vgic.pulse_spi(intid));
    }

    /// Presses the guest's power button: it is asked to shut down. Whether it has a driver that listens; where it has
    /// none, the press waits for one. What the guest makes of it shows in its life alone.
    pub fn press_power_button(&self, hw: &impl Hw) -> bool {
        let mut button = self.power_button.lock();
        if button.press(hw, &self.ram) {
            self.virtio_interrupt(hw, layout::POWER_BUTTON_SLOT as u8);
        }
        button.is_driven()
    }

    /// Looks what the watchdog says by now: its interrupt is up to date afterwards, and a guest that hangs is to end for
    /// the reason that comes back.
    pub fn look_at_watchdog(&self, hw: &impl Hw) -> Option<StopReason> {
        let watchdog = self.watchdog.as_ref()?;
        let time = self.clock.lock().time(hw.now());
        let mut watchdog = watchdog.lock();
        let signal = watchdog.signal(time);
        let high = signal != Signal::Quiet;
        self.kick_others(hw, self.vgic.set_spi_level(IntId(layout::WATCHDOG_INTID), high));
        (signal == Signal::Hang).then(|| watchdog.on_hang())
    }

    /// When to look at the watchdog, on the board's counter: not at all while the guest is paused.
    pub fn watchdog_deadline(&self) -> Option<u64> {
        let deadline = self.watchdog.as_ref()?.lock().deadline()?;
        deadline.checked_add(self.clock.lock().offset()?)
    }

    /// Has the monitor serve the guest's control port, where it has one; whether there is more to do there, now. Nothing
    /// may be locked.
    pub fn serve_control(&self, world: &impl World, hw: &impl Hw) -> bool {
        let Some(control) = &self.control else { return false };
        let served = control.serve(world, hw, &self.ram);
        if served.interrupt {
            self.virtio_interrupt(hw, layout::CONTROL_SLOT as u8);
        }
        served.more
    }

    /// vCPUs that are on.
    pub fn vcpus_on(&self) -> VcpuSet {
        let power = &self.services.psci.power;
        let on =
            (0..power.count()).map(VcpuId).filter(|&vcpu| power.state(vcpu) == Some(Power::On));
        on.fold(VcpuSet::EMPTY, |set, vcpu| set.union(VcpuSet::only(vcpu)))
    }

    /// Resets all disks, as the end of a guest demands; whether nothing of theirs is under way any more. If not, ask
    /// again after the next [`Vm::disk_event`].
    pub fn reset_disks(&self) -> bool {
        // Each is told, also behind one that is not done.
        self.disks.iter().fold(true, |done, disk| disk.lock().reset() & done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_events_wait_in_their_order_and_none_is_left_unseen() {
        let news = DiskNews::new();
        assert!(!news.any() && news.take().is_none());
        news.leave(0, Some((3, Ok(()))));
        news.leave(1, None);
        assert_eq!(news.take(), Some((0, Some((3, Ok(()))))));
        assert!(news.any(), "one still waits");
        assert_eq!(news.take(), Some((1, None)));
        assert!(!news.any());
    }
}
