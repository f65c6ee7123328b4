//! A machine for host tests: memory is a `Vec`, the clock is set by hand, and what was asked is in a journal.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::Hw;
use crate::addr::{CpuId, Ipa, PAGE_SIZE, Pa, VcpuId, VmId};
use crate::deadlines::{Deadlines, Slot};
use crate::disk::{Accepted, DiskOp, DiskRequest, SubmitError};
use crate::vm::Vm;

/// Something that was asked of the machine, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A descriptor was stored.
    Descriptor(Pa, u64),
    /// One page of a guest was invalidated.
    TlbIpa(VmId, Ipa),
    /// All of a guest was invalidated.
    TlbVm(VmId),
    /// All of EL2 was invalidated.
    TlbEl2,
    /// A core was kicked.
    Kick(CpuId),
    /// A vCPU that shares its core was to look at its interrupts.
    Wake(VmId, VcpuId),
    /// A vCPU that shares its core was to look at what its guest has to do.
    Call(VmId, VcpuId),
    /// A guest's control port was served.
    ServeControl,
    /// Firmware was called.
    Firmware(u32, u64),
    /// Caches gave memory up for a device.
    DmaSync(Pa, u64),
    /// Frames were taken.
    Take(Pa, u8),
    /// Frames were given back.
    Give(Pa, u8),
}

/// The fake machine: memory from `base`, frames handed out from its upper half.
pub struct FakeHw {
    /// Physical address of the first byte of memory.
    pub base: Pa,
    /// Memory.
    pub memory: RefCell<Vec<u8>>,
    /// The counter.
    pub clock: Cell<u64>,
    /// Which core this is: none of a guest's, unless set.
    pub cpu: Cell<CpuId>,
    /// The vCPU that this core runs, where it is shared.
    pub running: Cell<Option<(VmId, VcpuId)>>,
    /// When this core's vCPU wants an interrupt.
    pub deadline: Cell<Option<u64>>,
    /// When the core wants one for anything else.
    pub deadlines: Deadlines,
    /// What guests printed.
    pub printed: RefCell<Vec<u8>>,
    /// What was typed for guests, not yet taken.
    pub typed: RefCell<Vec<u8>>,
    /// Requests to the disk: what, and where.
    pub disk: RefCell<Vec<(DiskOp, u64)>>,
    /// What was asked.
    pub journal: RefCell<Vec<Event>>,
    /// Free frames: (address, order), taken by first fit; a larger block is split.
    free: RefCell<Vec<(Pa, u8)>>,
}

impl FakeHw {
    /// A machine with `size` bytes at `base`; the upper half (a power of two of pages) is for [`Hw::take_frames`].
    pub fn new(base: Pa, size: usize) -> Self {
        let half = size / 2;
        let order = (half as u64 / PAGE_SIZE).ilog2() as u8;
        let free = vec![(base.offset(half as u64), order)];
        Self {
            base,
            memory: RefCell::new(vec![0; size]),
            clock: Cell::new(0),
            cpu: Cell::new(CpuId(u8::MAX)),
            running: Cell::new(None),
            deadline: Cell::new(None),
            deadlines: Deadlines::new(),
            printed: RefCell::default(),
            typed: RefCell::default(),
            disk: RefCell::default(),
            journal: RefCell::new(Vec::new()),
            free: RefCell::new(free),
        }
    }

    fn index(&self, at: Pa, len: usize) -> usize {
        let index = at.0.checked_sub(self.base.0).expect("address below memory") as usize;
        assert!(index + len <= self.memory.borrow().len(), "{at:?}+{len} is beyond memory");
        index
    }

    fn note(&self, event: Event) {
        self.journal.borrow_mut().push(event);
    }

    /// Frames not handed out.
    pub fn free_frames(&self) -> u64 {
        self.free.borrow().iter().map(|&(_, order)| 1 << order).sum()
    }

    /// Takes the journal, leaving it empty.
    pub fn events(&self) -> Vec<Event> {
        self.journal.take()
    }
}

