use alloc::vec;

use tessera_abi::group::membership;
use tessera_abi::layout::{GPIO_INTID, GROUP_INTID};

use super::budget::{BURST, INTERRUPTS_A_SECOND};
use super::*;
use crate::addr::{Ipa, VcpuId};
use crate::hw::fake::FakeHw;
use crate::life::{Policy, Request, StopReason};
use crate::machine;
use crate::vgic::VgicCpu;
use crate::vgic::fake::FakeCpu;

const PAGE: Pa = Pa(0x8000_3000);

fn hw() -> FakeHw {
    let hw = FakeHw::new(Pa(0x8000_0000), 1 << 18);
    hw.clock.set(hw.counter_hz());
    hw
}

/// Of a guest that is in no other group.
fn member(slot: u8, access: Access) -> Member {
    Member::new(slot, access, Arc::default())
}

/// A group of three: the third may only read.
fn shares(hw: &FakeHw) -> [Share; 3] {
    let region = vec![Extent { ipa: Ipa(0x40_0000_0000), pa: Pa(0x8001_0000), len: 0x1_0000 }];
    let members = vec![
        member(0, Access::ReadWrite),
        member(3, Access::ReadWrite),
        member(0, Access::ReadOnly),
    ];
    let group = Arc::new(Group::new(hw, "ring".into(), region, PAGE, members));
    [0, 1, 2].map(|index| Share { group: group.clone(), index })
}

fn ring(hw: &FakeHw, from: &Share, value: u32) {
    assert_eq!(from.ring(hw, value), Rung::Done);
}

/// Whether the group's interrupt waits for the guest, in place `slot` of its groups.
fn interrupted(vm: &Vm, slot: u32) -> bool {
    vm.vgic.states(None).pending >> (GROUP_INTID - 32 + slot) & 1 != 0
}

fn word(hw: &FakeHw, at: u64) -> u64 {
    let mut bytes = [0; 8];
    hw.read(PAGE.offset(at), &mut bytes);
    u64::from_le_bytes(bytes)
}

#[test]
fn who_is_rung_finds_who_rang_once_and_has_one_interrupt_for_all_of_it() {
    let hw = hw();
    let [one, two, three] = shares(&hw);
    let vm = Arc::new(machine::tests::vm());
    two.begin(&vm);
    assert!(!interrupted(&vm, 3));
    ring(&hw, &one, 1);
    assert!(interrupted(&vm, 3), "of the place that the group has for this guest");
    // As if the guest had taken it, and not asked who rang.
    vm.vgic.reset();
    for _ in 0..1000 {
        ring(&hw, &three, 1);
        ring(&hw, &one, 1);
    }
    assert!(!interrupted(&vm, 3), "a storm disturbs nobody");
    assert_eq!(two.read(doorbell::PENDING, 4), Some(0b101));
    assert_eq!(two.read(doorbell::PENDING, 4), Some(0));
    ring(&hw, &one, 1);
    assert!(interrupted(&vm, 3), "who asked is told of the next");
}

#[test]
fn a_ring_of_all_rings_the_others_and_one_of_nobody_nobody() {
    let hw = hw();
    let [one, two, three] = shares(&hw);
    let vms = [(); 3].map(|()| Arc::new(machine::tests::vm()));
    for (share, vm) in [&one, &two, &three].into_iter().zip(&vms) {
        share.begin(vm);
    }
    ring(&hw, &one, doorbell::ALL);
    let pending = |share: &Share| share.read(doorbell::PENDING, 4).unwrap();
    assert_eq!([&one, &two, &three].map(pending), [0, 1, 1]);
    for nobody in [0, 3, 31, 32, 255, 256, u32::MAX - 1] {
        ring(&hw, &one, nobody);
    }
    assert_eq!([&one, &two, &three].map(pending), [0, 0, 0]);
}

#[test]
fn a_new_life_has_not_been_rung_and_who_is_down_is_not() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let vm = Arc::new(machine::tests::vm());
    two.begin(&vm);
    ring(&hw, &one, 1);
    two.end();
    assert_eq!(Arc::strong_count(&vm), 1, "nothing of the group holds the life");
    ring(&hw, &one, 1);
    let vm = Arc::new(machine::tests::vm());
    two.begin(&vm);
    assert_eq!(two.read(doorbell::PENDING, 4), Some(0));
    assert!(!interrupted(&vm, 3));
}

