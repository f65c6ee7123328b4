//! Loads and stores to doorbells, and to the devices that no guest is in a hurry for, kept out of the way of the others.

use tessera_abi::group::doorbell::RING;
use tessera_abi::layout;

use super::mmio::{device_at, loaded, refuse, stored};
use super::{Next, Step};
use crate::control::Control;
use crate::exit::MmioAccess;
use crate::group::Rung;
use crate::hw::Hw;
use crate::vcpu::Vcpu;
use crate::vm::Vm;
use crate::watchdog::Frame;

const WATCHDOG_CONTROL: u64 = layout::WATCHDOG_BASE + layout::WATCHDOG_FRAME_SIZE;
pub(super) const WATCHDOG_END: u64 = WATCHDOG_CONTROL + layout::WATCHDOG_FRAME_SIZE;

pub(super) const GPIO_END: u64 = layout::GPIO_BASE + layout::GPIO_SIZE;

pub(super) const DOORBELL_END: u64 =
    layout::DOORBELL_BASE + layout::MAX_GROUPS as u64 * layout::DOORBELL_SIZE;

/// Devices whose pages are looked for behind the others.
#[inline(never)]
pub fn other(vm: &Vm, vcpu: &mut Vcpu, access: MmioAccess, hw: &impl Hw, next: &mut Next) -> Step {
    vcpu.observed.exits.count(device_at(access.ipa()));
    match access.ipa().0 {
        layout::GPIO_BASE..GPIO_END => gpio(vm, vcpu, access, hw, next),
        _ => watchdog(vm, vcpu, access, hw, next),
    }
}

/// The doorbells of the guest's groups, `at` bytes from the first.
#[inline(never)]
pub fn doorbell(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    at: u64,
    hw: &impl Hw,
    next: &mut Next,
) -> Step {
    let (slot, offset) = (at / layout::DOORBELL_SIZE, at % layout::DOORBELL_SIZE);
    let Some(share) = vm.groups.get(slot as usize) else { return refuse(access, next) };
    if access.write() {
        if (offset, access.size()) != (RING, 4) {
            return refuse(access, next);
        }
        return match share.ring(hw, stored(vcpu, access) as u32) {
            Rung::Done => Step::Advance,
            Rung::Held => Step::Resume,
        };
    }
    let Some(value) = share.read(offset, access.size()) else { return refuse(access, next) };
    if share.is_line_to_fall() {
        vm.gpio_edge(hw, slot as u8, false);
    }
    loaded(vcpu, access, value.into());
    Step::Advance
}

#[cold]
fn gpio(vm: &Vm, vcpu: &mut Vcpu, access: MmioAccess, hw: &impl Hw, next: &mut Next) -> Step {
    let offset = access.ipa().0 - layout::GPIO_BASE;
    let done = if access.write() {
        vm.gpio_write(hw, offset, stored(vcpu, access) as u8)
    } else {
        vm.gpio_read(offset).map(|value| loaded(vcpu, access, value.into()))
    };
    done.map_or_else(|| refuse(access, next), |()| Step::Advance)
}

#[cold]
fn watchdog(vm: &Vm, vcpu: &mut Vcpu, access: MmioAccess, hw: &impl Hw, next: &mut Next) -> Step {
    let ipa = access.ipa().0;
    let (frame, offset) = match ipa {
        layout::WATCHDOG_BASE..WATCHDOG_CONTROL => (Frame::Refresh, ipa - layout::WATCHDOG_BASE),
        WATCHDOG_CONTROL..WATCHDOG_END => (Frame::Control, ipa - WATCHDOG_CONTROL),
        _ => return refuse(access, next),
    };
    let Some(watchdog) = &vm.watchdog else { return refuse(access, next) };
    let time = vcpu.clock.time(hw.now());
    if access.write() {
        let value = stored(vcpu, access) as u32;
        watchdog.lock().write(frame, offset, access.size(), value, time);
        // A core of the guest, which this is, watches the time.
        vm.attention.mind_the_clock();
        hw.kick(hw.this_cpu());
    } else {
        let value = watchdog.lock().read(frame, offset, access.size(), time);
        loaded(vcpu, access, value.into());
    }
    match vm.look_at_watchdog(hw) {
        Some(reason) => Step::other(next, Next::Stop(reason)),
        None => Step::Advance,
    }
}

/// Virtio devices that are no disks, by their slot.
#[cold]
#[inline(never)]
pub fn virtio(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    slot: u64,
    offset: u64,
    hw: &impl Hw,
    next: &mut Next,
) -> Step {
    match slot {
        layout::POWER_BUTTON_SLOT => power_button(vm, vcpu, access, offset, hw),
        layout::CONTROL_SLOT => match &vm.control {
            Some(control) => control_port(vm, control, vcpu, access, offset, hw),
            None => refuse(access, next),
        },
        _ => refuse(access, next),
    }
}

fn power_button(vm: &Vm, vcpu: &mut Vcpu, access: MmioAccess, offset: u64, hw: &impl Hw) -> Step {
    let mut button = vm.power_button.lock();
    if !access.write() {
        let value = button.mmio_read(offset, access.size());
        drop(button);
        loaded(vcpu, access, value);
    } else if button.mmio_write(offset, access.size(), stored(vcpu, access), hw, &vm.ram) {
        vm.virtio_interrupt(hw, layout::POWER_BUTTON_SLOT as u8);
    }
    Step::Advance
}

/// What the monitor has to do for a store it does at once, and a piece at a time: the store is executed again for the next.
fn control_port(
    vm: &Vm,
    control: &Control,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    offset: u64,
    hw: &impl Hw,
) -> Step {
    let mut port = control.port.lock();
    if !access.write() {
        let value = port.mmio_read(offset, access.size());
        drop(port);
        loaded(vcpu, access, value);
        return Step::Advance;
    }
    let effect = port.mmio_write(offset, access.size(), stored(vcpu, access), hw, &vm.ram);
    if effect.interrupt {
        vm.virtio_interrupt(hw, layout::CONTROL_SLOT as u8);
    }
    drop(port);
    if effect.serve && hw.serve_control(vm) { Step::Resume } else { Step::Advance }
}
