//! The engine by itself: what it maps, what it refuses, and in which order it writes.

use std::vec::Vec;

use self::watch::Watch;
use super::*;
use crate::addr::PAGE_SIZE;
use crate::hw::fake::{Event, FakeHw};

mod model;
mod watch;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const VM: VmId = VmId(7);
const READ_ONLY: Attributes = Attributes::from_bits(0x77c);
const READ_WRITE: Attributes = Attributes::from_bits(0x7fc);

fn board() -> FakeHw {
    FakeHw::new(Pa(GIB), 64 * PAGE_SIZE as usize)
}

fn guest_tables(hw: &FakeHw, input_bits: u8) -> Tables {
    Tables::new(hw, Regime::Guest(VM), Geometry::stage2(input_bits, 44)).unwrap()
}

/// Hides all free frames but `count`.
fn frames_left(hw: &FakeHw, count: usize) -> Vec<Pa> {
    let mut all: Vec<Pa> = core::iter::from_fn(|| hw.take_frames(0)).collect();
    for at in all.split_off(all.len() - count) {
        hw.give_frames(at, 0);
    }
    all
}

/// Level that maps each of some addresses, 9 where none does.
fn levels<const N: usize>(hw: &FakeHw, tables: &Tables, at: [u64; N]) -> [u8; N] {
    at.map(|ia| tables.translate(hw, ia).map_or(9, |t| t.level.number()))
}

#[test]
fn a_range_is_mapped_with_the_largest_blocks_that_fit() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    let start = GIB - 2 * MIB - PAGE_SIZE;
    let len = GIB + 4 * MIB + 2 * PAGE_SIZE;
    tables.map(&hw, start, Pa(8 * GIB + start), len, READ_WRITE).unwrap();
    let places = [
        start - 1,
        start,
        start + PAGE_SIZE,
        GIB,
        2 * GIB - 1,
        2 * GIB,
        2 * GIB + 2 * MIB,
        start + len - 1,
        start + len,
    ];
    assert_eq!(levels(&hw, &tables, places), [9, 3, 2, 1, 1, 2, 3, 3, 9]);
    assert_eq!(tables.frames(), 5);
    let found = tables.translate(&hw, GIB + 0x1234_5678).unwrap();
    assert_eq!((found.pa, found.attributes), (Pa(9 * GIB + 0x1234_5678), READ_WRITE));
}

#[test]
fn blocks_are_as_large_as_both_addresses_are_aligned() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, 0, Pa(2 * MIB), GIB, READ_WRITE).unwrap();
    tables.map(&hw, GIB, Pa(PAGE_SIZE), 2 * MIB, READ_WRITE).unwrap();
    assert_eq!(levels(&hw, &tables, [0, GIB - 1, GIB, GIB + 2 * MIB]), [2, 2, 3, 9]);
    assert_eq!(tables.frames(), 1 + 1 + 2);
}

#[test]
fn a_concatenated_root_is_one_table_to_its_owner() {
    for (bits, order) in [(40, 1), (43, 4)] {
        let hw = board();
        let free = hw.free_frames();
        let mut tables = guest_tables(&hw, bits);
        assert_eq!(tables.frames(), 1 << order);
        assert!(tables.root().is_aligned(PAGE_SIZE << order));
        let last = (1 << bits) - GIB;
        tables.map(&hw, last, Pa(4 * GIB), GIB, READ_WRITE).unwrap();
        assert_eq!(tables.translate(&hw, last + 5).unwrap().pa, Pa(4 * GIB + 5));
        let slot = tables.root().offset((PAGE_SIZE << order) - 8);
        assert_eq!(hw.load_descriptor(slot), 4 * GIB + 0x7fd);
        tables.unmap(&hw, 0, 1 << bits).unwrap();
        assert_eq!(hw.load_descriptor(slot), 0);
        tables.free(&hw);
        assert_eq!(hw.free_frames(), free);
    }
}

#[test]
fn more_than_43_bits_start_at_level_0() {
    let hw = board();
    let mut tables = guest_tables(&hw, 48);
    let top = (1 << 48) - GIB;
    tables.map(&hw, top, Pa(GIB), GIB, READ_WRITE).unwrap();
    assert_eq!(levels(&hw, &tables, [top - 1, top, u64::MAX]), [9, 1, 9]);
    assert_eq!(tables.frames(), 2);
    assert_eq!(Geometry::stage2(60, 48), Geometry::stage2(48, 48));
    assert_eq!(Geometry::stage2(3, 48), Geometry::stage2(32, 48));
}