#[test]
fn registers_are_words_and_nothing_else_answers() {
    let hw = hw();
    let [one, _, three] = shares(&hw);
    assert_eq!(one.read(doorbell::INDEX, 4), Some(0));
    assert_eq!(three.read(doorbell::INDEX, 4), Some(2));
    assert_eq!(one.read(doorbell::MEMBERS, 4), Some(3));
    assert_eq!(one.read(doorbell::WRITABLE, 4), Some(1));
    assert_eq!(three.read(doorbell::WRITABLE, 4), Some(0));
    for offset in 0..0x1000 {
        for size in [1, 2, 4, 8] {
            let known = size == 4 && offset % 4 == 0 && offset <= doorbell::WRITABLE;
            assert_eq!(one.read(offset, size).is_some(), known, "{offset:#x} {size}");
        }
    }
}

#[test]
fn others_are_told_of_a_change_on_the_page_and_once_by_an_interrupt() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let vm = Arc::new(machine::tests::vm());
    one.begin(&vm);
    let life = Life::new(1, Policy::default(), 30);
    let expect = |generation: u64, state: State, lives: u64| {
        two.tell(&hw, &life);
        assert_eq!(word(&hw, membership::GENERATION), generation);
        assert_eq!(word(&hw, membership::WORDS + 8), lives << LIVES_SHIFT | state as u64);
    };
    expect(0, State::Down, 0);
    assert_eq!(one.read(doorbell::CHANGED, 4), Some(0));
    let _ = life.ask(Request::Start, 0, 1).unwrap();
    expect(1, State::Starting, 0);
    assert!(interrupted(&vm, 0));
    assert_eq!(one.read(doorbell::PENDING, 4), Some(0), "nobody rang");
    assert_eq!(one.read(doorbell::CHANGED, 4), Some(1));
    assert_eq!(one.read(doorbell::CHANGED, 4), Some(0));
    life.begin_clearing();
    assert!(life.begin_running(0));
    expect(2, State::Up, 1);
    expect(2, State::Up, 1);
    let _ = life.ask(Request::Pause, 0, 1).unwrap();
    expect(3, State::Paused, 1);
    let _ = life.ask(Request::Resume, 0, 1).unwrap();
    expect(4, State::Up, 1);
    assert!(life.end(StopReason::LostVectors, 0));
    expect(5, State::Leaving, 1);
    life.park();
    let _ = life.ended(0, 1);
    expect(6, State::Crashed, 1);
    assert_eq!(two.read(doorbell::CHANGED, 4), Some(0), "who changes knows");
}

#[test]
fn a_change_that_nobody_asked_for_keeps_no_ring_away() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let vm = Arc::new(machine::tests::vm());
    one.begin(&vm);
    let life = Life::new(1, Policy::default(), 30);
    let _ = life.ask(Request::Start, 0, 1).unwrap();
    two.tell(&hw, &life);
    vm.vgic.reset();
    ring(&hw, &two, 0);
    assert!(interrupted(&vm, 0));
}

/// A guest whose first two groups these are, and line 1 of whose GPIO interrupts when it rises.
fn watching(first: &Share, second: &Share) -> Arc<Vm> {
    let mut vm = machine::tests::vm();
    vm.groups = vec![first.clone(), second.clone()];
    let vm = Arc::new(vm);
    second.begin(&vm);
    vm
}

fn gpio_is_up(vm: &Vm) -> bool {
    vm.vgic.states(None).pending >> (GPIO_INTID - 32) & 1 != 0
}

