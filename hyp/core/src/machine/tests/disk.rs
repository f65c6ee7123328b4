//! A disk, from the store that asks to the interrupt that answers.

use core::cell::RefCell;

use super::*;
use crate::disk::model::{AVAIL, Board, DATA, DESC, Guest, MODERN, USED};
use crate::disk::{Accepted, DiskRequest, SubmitError};
use crate::virtio::blk::Status;
use crate::virtio::blk::request::kind;
use crate::virtio::{interrupt, status};

/// The fake machine with the disk of a model board behind it.
struct BoardHw {
    hw: &'static FakeHw,
    board: RefCell<Board<'static>>,
}

impl BoardHw {
    /// What a core does at the disk's interrupt.
    fn irq(&self, vm: &Vm) {
        self.board.borrow_mut().disk.acknowledge();
        loop {
            let done = self.board.borrow_mut().disk.complete(self.hw);
            let Some((who, request, result)) = done else { return };
            vm.disk_event(self, who.device, Some((request, result)));
        }
    }
}

impl Hw for BoardHw {
    fn disk_submit(&self, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        self.board.borrow_mut().disk.submit(self.hw, request)
    }
    fn now(&self) -> u64 {
        self.hw.now()
    }
    fn counter_hz(&self) -> u64 {
        self.hw.counter_hz()
    }
    fn read(&self, at: Pa, into: &mut [u8]) {
        self.hw.read(at, into);
    }
    fn write(&self, at: Pa, from: &[u8]) {
        self.hw.write(at, from);
    }
    fn load_u16_acquire(&self, at: Pa) -> u16 {
        self.hw.load_u16_acquire(at)
    }
    fn store_u16_release(&self, at: Pa, value: u16) {
        self.hw.store_u16_release(at, value);
    }
    fn fence(&self) {}
    fn load_descriptor(&self, at: Pa) -> u64 {
        self.hw.load_descriptor(at)
    }
    fn store_descriptor(&self, at: Pa, value: u64) {
        self.hw.store_descriptor(at, value);
    }
    fn dma_sync(&self, at: Pa, len: u64) {
        self.hw.dma_sync(at, len);
    }
    fn take_frames(&self, order: u8) -> Option<Pa> {
        self.hw.take_frames(order)
    }
    fn give_frames(&self, at: Pa, order: u8) {
        self.hw.give_frames(at, order);
    }
    fn tlb_invalidate_ipa(&self, vm: VmId, ipa: Ipa) {
        self.hw.tlb_invalidate_ipa(vm, ipa);
    }
    fn tlb_invalidate_vm(&self, vm: VmId) {
        self.hw.tlb_invalidate_vm(vm);
    }
    fn tlb_invalidate_el2(&self) {
        self.hw.tlb_invalidate_el2();
    }
    fn set_deadline(&self, slot: Slot, at: Option<u64>) {
        self.hw.set_deadline(slot, at);
    }
    fn console_output(&self, vm: VmId, byte: u8) {
        self.hw.console_output(vm, byte);
    }
    fn console_input(&self, vm: VmId) -> Option<u8> {
        self.hw.console_input(vm)
    }
    fn serve_control(&self, vm: &Vm) -> bool {
        self.hw.serve_control(vm)
    }
    fn firmware_call(&self, id: u32, x1: u64) {
        self.hw.firmware_call(id, x1);
    }
    fn this_cpu(&self) -> CpuId {
        self.hw.this_cpu()
    }
    fn kick(&self, cpu: CpuId) {
        self.hw.kick(cpu);
    }
    fn wake(&self, vm: VmId, vcpu: VcpuId) {
        self.hw.wake(vm, vcpu);
    }
    fn call(&self, vm: VmId, vcpu: VcpuId) {
        self.hw.call(vm, vcpu);
    }
    fn runs_here(&self, vm: VmId, vcpu: VcpuId) -> bool {
        self.hw.runs_here(vm, vcpu)
    }
}

