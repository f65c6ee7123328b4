use super::*;
use crate::hw::fake::{Event, FakeHw};
use std::vec::Vec;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const RAM: Ipa = Ipa(0x4000_0000);
const A72: u8 = 4;

fn board() -> FakeHw {
    FakeHw::new(Pa(0x4000_0000), 256 * PAGE_SIZE as usize)
}

fn guest(hw: &FakeHw) -> Stage2 {
    Stage2::new(hw, VmId(3), A72, Arc::from([])).unwrap()
}

#[test]
fn the_control_register_says_39_bits_from_level_1_on_every_board() {
    // a53: 40 bits, a72: 44 bits, max: 52 bits.
    assert_eq!(vtcr(2), 0x8002_3559);
    assert_eq!(vtcr(4), 0x8004_3559);
    assert_eq!(vtcr(6), 0x8005_3559);
}

#[test]
fn a_guest_has_no_more_address_bits_than_the_board() {
    assert_eq!([0, 1, 2, 4, 15].map(ipa_bits), [32, 36, 39, 39, 39]);
    assert_eq!(vtcr(0) & 0x3f, 32);
    let hw = board();
    let mut guest = Stage2::new(&hw, VmId(0), 1, Arc::from([])).unwrap();
    let beyond = guest.map_ram(&hw, Ipa(1 << 36), Pa(0), PAGE_SIZE);
    assert_eq!(beyond, Err(MapError::OutOfRange(1 << 36)));
    let beyond = guest.map_ram(&hw, Ipa(0), Pa(1 << 36), PAGE_SIZE);
    assert_eq!(beyond, Err(MapError::OutOfRange(1 << 36)));
    assert_eq!(guest.translate(&hw, Ipa(u64::MAX)), None);
}

#[test]
fn a_data_page_can_be_read_and_neither_written_nor_executed() {
    let hw = board();
    let mut guest = guest(&hw);
    guest.map_data_page(&hw, Ipa(0x900_0000), Pa(0x4000_7000)).unwrap();
    let stored = hw.events().iter().rev().find_map(|event| match *event {
        Event::Descriptor(_, entry) if entry & !0xfff & !(1 << 54) == 0x4000_7000 => Some(entry),
        _ => None,
    });
    // XN, OA, AF, SH inner, S2AP R, MemAttr 0b1111, page.
    assert_eq!(stored, Some(1 << 54 | 0x4000_777f));
    let again = guest.map_data_page(&hw, Ipa(0x900_0000), Pa(0x4000_8000));
    assert!(again.is_err(), "{again:?}");
}

#[test]
fn the_base_register_holds_the_root_and_a_vmid_that_is_not_0() {
    let hw = board();
    let guest = guest(&hw);
    assert_eq!(guest.vttbr(), 4 << 48 | guest.root().0);
    assert_eq!(guest.table_frames(), 1);
    let last = Stage2::new(&hw, VmId(255), A72, Arc::from([]));
    assert_eq!(last.err(), Some(MapError::NoVmid(VmId(255))));
}

#[test]
fn ram_is_normal_memory_that_the_guest_may_read_write_and_execute() {
    let hw = board();
    let mut guest = guest(&hw);
    guest.map_ram(&hw, RAM, Pa(2 * GIB), GIB).unwrap();
    let stored = hw.load_descriptor(guest.root().offset(8));
    // OA, AF, SH inner, S2AP RW, MemAttr 0b1111, block.
    assert_eq!(stored, (2 * GIB) | 0x7fd);
    guest.protect(&hw, RAM, GIB, Access::ReadOnly).unwrap();
    assert_eq!(hw.load_descriptor(guest.root().offset(8)), (2 * GIB) | 0x77d);
}

#[test]
fn a_device_is_neither_cached_nor_executed() {
    let hw = board();
    let mut guest = guest(&hw);
    guest.map_device(&hw, Ipa(0x900_0000), Pa(0x900_0000), PAGE_SIZE).unwrap();
    hw.events();
    guest.protect(&hw, Ipa(0x900_0000), PAGE_SIZE, Access::ReadOnly).unwrap();
    let events = hw.events();
    let Some(&Event::Descriptor(_, stored)) = events.first() else { panic!("{events:?}") };
    assert_eq!(stored, 0x900_0000 | 1 << 54 | 0x447);
}