#[test]
fn what_is_not_of_pages_or_too_far_is_refused() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    let end = 1 << 39;
    let mut map = |ia, pa, len| tables.map(&hw, ia, Pa(pa), len, READ_WRITE);
    assert_eq!(map(1, 0, 4096), Err(MapError::Misaligned(1)));
    assert_eq!(map(0, 0, 4095), Err(MapError::Misaligned(0)));
    assert_eq!(map(0, 8, 4096), Err(MapError::Misaligned(8)));
    assert_eq!(map(end, 0, 4096), Err(MapError::OutOfRange(end)));
    assert_eq!(map(end - 4096, 0, 8192), Err(MapError::OutOfRange(end - 4096)));
    assert_eq!(map(!4095, 0, 4096), Err(MapError::OutOfRange(!4095)));
    assert_eq!(map(!4095, 0, 8192), Err(MapError::OutOfRange(!4095)));
    assert_eq!(map(0, 1 << 44, 4096), Err(MapError::OutOfRange(1 << 44)));
    assert_eq!(map(0, 0, 0), Ok(()));
    assert_eq!(map(end - 4096, (1 << 44) - 4096, 4096), Ok(()));
    let beyond = tables.remap_page(&hw, end - 4096, Pa(1 << 44), READ_ONLY);
    assert_eq!(beyond, Err(MapError::OutOfRange(1 << 44)));
}

#[test]
fn a_mapping_where_one_page_is_taken_changes_nothing() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, 3 * MIB, Pa(0), PAGE_SIZE, READ_WRITE).unwrap();
    let before = (tables.frames(), hw.free_frames());
    hw.events();
    let again = tables.map(&hw, 0, Pa(0), 8 * MIB, READ_WRITE);
    assert_eq!(again, Err(MapError::AlreadyMapped(3 * MIB)));
    assert_eq!(hw.events(), []);
    assert_eq!((tables.frames(), hw.free_frames()), before);
}

#[test]
fn changing_one_page_of_a_gigabyte_breaks_the_block_once_and_makes_complete_tables() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, GIB, Pa(2 * GIB), GIB, READ_WRITE).unwrap();
    hw.events();
    let page = GIB + 100 * MIB + 5 * PAGE_SIZE;
    tables.remap_page(&hw, page, Pa(7 * GIB), READ_ONLY).unwrap();
    let events = hw.events();
    let slot = tables.root().offset(8);
    let tail = events.len() - 3;
    assert_eq!(events[tail], Event::Descriptor(slot, 0));
    assert_eq!(events[tail + 1], Event::TlbIpa(VM, Ipa(page)));
    assert!(
        matches!(events[tail + 2], Event::Descriptor(at, value) if at == slot && value & 3 == 3)
    );
    let early = |e: &Event| match e {
        Event::Descriptor(at, _) => *at == slot,
        other => !matches!(other, Event::Take(..)),
    };
    assert!(!events[..tail].iter().any(early));
    assert_eq!(
        levels(&hw, &tables, [GIB, page - 1, page, page + 4096, 2 * GIB - 1]),
        [2, 3, 3, 3, 2]
    );
    let neighbour = tables.translate(&hw, page + PAGE_SIZE).unwrap();
    assert_eq!(neighbour.pa, Pa(page + GIB + PAGE_SIZE));
    assert_eq!(neighbour.attributes, READ_WRITE);
}

#[test]
fn a_page_is_replaced_by_break_then_make() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, 0, Pa(GIB), PAGE_SIZE, READ_WRITE).unwrap();
    hw.events();
    assert_eq!(tables.remap_page(&hw, 0, Pa(5 * GIB), READ_ONLY), Ok(Pa(GIB)));
    let events = hw.events();
    let Event::Descriptor(slot, 0) = events[0] else { panic!("{events:?}") };
    let made = Event::Descriptor(slot, 5 * GIB + 0x77f);
    assert_eq!(events[1..], [Event::TlbIpa(VM, Ipa(0)), made]);
    assert_eq!(tables.remap_page(&hw, 0, Pa(5 * GIB), READ_ONLY), Ok(Pa(5 * GIB)));
    assert_eq!(hw.events(), []);
}

#[test]
fn permissions_change_in_place_so_that_other_cores_never_miss_the_page() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, 0, Pa(GIB), 2 * PAGE_SIZE, READ_WRITE).unwrap();
    hw.events();
    tables.protect(&hw, 0, PAGE_SIZE, READ_ONLY).unwrap();
    let events = hw.events();
    assert!(
        matches!(events[..], [Event::Descriptor(_, value), Event::TlbIpa(VM, Ipa(0))] if value == GIB + 0x77f)
    );
    tables.protect(&hw, 0, PAGE_SIZE, READ_ONLY).unwrap();
    assert_eq!(hw.events(), []);
    assert_eq!(
        tables.protect(&hw, 0, 3 * PAGE_SIZE, READ_ONLY),
        Err(MapError::NotMapped(2 * PAGE_SIZE))
    );
    assert_eq!(hw.events(), []);
}