#[test]
fn a_ring_reaches_who_waits_for_a_line_of_the_gpio_and_a_load_of_who_rang_lets_it_fall() {
    const IEV: u64 = 0x40c;
    const IE: u64 = 0x410;
    const IC: u64 = 0x41c;
    const DATA: u64 = 0x3fc;
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let region = Vec::new();
    let members = vec![member(0, Access::ReadWrite), member(1, Access::ReadWrite)];
    let other = Arc::new(Group::new(&hw, "other".into(), region, PAGE, members));
    let [three, four] = [0, 1].map(|index| Share { group: other.clone(), index });
    let vm = watching(&two, &four);
    ring(&hw, &three, 1);
    assert!(interrupted(&vm, 1) && !gpio_is_up(&vm), "nobody waits for the line");
    assert_eq!(vm.gpio_read(DATA), Some(2));
    assert_eq!(four.read(doorbell::PENDING, 4), Some(1));
    vm.gpio_write(&hw, IEV, 2).unwrap();
    vm.gpio_write(&hw, IE, 2).unwrap();
    assert!(!gpio_is_up(&vm));
    ring(&hw, &three, 1);
    assert!(gpio_is_up(&vm));
    vm.gpio_write(&hw, IC, 2).unwrap();
    assert!(!gpio_is_up(&vm));
    ring(&hw, &three, 1);
    assert!(!gpio_is_up(&vm), "a storm disturbs nobody");
    assert!(!four.is_line_to_fall());
    assert_eq!(four.read(doorbell::PENDING, 4), Some(1));
    assert!(four.is_line_to_fall());
    vm.gpio_edge(&hw, 1, false);
    assert_eq!(vm.gpio_read(DATA), Some(0));
    ring(&hw, &three, 1);
    assert!(gpio_is_up(&vm), "who asked is told of the next");
    two.begin(&vm);
    ring(&hw, &one, 1);
    assert_eq!(vm.gpio_read(DATA), Some(3), "each group has its line");
    // A new life has not enabled anything.
    let vm = watching(&two, &four);
    ring(&hw, &three, 1);
    assert!(!gpio_is_up(&vm));
}

/// A life of `share` that takes the interrupts of its groups.
fn listens(share: &Share) -> Arc<Vm> {
    let vm = Arc::new(machine::tests::vm());
    let (mut me, mut cpu) = (VgicCpu::new(VcpuId(0)), FakeCpu::new(4));
    for (register, value) in [(0, 3), (0x84, !0), (0x104, !0)] {
        let _ = vm.vgic.gicd_write(&mut me, &mut cpu, register, 4, value & 0xffff_ffff).unwrap();
    }
    share.begin(&vm);
    vm
}

/// Rings from `from` as fast as it can for a tenth of a second, and `then` after each that was done: how many those were.
fn storm(hw: &FakeHw, from: &Share, whom: u32, mut then: impl FnMut(Rung)) -> u64 {
    let mut done = 0;
    for _ in 0..100_000 {
        hw.clock.set(hw.clock.get() + hw.counter_hz() / 1_000_000);
        let rung = from.ring(hw, whom);
        done += u64::from(rung == Rung::Done);
        then(rung);
    }
    done
}

/// Interrupts of a storm of a tenth of a second, within a hundredth.
#[track_caller]
fn is_limited(interrupts: u64) {
    let most = BURST + INTERRUPTS_A_SECOND / 10;
    assert!(interrupts.abs_diff(most) < most / 100, "{interrupts}");
}

#[test]
fn who_asks_after_each_ring_of_a_storm_is_interrupted_so_often_and_no_ring_is_lost() {
    let hw = hw();
    let [one, two, three] = shares(&hw);
    let _vms = [&one, &two, &three].map(listens);
    is_limited(storm(&hw, &one, 1, |rung| {
        let expected = u32::from(rung == Rung::Done);
        assert_eq!(two.read(doorbell::PENDING, 4), Some(expected), "held, it has not rung");
    }));
    // Two that storm share it, and who rings all rings nobody while one of them is spared.
    hw.clock.set(hw.clock.get() + hw.counter_hz());
    let mut interrupts = 0;
    storm(&hw, &one, doorbell::ALL, |rung| {
        let from_one = u32::from(rung == Rung::Done);
        assert_eq!(three.read(doorbell::PENDING, 4), Some(from_one));
        let rung = three.ring(&hw, 1);
        assert!(
            rung == Rung::Done || from_one == 0,
            "what is to be asked for is joined for nothing"
        );
        interrupts += u64::from(two.read(doorbell::PENDING, 4) != Some(0));
    });
    is_limited(interrupts);
}

#[test]
fn members_that_answer_each_other_are_never_held() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let _vms = [&one, &two].map(listens);
    let answered = storm(&hw, &one, 1, |_| {
        assert_eq!(two.read(doorbell::PENDING, 4), Some(1));
        ring(&hw, &two, 0);
        assert_eq!(one.read(doorbell::PENDING, 4), Some(2));
    });
    assert_eq!(answered, 100_000);
}

