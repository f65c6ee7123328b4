//! Loads and stores to the devices of a guest: which device, and its answer.
//!
//! The places are fixed (`tessera_abi::layout`), so finding the device is a few comparisons, in the order in which
//! guests are in a hurry. Where nothing is, the guest takes the external abort that a bus would answer with.

use tessera_abi::layout;

use super::devices::{DOORBELL_END, GPIO_END, WATCHDOG_END};
use super::{Next, Step, devices};
use crate::addr::{Ipa, VcpuSet};
use crate::counters::Cause;
use crate::exit::MmioAccess;
use crate::hw::Hw;
use crate::inject::{Access, Fault};
use crate::vcpu::Vcpu;
use crate::vgic::{BadAccess, ListRegisters};
use crate::vm::Vm;
use crate::vuart::Effect;

const GICD_END: u64 = layout::GICD_BASE + layout::GICD_SIZE;
const GICC_DIR_END: u64 = layout::GICC_BASE + layout::GICC_SIZE;
const GICR_END: u64 = layout::GICR_BASE + layout::MAX_VCPUS as u64 * layout::GICR_STRIDE;
const UART_END: u64 = layout::UART_BASE + layout::UART_SIZE;
const VIRTIO_END: u64 = layout::VIRTIO_BASE + layout::VIRTIO_SLOTS * layout::VIRTIO_STRIDE;

/// Does what the guest's load or store asks.
#[inline(always)]
pub fn access(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    hw: &impl Hw,
    lrs: &mut impl ListRegisters,
    next: &mut Next,
) -> Step {
    let ipa = access.ipa().0;
    let count = |cause| vcpu.observed.exits.count(cause);
    let result = match ipa {
        layout::GICD_BASE..GICD_END => {
            count(Cause::Gicd);
            gic(vm, vcpu, access, Frame::Distributor, ipa - layout::GICD_BASE, hw, lrs)
        }
        layout::GICR_BASE..GICR_END => {
            count(Cause::Gicr);
            gic(vm, vcpu, access, Frame::Redistributors, ipa - layout::GICR_BASE, hw, lrs)
        }
        layout::UART_BASE..UART_END => {
            count(Cause::Uart);
            uart(vm, vcpu, access, ipa - layout::UART_BASE, hw)
        }
        layout::VIRTIO_BASE..VIRTIO_END => {
            count(Cause::Virtio);
            return virtio(vm, vcpu, access, ipa - layout::VIRTIO_BASE, hw, next);
        }
        layout::DOORBELL_BASE..DOORBELL_END => {
            count(Cause::Doorbell);
            return devices::doorbell(vm, vcpu, access, ipa - layout::DOORBELL_BASE, hw, next);
        }
        layout::GICC_DIR_BASE..GICC_DIR_END => {
            count(Cause::Gicc);
            gic(vm, vcpu, access, Frame::Deactivation, ipa - layout::GICC_DIR_BASE, hw, lrs)
        }
        _ => return devices::other(vm, vcpu, access, hw, next),
    };
    match result {
        Ok(()) => Step::Advance,
        Err(BadAccess) => refuse(access, next),
    }
}

/// Under which an access to `ipa` is counted: which device is there.
pub fn device_at(ipa: Ipa) -> Cause {
    match ipa.0 {
        layout::GICD_BASE..GICD_END => Cause::Gicd,
        layout::GICR_BASE..GICR_END => Cause::Gicr,
        layout::UART_BASE..UART_END => Cause::Uart,
        layout::VIRTIO_BASE..VIRTIO_END => Cause::Virtio,
        layout::GICC_DIR_BASE..GICC_DIR_END => Cause::Gicc,
        layout::WATCHDOG_BASE..WATCHDOG_END => Cause::Watchdog,
        layout::DOORBELL_BASE..DOORBELL_END => Cause::Doorbell,
        layout::GPIO_BASE..GPIO_END => Cause::Gpio,
        _ => Cause::NoDevice,
    }
}

/// What a store writes: the low bytes of its register.
#[inline(always)]
pub(super) fn stored(vcpu: &Vcpu, access: MmioAccess) -> u64 {
    let value = vcpu.registers.read(access.rt());
    match access.size() {
        8 => value,
        size => value & ((1u64 << (8 * u32::from(size))) - 1),
    }
}

/// Puts what a load read into its register.
#[inline(always)]
pub(super) fn loaded(vcpu: &mut Vcpu, access: MmioAccess, value: u64) {
    let value = if access.sign_extend() { extended(access, value) } else { value };
    vcpu.registers.write(access.rt(), value);
}