#[test]
fn guest_ram_of_the_allocators_blocks_takes_the_largest_entries() {
    let hw = board();
    let mut guest = guest(&hw);
    guest.map_ram(&hw, RAM, Pa(4 * GIB), 128 * MIB).unwrap();
    guest.map_ram(&hw, Ipa(RAM.0 + 128 * MIB), Pa(3 * GIB + 64 * MIB), 64 * MIB).unwrap();
    assert_eq!(guest.table_frames(), 2);
    let last = Ipa(RAM.0 + 192 * MIB - 1);
    let want = Mapping { pa: Pa(3 * GIB + 128 * MIB - 1), access: Access::ReadWrite, level: 2 };
    assert_eq!(guest.translate(&hw, last), Some(want));
    assert_eq!(guest.translate(&hw, Ipa(last.0 + 1)), None);
}

#[test]
fn what_belongs_to_el2_cannot_be_mapped_by_any_way() {
    let hw = board();
    let own = Pa(GIB + 5 * PAGE_SIZE)..Pa(GIB + 7 * PAGE_SIZE + 1);
    let mut guest = Stage2::new(&hw, VmId(0), A72, Arc::from([own.clone()])).unwrap();
    let refused = Err(MapError::Forbidden(own.start));
    assert_eq!(guest.map_ram(&hw, RAM, Pa(GIB), 6 * PAGE_SIZE), refused);
    assert_eq!(guest.map_device(&hw, RAM, own.start, PAGE_SIZE), refused);
    guest.map_ram(&hw, RAM, Pa(GIB), 5 * PAGE_SIZE).unwrap();
    let last = Pa(GIB + 7 * PAGE_SIZE);
    let refused = Err(MapError::Forbidden(last));
    assert_eq!(guest.remap_page(&hw, RAM, last, Access::ReadWrite), refused);
    assert_eq!(
        guest.map_ram(&hw, RAM, Pa(u64::MAX - 0xfff), 0x1000),
        Err(MapError::OutOfRange(u64::MAX - 0xfff))
    );
    guest.map_ram(&hw, Ipa(RAM.0 + MIB), last.offset(PAGE_SIZE), PAGE_SIZE).unwrap();
}

#[test]
fn copy_on_write_is_a_page_protected_then_replaced() {
    let hw = board();
    let free = hw.free_frames();
    let mut guest = guest(&hw);
    guest.map_ram(&hw, RAM, Pa(2 * GIB), 2 * MIB).unwrap();
    let page = Ipa(RAM.0 + 7 * PAGE_SIZE);
    let shared = Pa(8 * GIB);
    let old = guest.remap_page(&hw, page, shared, Access::ReadOnly).unwrap();
    assert_eq!(old, Pa(2 * GIB + 7 * PAGE_SIZE));
    let want = Mapping { pa: shared, access: Access::ReadOnly, level: 3 };
    assert_eq!(guest.translate(&hw, page), Some(want));
    let neighbour = guest.translate(&hw, Ipa(page.0 + PAGE_SIZE)).unwrap();
    assert_eq!((neighbour.access, neighbour.pa), (Access::ReadWrite, old.offset(PAGE_SIZE)));
    assert_eq!(guest.remap_page(&hw, page, old, Access::ReadWrite), Ok(shared));
    guest.free(&hw);
    assert_eq!(hw.free_frames(), free);
}

#[test]
fn a_guests_tables_are_given_back_only_when_tlbs_have_forgotten_them() {
    let hw = board();
    let mut guest = guest(&hw);
    guest.map_ram(&hw, RAM, Pa(2 * GIB + PAGE_SIZE), 5 * MIB).unwrap();
    let frames = guest.table_frames();
    hw.events();
    guest.free(&hw);
    let events = hw.events();
    let flush = events.iter().position(|e| *e == Event::TlbVm(VmId(3))).unwrap();
    let given: Vec<_> =
        (0..events.len()).filter(|&n| matches!(events[n], Event::Give(..))).collect();
    assert_eq!(given.len(), frames as usize);
    assert!(given.iter().all(|&n| n > flush));
}
