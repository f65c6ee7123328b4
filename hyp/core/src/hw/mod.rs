//! What the decisions need from the machine. `el2` implements [`Hw`] on the board, [`fake`] in host tests.
//!
//! Guest memory is reached by copies alone: no method gives a reference to it, because the guest writes to it at the
//! same time. Callers pass ranges that lie in RAM of the guest concerned (they come from [`crate::guest_mem`]); an
//! implementation may stop the board on any other.

use crate::addr::{CpuId, Ipa, Pa, VcpuId, VmId};
use crate::deadlines::Slot;
use crate::disk::{Accepted, DiskRequest, SubmitError};
use crate::vm::Vm;

#[cfg(any(test, feature = "fake"))]
pub mod fake;

/// The machine under the decisions.
pub trait Hw {
    /// The physical counter, in ticks of [`Hw::counter_hz`].
    fn now(&self) -> u64;
    /// Ticks a second of the counter.
    fn counter_hz(&self) -> u64;

    /// Copies `into.len()` bytes from memory at `at`.
    fn read(&self, at: Pa, into: &mut [u8]);
    /// Copies `from` to memory at `at`.
    fn write(&self, at: Pa, from: &[u8]);
    /// Loads an aligned 16-bit value with acquire ordering: later reads are not older than it.
    fn load_u16_acquire(&self, at: Pa) -> u16;
    /// Stores an aligned 16-bit value with release ordering: earlier writes are seen before it.
    fn store_u16_release(&self, at: Pa, value: u16);
    /// Orders all earlier memory accesses before all later ones (`DMB ISH`).
    fn fence(&self);
    /// Loads an aligned 64-bit translation table descriptor.
    fn load_descriptor(&self, at: Pa) -> u64;
    /// Stores an aligned 64-bit translation table descriptor such that a table walk that follows sees it (`DSB ISHST`
    /// where the walk is not ordered otherwise).
    fn store_descriptor(&self, at: Pa, value: u64);

    /// Writes what caches hold of `[at, at + len)` to memory and makes them forget it: before a device that does not see
    /// the caches reads or writes it, and after it wrote.
    fn dma_sync(&self, at: Pa, len: u64);

    /// Takes `1 << order` contiguous zeroed frames, aligned to their size, or `None` where memory is short.
    fn take_frames(&self, order: u8) -> Option<Pa>;
    /// Gives frames back that [`Hw::take_frames`] gave.
    fn give_frames(&self, at: Pa, order: u8);

    /// Invalidates what any core's TLB holds of one page of a guest, both stages, and waits until it is gone.
    fn tlb_invalidate_ipa(&self, vm: VmId, ipa: Ipa);
    /// Invalidates all that any core's TLB holds of a guest, and waits until it is gone.
    fn tlb_invalidate_vm(&self, vm: VmId);
    /// Invalidates all that any core's TLB holds of EL2's own translations, and waits until it is gone.
    fn tlb_invalidate_el2(&self);

    /// Interrupts this core once [`Hw::now`] has reached `at`, or not at all for this slot.
    fn set_deadline(&self, slot: Slot, at: Option<u64>);

    /// A guest printed `byte`.
    fn console_output(&self, vm: VmId, byte: u8);
    /// The next byte that was typed for a guest.
    fn console_input(&self, vm: VmId) -> Option<u8>;

    /// Gives a request to the board's disk.
    fn disk_submit(&self, request: &DiskRequest) -> Result<Accepted, SubmitError>;

    /// Lets the monitor serve the guest's control port; whether it has more to do there, now.
    fn serve_control(&self, vm: &Vm) -> bool;

    /// Calls the board's firmware for a guest: SMCCC function `id` with `x1`, no result.
    fn firmware_call(&self, id: u32, x1: u64);

    /// The core that runs this.
    fn this_cpu(&self) -> CpuId;
    /// Makes `cpu` leave its guest (or its sleep) and look at what it has to do.
    fn kick(&self, cpu: CpuId);
    /// Makes a vCPU that shares its core look at its interrupts: wakes it where it is blocked.
    fn wake(&self, vm: VmId, vcpu: VcpuId);
    /// Makes a vCPU that shares its core look at what its guest has to do, before others go on.
    fn call(&self, vm: VmId, vcpu: VcpuId);
    /// Whether a vCPU that shares its core is the one that this core runs.
    fn runs_here(&self, vm: VmId, vcpu: VcpuId) -> bool;
}