#[cold]
fn extended(access: MmioAccess, value: u64) -> u64 {
    let shift = 64 - 8 * u32::from(access.size());
    let wide = ((value << shift) as i64 >> shift) as u64;
    if access.sixty_four() { wide } else { wide & 0xffff_ffff }
}

/// The parts of an interrupt controller that are registers in memory.
enum Frame {
    Distributor,
    /// Of a GICv3.
    Redistributors,
    /// The second page of a GICv2's CPU interface; the first is the board's.
    Deactivation,
}

#[inline(always)]
fn gic(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    frame: Frame,
    offset: u64,
    hw: &impl Hw,
    lrs: &mut impl ListRegisters,
) -> Result<(), BadAccess> {
    let size = access.size();
    let kick = if access.write() {
        let value = stored(vcpu, access);
        match frame {
            Frame::Distributor => vm.vgic.gicd_write(&mut vcpu.vgic, lrs, offset, size, value)?,
            Frame::Redistributors => vm.vgic.gicr_write(offset, size, value)?,
            Frame::Deactivation => vm.vgic.gicc_write(&mut vcpu.vgic, lrs, offset, size, value)?,
        }
    } else {
        let (value, kick) = match frame {
            Frame::Distributor => vm.vgic.gicd_read(&mut vcpu.vgic, lrs, offset, size)?,
            Frame::Redistributors => vm.vgic.gicr_read(&mut vcpu.vgic, lrs, offset, size)?,
            Frame::Deactivation => (vm.vgic.gicc_read(offset, size)?, VcpuSet::EMPTY),
        };
        loaded(vcpu, access, value);
        kick
    };
    kick_others(vm, vcpu, hw, kick);
    Ok(())
}

/// Kicks all of `kick` but the own vCPU, which looks before it runs on.
#[inline(always)]
fn kick_others(vm: &Vm, vcpu: &Vcpu, hw: &impl Hw, kick: VcpuSet) {
    let others = kick.without(vcpu.id());
    if !others.is_empty() {
        vm.kick(hw, others);
    }
}

#[inline(never)]
fn uart(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    offset: u64,
    hw: &impl Hw,
) -> Result<(), BadAccess> {
    let uart = vm.uart.as_ref().ok_or(BadAccess)?;
    let mut uart = uart.lock();
    if access.write() {
        let effect = uart.write(offset, access.size(), stored(vcpu, access) as u32);
        if let Some(byte) = effect.transmit {
            hw.console_output(vm.id, byte);
            vm.counters.console_out.add(1);
        }
        vm.uart_line(hw, effect.line);
        drop(uart);
        if effect.room {
            vm.feed_uart(hw);
        }
        return Ok(());
    }
    let (value, effect) = uart.read(offset, access.size());
    loaded(vcpu, access, u64::from(value));
    if effect != Effect::NONE {
        vm.uart_line(hw, effect.line);
        drop(uart);
        if effect.room {
            vm.feed_uart(hw);
        }
    }
    Ok(())
}

#[inline(always)]
fn virtio(
    vm: &Vm,
    vcpu: &mut Vcpu,
    access: MmioAccess,
    offset: u64,
    hw: &impl Hw,
    next: &mut Next,
) -> Step {
    let (slot, offset) = (offset / layout::VIRTIO_STRIDE, offset % layout::VIRTIO_STRIDE);
    let Some(disk) = vm.disks.get(slot as usize) else {
        return devices::virtio(vm, vcpu, access, slot, offset, hw, next);
    };
    let mut disk = disk.lock();
    if !access.write() {
        let value = disk.mmio_read(offset, access.size());
        drop(disk);
        loaded(vcpu, access, value);
        return Step::Advance;
    }
    let value = stored(vcpu, access);
    let mut submit = |request: &_| vm.submit(hw, slot as u8, request);
    let effect = disk.mmio_write(offset, access.size(), value, hw, &vm.ram, &mut submit);
    if effect.interrupt {
        vm.disk_interrupt(hw, slot as u8);
    }
    if effect.retry { Step::Resume } else { Step::Advance }
}

/// The answer of a bus on which nothing has this address.
#[cold]
#[inline(never)]
pub(super) fn refuse(access: MmioAccess, next: &mut Next) -> Step {
    let fault = Access { va: access.va(), write: access.write(), ..Access::default() };
    Step::other(next, Next::Inject(Fault::External(fault)))
}