impl Hw for FakeHw {
    fn now(&self) -> u64 {
        self.clock.get()
    }
    fn counter_hz(&self) -> u64 {
        62_500_000
    }
    fn read(&self, at: Pa, into: &mut [u8]) {
        let i = self.index(at, into.len());
        into.copy_from_slice(&self.memory.borrow()[i..i + into.len()]);
    }
    fn write(&self, at: Pa, from: &[u8]) {
        let i = self.index(at, from.len());
        self.memory.borrow_mut()[i..i + from.len()].copy_from_slice(from);
    }
    fn load_u16_acquire(&self, at: Pa) -> u16 {
        assert!(at.is_aligned(2));
        let mut bytes = [0; 2];
        self.read(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }
    fn store_u16_release(&self, at: Pa, value: u16) {
        assert!(at.is_aligned(2));
        self.write(at, &value.to_le_bytes());
    }
    fn fence(&self) {}
    fn load_descriptor(&self, at: Pa) -> u64 {
        assert!(at.is_aligned(8));
        let mut bytes = [0; 8];
        self.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }
    fn store_descriptor(&self, at: Pa, value: u64) {
        assert!(at.is_aligned(8));
        self.write(at, &value.to_le_bytes());
        self.note(Event::Descriptor(at, value));
    }
    fn dma_sync(&self, at: Pa, len: u64) {
        self.note(Event::DmaSync(at, len));
    }
    fn take_frames(&self, order: u8) -> Option<Pa> {
        let mut free = self.free.borrow_mut();
        let place = free.iter().position(|&(_, o)| o >= order)?;
        let (at, mut have) = free.swap_remove(place);
        while have > order {
            have -= 1;
            free.push((at.offset(PAGE_SIZE << have), have));
        }
        drop(free);
        self.write(at, &vec![0; (PAGE_SIZE << order) as usize]);
        self.note(Event::Take(at, order));
        Some(at)
    }
    fn give_frames(&self, at: Pa, order: u8) {
        self.free.borrow_mut().push((at, order));
        self.note(Event::Give(at, order));
    }
    fn tlb_invalidate_ipa(&self, vm: VmId, ipa: Ipa) {
        self.note(Event::TlbIpa(vm, ipa));
    }
    fn tlb_invalidate_vm(&self, vm: VmId) {
        self.note(Event::TlbVm(vm));
    }
    fn tlb_invalidate_el2(&self) {
        self.note(Event::TlbEl2);
    }
    fn set_deadline(&self, slot: Slot, at: Option<u64>) {
        match slot {
            Slot::Vcpu => self.deadline.set(at),
            _ => _ = self.deadlines.set(slot, at),
        }
    }
    fn console_output(&self, _: VmId, byte: u8) {
        self.printed.borrow_mut().push(byte);
    }
    fn console_input(&self, _: VmId) -> Option<u8> {
        let mut typed = self.typed.borrow_mut();
        (!typed.is_empty()).then(|| typed.remove(0))
    }
    fn disk_submit(&self, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        self.disk.borrow_mut().push((request.op, request.sector));
        Ok(Accepted::Queued)
    }
    fn serve_control(&self, _: &Vm) -> bool {
        self.note(Event::ServeControl);
        false
    }
    fn firmware_call(&self, id: u32, x1: u64) {
        self.note(Event::Firmware(id, x1));
    }
    fn this_cpu(&self) -> CpuId {
        self.cpu.get()
    }
    fn kick(&self, cpu: CpuId) {
        self.note(Event::Kick(cpu));
    }
    fn wake(&self, vm: VmId, vcpu: VcpuId) {
        self.note(Event::Wake(vm, vcpu));
    }
    fn call(&self, vm: VmId, vcpu: VcpuId) {
        self.note(Event::Call(vm, vcpu));
    }
    fn runs_here(&self, vm: VmId, vcpu: VcpuId) -> bool {
        self.running.get() == Some((vm, vcpu))
    }
}