/// A guest with the disk of a model board, and its driver's memory as [`Board`] keeps it.
fn exits_with_disk() -> Exits<BoardHw> {
    let window = Window { first: 100, sectors: 1000, read_only: false };
    let board = Board::new(MODERN, 2000, &[window]);
    let ram = GuestRam::new(board.guests[0].ram.extents().to_vec()).unwrap();
    let vm = guest(board.hw, ram, VirtioBlk::new(0, window, *b"tessera-test-disk\0\0\0"));
    let hw = BoardHw { hw: board.hw, board: RefCell::new(board) };
    let mut exits = Exits::new(hw, vm);
    exits.enable_interrupts();
    exits
}

impl Exits<BoardHw> {
    /// What a driver stores, from reset to DRIVER_OK.
    fn bring_up(&mut self) {
        let Guest { features, size, .. } = self.hw.board.borrow().guests[0];
        for (offset, value) in [
            (reg::STATUS, 0),
            (reg::STATUS, 1),
            (reg::STATUS, 3),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, features >> 32),
            (reg::STATUS, 11),
            (reg::QUEUE_SEL, 0),
            (reg::QUEUE_NUM, size.into()),
            (reg::QUEUE_DESC, DESC),
            (reg::QUEUE_DRIVER, AVAIL),
            (reg::QUEUE_DEVICE, USED),
            (reg::QUEUE_READY, 1),
            (reg::STATUS, 15),
        ] {
            self.store_ok(VIRTIO_BASE + offset, value);
        }
        let ok = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        assert_eq!(self.load(VIRTIO_BASE + reg::STATUS, 4), u64::from(ok));
    }
}

#[test]
fn a_disk_read_goes_from_the_guests_store_to_its_virtual_interrupt() {
    let mut guest = exits_with_disk();
    guest.bring_up();
    let model = {
        let mut board = guest.hw.board.borrow_mut();
        board.request(0, 5, kind::IN, 17, &[(DATA, 4096)]);
        board.model.state.borrow_mut().deferred = true;
        board.model
    };
    guest.store_ok(VIRTIO_BASE + reg::QUEUE_NOTIFY, 0);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [], "the guest runs on while the disk works");

    guest.hw.hw.events();
    model.run(1);
    guest.hw.irq(&guest.vm);
    assert_eq!(guest.hw.hw.events(), [Event::Kick(CORES[0])]);
    guest.deliver();
    assert_eq!(guest.lrs.pending(), [VIRTIO_INTID]);

    assert_eq!(guest.load(VIRTIO_BASE + reg::INTERRUPT_STATUS, 4), u64::from(interrupt::USED));
    guest.store_ok(VIRTIO_BASE + reg::INTERRUPT_ACK, interrupt::USED.into());
    assert_eq!(guest.load(VIRTIO_BASE + reg::INTERRUPT_STATUS, 4), 0);
    guest.lrs.end_all();
    let mut board = guest.hw.board.borrow_mut();
    assert_eq!((board.used(0), board.status(0, 5)), (vec![(5, 4097)], Status::Ok as u8));
    let want: Vec<u8> = (117..125).flat_map(|sector| model.sector(sector)).collect();
    assert_eq!(board.read(0, DATA, 4096), want);
    assert_eq!(model.state.borrow().log, [(kind::IN, 117, 8)]);
}

#[test]
fn a_reset_of_a_disk_that_still_works_is_executed_again_until_it_has_ended() {
    let mut guest = exits_with_disk();
    guest.bring_up();
    let model = {
        let mut board = guest.hw.board.borrow_mut();
        board.request(0, 0, kind::IN, 0, &[(DATA, 512)]);
        board.model.state.borrow_mut().deferred = true;
        board.model
    };
    guest.store_ok(VIRTIO_BASE + reg::QUEUE_NOTIFY, 0);
    for _ in 0..3 {
        assert_eq!(guest.store(VIRTIO_BASE + reg::STATUS, 4, 0), Next::Resume);
    }
    assert!(!guest.vm.reset_disks(), "nor does the guest's end come first");
    model.run(1);
    guest.hw.irq(&guest.vm);
    guest.store_ok(VIRTIO_BASE + reg::STATUS, 0);
    assert_eq!(guest.load(VIRTIO_BASE + reg::STATUS, 4), 0);
    assert!(guest.vm.reset_disks());
}
