//! The doorbells of a guest's groups, by their page and by calls.

use tessera_abi::group::doorbell::{ALL, CHANGED, INDEX, PENDING, RING, WRITABLE};
use tessera_abi::hypercall::{self, DONE, NO_GROUP, TAKE, TOO_SOON};

use super::*;
use crate::group::{Group, Member, Share};
use crate::stage2::Access;

/// The page of the guest's second doorbell.
const PAGE: u64 = DOORBELL_BASE + DOORBELL_SIZE;

/// The core of the other member's first vCPU.
pub const OTHER: CpuId = CpuId(2);

/// A guest in two groups, which is the second member of each; and the other member of the second, which lives.
pub fn member() -> (Exits<FakeHw>, Share, Arc<Vm>) {
    let mut guest = exits();
    guest.hw.clock.set(guest.hw.counter_hz());
    let share = |slot: u8| {
        let member = || Member::new(slot, Access::ReadWrite, Arc::default());
        let members = vec![member(), member()];
        let page = Pa(0x8000_3000);
        let group = Arc::new(Group::new(&guest.hw, "ring".into(), Vec::new(), page, members));
        [0, 1].map(|index| Share { group: group.clone(), index })
    };
    let ([_, first], [other, second]) = (share(0), share(1));
    let mut vm = vm();
    let mut me = crate::vgic::VgicCpu::new(VcpuId(0));
    for (register, value) in [(0, 3), (0x84, 0xffff_ffff), (0x104, 0xffff_ffff)] {
        let mut lrs = Lrs { lr: [0; 4], hcr: 0 };
        let _ = vm.vgic.gicd_write(&mut me, &mut lrs, register, 4, value).unwrap();
    }
    vm.cpus = [OTHER, CpuId(3)].into();
    let vm = Arc::new(vm);
    other.begin(&vm);
    guest.vm.groups = vec![first, second];
    guest.hw.events();
    (guest, other, vm)
}

impl Exits<FakeHw> {
    /// HVC with this immediate.
    fn hypercall(&mut self, immediate: u16, x0: u64, x1: u64) -> [u64; 2] {
        self.vcpu.registers.x[..2].copy_from_slice(&[x0, x1]);
        let esr = ec::HVC64 << 26 | iss::IL | u64::from(immediate);
        assert_eq!(self.take(esr, 0, 0), Next::Resume, "its return address is behind it already");
        [*self.x(0), *self.x(1)]
    }
}

#[test]
fn a_call_rings_as_a_store_does() {
    let (mut guest, other, _vm) = member();
    assert_eq!(guest.hypercall(hypercall::RING, 1, 0), [DONE, 0]);
    assert_eq!(guest.hw.events(), [Event::Kick(OTHER)]);
    assert_eq!(other.read(PENDING, 4), Some(0b10));
    guest.store_ok(PAGE + RING, 0);
    assert_eq!(guest.hw.events(), [Event::Kick(OTHER)]);
    assert_eq!(other.read(PENDING, 4), Some(0b10));
    for whom in [u64::from(ALL), 7 << 32] {
        assert_eq!(guest.hypercall(hypercall::RING, 1, whom)[0], DONE, "the upper half is nothing");
        assert_eq!(other.read(PENDING, 4), Some(0b10));
    }
    for nobody in [1, 2, 31, 32, 0x8000_0000] {
        assert_eq!(guest.hypercall(hypercall::RING, 1, nobody)[0], DONE);
        assert_eq!(other.read(PENDING, 4), Some(0), "{nobody}");
    }
}

#[test]
fn a_call_takes_all_that_the_page_would_tell() {
    let (mut guest, other, _vm) = member();
    let me = Arc::new(vm());
    guest.vm.groups[1].begin(&me);
    assert_eq!(guest.hypercall(TAKE, 1, 9), [0, 0]);
    assert_eq!(other.ring(&guest.hw, 1), crate::group::Rung::Done);
    assert_eq!(guest.hypercall(TAKE, 1, 9), [1, 0]);
    let life = crate::life::Life::new(1, crate::life::Policy::default(), 30);
    let _ = life.ask(crate::life::Request::Start, 0, 1).unwrap();
    other.tell(&guest.hw, &life);
    let _ = other.ring(&guest.hw, 1);
    assert_eq!(guest.hypercall(TAKE, 1, 9), [1, 1]);
    assert_eq!([PENDING, CHANGED].map(|at| guest.load(PAGE + at, 4)), [0, 0]);
}

#[test]
fn who_calls_too_soon_is_told_so_and_who_stores_executes_that_again() {
    let (mut guest, other, _vm) = member();
    let mut rings = 0;
    while guest.hypercall(hypercall::RING, 1, 0)[0] == DONE {
        assert_eq!(other.read(PENDING, 4), Some(0b10));
        rings += 1;
        assert!(rings < 1000, "it is never too soon");
    }
    // The first that came too soon rang all the same.
    assert_eq!(guest.hypercall(hypercall::RING, 1, 0)[0], TOO_SOON);
    assert_eq!(guest.store(PAGE + RING, 4, 0), Next::Resume);
    assert_eq!(other.read(PENDING, 4), Some(0), "nothing is done");
    guest.hw.clock.set(guest.hw.clock.get() + guest.hw.counter_hz());
    assert_eq!(guest.hypercall(hypercall::RING, 1, 0)[0], DONE);
}

#[test]
fn calls_for_groups_that_the_guest_is_not_in_and_calls_that_are_none_say_so() {
    let (mut guest, ..) = member();
    for group in [2, 8, 1 << 32, u64::MAX] {
        for call in [hypercall::RING, TAKE] {
            assert_eq!(guest.hypercall(call, group, 3), [NO_GROUP, 3]);
        }
    }
    for call in [1, hypercall::RING - 1, TAKE + 1, u16::MAX] {
        assert_eq!(guest.hypercall(call, 1, 3), [NO_GROUP, 3], "{call:#x}");
    }
    // The numbers are HVC's alone.
    assert_eq!(guest.take(ec::SMC64 << 26 | iss::IL | u64::from(TAKE), 0, 0), Next::Advance);
    assert_eq!(*guest.x(0), u64::MAX);
}

#[test]
fn a_doorbell_answers_words_and_nothing_else() {
    let (mut guest, ..) = member();
    for offset in (0..DOORBELL_SIZE).step_by(4).chain([1, 2, 6]) {
        for size in [1, 2, 4, 8] {
            let known = size == 4 && offset % 4 == 0 && offset <= WRITABLE;
            let load = guest.handle(Exit::Mmio(access(PAGE + offset, size, false)));
            assert_eq!(load == Next::Advance, known, "{offset:#x} {size}");
            let store = guest.store(PAGE + offset, size, 1);
            assert_eq!(store == Next::Advance, size == 4 && offset == RING, "{offset:#x} {size}");
        }
    }
    assert_eq!(guest.load(PAGE + INDEX, 4), 1);
    // A page of a group that the guest is not in.
    for write in [false, true] {
        let next = guest.handle(Exit::Mmio(access(PAGE + DOORBELL_SIZE, 4, write)));
        assert!(matches!(next, Next::Inject(Fault::External(_))), "{next:?}");
    }
}