#[test]
fn many_pages_are_forgotten_at_once_and_few_one_by_one() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    tables.map(&hw, 0, Pa(PAGE_SIZE), MIB, READ_WRITE).unwrap();
    hw.events();
    let flushes = |hw: &FakeHw| {
        let events = hw.events();
        let all = events.iter().filter(|e| matches!(e, Event::TlbVm(_))).count();
        (all, events.iter().filter(|e| matches!(e, Event::TlbIpa(..))).count())
    };
    tables.unmap(&hw, 0, 8 * PAGE_SIZE).unwrap();
    assert_eq!(flushes(&hw), (0, 8));
    tables.unmap(&hw, 8 * PAGE_SIZE, 9 * PAGE_SIZE).unwrap();
    assert_eq!(flushes(&hw), (1, 0));
    tables.unmap(&hw, 0, 17 * PAGE_SIZE).unwrap();
    assert_eq!(flushes(&hw), (0, 0));
}

#[test]
fn a_table_goes_with_its_last_page() {
    let hw = board();
    let mut tables = guest_tables(&hw, 39);
    let free = hw.free_frames();
    tables.map(&hw, 0, Pa(PAGE_SIZE), 4 * MIB, READ_WRITE).unwrap();
    assert_eq!(free - hw.free_frames(), 3);
    for page in 0..1023 {
        tables.unmap(&hw, page * PAGE_SIZE, PAGE_SIZE).unwrap();
        assert_eq!(free - hw.free_frames(), if page < 511 { 3 } else { 2 });
    }
    tables.unmap(&hw, 1023 * PAGE_SIZE, PAGE_SIZE).unwrap();
    assert_eq!(hw.free_frames(), free);
    assert_eq!(tables.frames(), 1);
}

#[test]
fn a_change_that_runs_out_of_frames_changes_nothing_however_far_it_came() {
    type Change = fn(&mut Tables, &FakeHw) -> Result<(), MapError>;
    let changes: [(u32, Change); 5] = [
        (4, |t, hw| t.map(hw, 4 * GIB - PAGE_SIZE, Pa(PAGE_SIZE), 2 * MIB + PAGE_SIZE, READ_ONLY)),
        (2, |t, hw| t.unmap(hw, GIB + PAGE_SIZE, PAGE_SIZE)),
        (3, |t, hw| t.protect(hw, GIB + PAGE_SIZE, 2 * MIB, READ_ONLY)),
        (2, |t, hw| t.remap_page(hw, GIB, Pa(0), READ_ONLY).map(|_| ())),
        (4, |t, hw| t.unmap(hw, GIB + PAGE_SIZE, GIB + MIB)),
    ];
    for (need, change) in changes {
        for count in 0..=need {
            let hw = board();
            let mut tables = guest_tables(&hw, 39);
            tables.map(&hw, GIB, Pa(2 * GIB), 2 * GIB, READ_WRITE).unwrap();
            frames_left(&hw, count as usize);
            let before = hw.memory.borrow()[..].to_vec();
            let mut watch = Watch::new(&tables);
            hw.events();
            let done = change(&mut tables, &hw);
            if count == need {
                assert_eq!((done, hw.free_frames()), (Ok(()), 0));
                continue;
            }
            assert_eq!((done, tables.frames()), (Err(MapError::OutOfFrames), 1));
            assert_eq!(hw.free_frames(), u64::from(count));
            assert!(!watch.read(&hw));
            let root = (tables.root().0 - hw.base.0) as usize;
            assert_eq!(hw.memory.borrow()[root..root + 4096], before[root..root + 4096]);
        }
    }
    let hw = board();
    frames_left(&hw, 0);
    let none = Tables::new(&hw, Regime::Guest(VM), Geometry::stage2(39, 44));
    assert_eq!(none.err(), Some(MapError::OutOfFrames));
}

#[test]
fn reserved_descriptors_lead_nowhere() {
    use super::descriptor::Entry;
    assert_eq!(Descriptor(0b01).entry(Level::L0), Entry::Invalid);
    assert_eq!(Descriptor(0b01).entry(Level::L3), Entry::Invalid);
    assert_eq!(Descriptor(0b10).entry(Level::L1), Entry::Invalid);
    assert!(matches!(Descriptor(0b11).entry(Level::L3), Entry::Leaf(..)));
    assert!(matches!(Descriptor(0b01).entry(Level::L2), Entry::Leaf(..)));
    assert_eq!(Descriptor(0x5000 | 0b11).entry(Level::L2), Entry::Table(Pa(0x5000)));
}