#[test]
fn who_rings_a_member_that_does_not_ask_or_takes_no_interrupt_is_not_held() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let vm = listens(&two);
    assert_eq!(storm(&hw, &one, 1, |_| {}), 100_000);
    // It looks by the clock.
    let (mut me, mut cpu) = (VgicCpu::new(VcpuId(0)), FakeCpu::new(4));
    let _ = vm.vgic.gicd_write(&mut me, &mut cpu, 0x184, 4, 0xffff_ffff).unwrap();
    let asked = storm(&hw, &one, 1, |_| assert!(two.read(doorbell::PENDING, 4) != Some(0)));
    assert_eq!(asked, 100_000);
}

/// The clock goes on by a microsecond.
fn tick(hw: &FakeHw) {
    hw.clock.set(hw.clock.get() + hw.counter_hz() / 1_000_000);
}

#[test]
fn a_guest_in_two_groups_is_interrupted_no_more_often_than_in_one() {
    let hw = hw();
    let [one, two, _] = shares(&hw);
    let budget = two.member().unwrap().budget.clone();
    let members =
        vec![member(1, Access::ReadWrite), Member::new(1, Access::ReadWrite, budget.clone())];
    let other = Arc::new(Group::new(&hw, "other".into(), Vec::new(), PAGE, members));
    let [three, four] = [0, 1].map(|index| Share { group: other.clone(), index });
    let vm = listens(&two);
    four.begin(&vm);
    let mut interrupts = 0;
    for _ in 0..100_000 {
        tick(&hw);
        for (from, to) in [(&one, &two), (&three, &four)] {
            let _ = from.ring(&hw, 1);
            interrupts += u64::from(to.read(doorbell::PENDING, 4) != Some(0));
        }
    }
    is_limited(interrupts);
}

#[test]
fn who_rings_all_gets_through_where_others_storm_two_of_them_in_turns() {
    let hw = hw();
    let members = [0; 4].map(|slot| member(slot, Access::ReadWrite));
    let group = Arc::new(Group::new(&hw, "ring".into(), Vec::new(), PAGE, members.into()));
    let [honest, one, two, storms] =
        [0, 1, 2, 3].map(|index| Share { group: group.clone(), index });
    let _vms = [&one, &two, &storms].map(listens);
    let (mut longest, mut held, mut done) = (0, 0, 0);
    let half = hw.counter_hz() / INTERRUPTS_A_SECOND / 2;
    for n in 0..100_000_u64 {
        tick(&hw);
        let whom = 1 + (hw.clock.get() / half % 2) as u32;
        let _ = storms.ring(&hw, whom);
        let _ = (one.read(doorbell::PENDING, 4), two.read(doorbell::PENDING, 4));
        if n < 10_000 {
            continue;
        }
        held += 1;
        if honest.ring(&hw, doorbell::ALL) == Rung::Done {
            (longest, held, done) = (held.max(longest), 0, done + 1);
        }
        let _ = [&one, &two, &storms].map(|share| share.read(doorbell::PENDING, 4));
    }
    let limit = 32 * 1_000_000 / INTERRUPTS_A_SECOND;
    // The test's microseconds are whole ticks.
    assert!(longest.max(held) <= limit + limit / 50, "held for {longest} microseconds");
    assert!(done < 90_000, "it was held at times");
}

#[test]
fn a_program_that_all_others_wake_without_end_leaves_its_guest_as_much_time_as_the_limit_does() {
    let hw = hw();
    let members = [0; 32].map(|slot| member(slot, Access::ReadWrite));
    let group = Arc::new(Group::new(&hw, "ring".into(), Vec::new(), PAGE, members.into()));
    let share = |index| Share { group: group.clone(), index };
    let victim = share(0);
    let _vm = listens(&victim);
    victim.watch(true);
    let others: Vec<Share> = (1..32).map(share).collect();
    let (ticks, step) = (100_000, 5 * hw.counter_hz() / 1_000_000);
    let mut wakes = 0;
    for n in 0..ticks {
        hw.clock.set(hw.clock.get() + step);
        for other in &others {
            let _ = other.ring(&hw, if n % 2 == 0 { 0 } else { doorbell::ALL });
            wakes += u64::from(victim.read(doorbell::PENDING, 4) != Some(0));
        }
    }
    // Half a second; each counts for eight.
    let most = BURST / 8 + INTERRUPTS_A_SECOND / 8 / 2;
    assert!(wakes <= most + most / 20, "{wakes} of {most}");
    assert!(wakes > most / 2, "{wakes} of {most}: nobody is held for ever");
}
