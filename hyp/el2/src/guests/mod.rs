//! The guests of this board: defined from the bundle, built and torn down life by life, looked up by number.

mod build;
mod disk;
mod files;
mod groups;
mod life;
mod load;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::Once;
use tessera_core::addr::{CpuId, VcpuId, VmId};
use tessera_core::board::Board;
use tessera_core::console::KeyName;
use tessera_core::control::Control;
use tessera_core::deadlines::Slot;
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::life::{Due, Request, State, StopReason, Verdict};
use tessera_core::vm::Vm;

pub use disk::{
    facts as disk_facts, interrupt as disk_interrupt, look as look_at_disk, partitions,
    submit as disk_submit,
};
pub use files::help as help_hashing;
pub use life::{build, drain, give_back};
pub use load::{Loading, clear};

use crate::hw::El2;
use crate::{accounts, console, cpu, monitor, power};

/// Whether the board goes off once all guests have stopped, whatever for.
static POWERING_OFF: AtomicBool = AtomicBool::new(false);

/// Microseconds after which a vCPU that wakes on a shared core runs at the latest.
static WAKE_LATENCY: AtomicU32 = AtomicU32::new(0);

static GUESTS: Once<Vec<Guest>> = Once::new();

/// All guests, or `None` before they are defined.
pub fn all() -> Option<&'static [Guest]> {
    GUESTS.get().map(Vec::as_slice)
}

/// Guest `id`.
pub fn get(id: VmId) -> Option<&'static Guest> {
    all()?.get(usize::from(id.0))
}

/// The guest and the vCPU that core `cpu` runs, if it runs any.
pub fn seat(cpu: CpuId) -> Option<(&'static Guest, VcpuId)> {
    all()?.iter().find_map(|guest| {
        let place = guest.cores().iter().position(|&core| core == cpu)?;
        Some((guest, VcpuId(place as u8)))
    })
}

/// Microseconds after which a vCPU that wakes on a shared core runs at the latest.
pub fn wake_latency() -> u32 {
    WAKE_LATENCY.load(Ordering::Relaxed)
}

/// Whether vCPUs of some guest share core `cpu`.
pub fn share(cpu: CpuId) -> bool {
    let all = all().unwrap_or_default();
    all.iter().any(|guest| guest.config.sharing.is_some() && guest.config.cpus.contains(&cpu))
}

/// Defines the guests of the board's bundle and starts those that are to start with it. Their own cores build, clear,
/// load and run them (`main_loop`).
pub fn start(board: &Board<'_>, began: u64) {
    accounts::begin(board.bootargs, began);
    let (guests, keys) = build::define(board);
    let names: Vec<&str> = guests.iter().map(console_name).collect();
    console::add_guests(&names, keys);
    for guest in &guests {
        let config = &guest.config;
        log::info!(
            "{}: {} vCPUs on cores {:?}, {} MiB",
            config.name,
            config.vcpus(),
            config.cpus.iter().map(|core| core.0).collect::<Vec<_>>(),
            config.memory >> 20
        );
    }
    if guests.is_empty() {
        crate::boot::stop(format_args!("no guest can be started; mend the configuration above"));
    }
    let (switch, monitor) = (KeyName(keys.switch), KeyName(keys.monitor));
    log::info!(
        "keys: {switch} switches between guests, {switch} ? helps, {monitor} opens the monitor"
    );
    GUESTS.call_once(|| guests);
    start_waiting();
    // Also those whose guest does not start, and those without one: they wait for the guests to be defined.
    cpu::others_online().for_each(|core| El2.kick(core));
}

/// The console leaves out who has no name.
fn console_name(guest: &Guest) -> &str {
    match guest.config.console {
        tessera_core::config::ConsoleKind::None => "",
        tessera_core::config::ConsoleKind::Pl011 => guest.name(),
    }
}

