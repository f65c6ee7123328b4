//! Loads and stores to the devices that no guest is in a hurry for, kept out of the way of the others.

use tessera_abi::layout;

use super::mmio::{loaded, refuse, stored};
use super::{Next, Step};
use crate::exit::MmioAccess;
use crate::hw::Hw;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

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