/// Starts those that wait for nobody any more.
pub fn start_waiting() {
    let all = all().unwrap_or_default();
    let runs = |name: &str| {
        let guest = all.iter().find(|guest| guest.name() == name);
        guest.is_some_and(|guest| guest.life.state() == State::Running)
    };
    for guest in all.iter().filter(|guest| guest.waits.load(Ordering::Relaxed)) {
        if guest.config.life.depends_on.iter().all(|name| runs(name)) {
            // Another core may have started it just now.
            let _ = guest.ask(Request::Start, &El2);
        }
    }
}

/// As [`watch`], and sets this core's deadline. For a core of the guest.
pub fn watch_here(guest: &'static Guest) {
    El2.set_deadline(Slot::Guest, watch(guest));
}

/// Does what `guest` has to do by the clock; when there is more of it.
pub fn watch(guest: &'static Guest) -> Option<u64> {
    match guest.life.due(El2.now()) {
        Due::Nothing => {}
        Due::Build => guest.kick_all(&El2),
        Due::NotListening => {
            let name = guest.name();
            if POWERING_OFF.load(Ordering::Relaxed) {
                log::warn!("{name} does not listen to its power button and is killed");
                // It may have ended just now.
                let _ = guest.ask(Request::Kill, &El2);
                return None;
            }
            log::warn!(
                "{name} does not listen to its power button and runs on; `kill` does not ask"
            );
        }
    }
    let devices = guest.vm().and_then(|vm| watch_devices(guest, &vm));
    guest.life.deadline().into_iter().chain(devices).min()
}

/// Does what the guest's devices have to do by the clock; when there is more of it.
fn watch_devices(guest: &Guest, vm: &Vm) -> Option<u64> {
    if let Some(reason) = vm.look_at_watchdog(&El2) {
        guest.end(vm, reason, &El2);
    }
    let control = vm.control.as_ref().and_then(|control| match monitor::serve(vm) {
        true => Some(El2.now()),
        false => control.waits_until(),
    });
    vm.watchdog_deadline().into_iter().chain(control).min()
}

/// Has the control ports served whose programs want to be told what happens.
pub fn tell_control_ports() {
    for guest in all().unwrap_or_default() {
        let Some(vm) = guest.vm() else { continue };
        if vm.control.as_ref().is_some_and(Control::wants_events) {
            vm.attention.mind_the_clock();
            vm.kick_all(&El2);
        }
    }
}

/// `guest` ended and does not start by itself: says who waits for it, and turns the board off where no guest is left,
/// unless it was somebody outside who ended it.
pub fn went_down(guest: &Guest, reason: StopReason) {
    let all = all().unwrap_or_default();
    for other in all.iter().filter(|other| other.waits.load(Ordering::Relaxed)) {
        if other.config.life.depends_on.iter().any(|name| name == guest.name()) {
            log::warn!("{} is not started: it waits for {}", other.name(), guest.name());
        }
    }
    let may = reason.verdict() != Verdict::Killed || POWERING_OFF.load(Ordering::Relaxed);
    if may && all.iter().all(|guest| guest.life.state().is_down()) {
        log::info!("all guests have stopped; the board goes off");
        console::flush();
        power::off();
    }
}

/// Stops all guests, by their power buttons where they run, and turns the board off when the last is down.
pub fn power_off() {
    POWERING_OFF.store(true, Ordering::Relaxed);
    let all = all().unwrap_or_default();
    for guest in all {
        guest.waits.store(false, Ordering::Relaxed);
        // One that starts anew at its power button would never be down.
        guest.life.be_the_last();
        // Who cannot be asked is not, and who is down already does not mind.
        if guest.ask(Request::Stop, &El2).is_err() && guest.life.state() != State::Stopping {
            let _ = guest.ask(Request::Kill, &El2);
        }
    }
    if all.iter().all(|guest| guest.life.state().is_down()) {
        console::flush();
        power::off();
    }
}
