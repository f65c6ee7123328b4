use super::*;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

type Raw = BTreeMap<SysReg, u64>;

fn raw(values: &[((u32, u32), u64)]) -> Raw {
    values.iter().map(|&((crm, op2), value)| (id(crm, op2), value)).collect()
}

fn id(crm: u32, op2: u32) -> SysReg {
    SysReg::new(3, 0, 0, crm, op2)
}

fn filter(raw: &Raw) -> IdRegs {
    IdRegs::from_hw(|reg| raw.get(&reg).copied().unwrap_or(0))
}

/// A Cortex-A72 r0p3, read at EL2 of QEMU 10.0 with a GICv3.
fn cortex_a72() -> Raw {
    raw(&[
        ((1, 0), 0x0000_0131),
        ((1, 1), 0x1001_1001),
        ((1, 2), 0x0300_0006),
        ((1, 4), 0x1020_1105),
        ((1, 5), 0x4000_0000),
        ((1, 6), 0x0126_0000),
        ((1, 7), 0x0210_2211),
        ((2, 0), 0x0210_1110),
        ((2, 1), 0x1311_2111),
        ((2, 2), 0x2123_2042),
        ((2, 3), 0x0111_2131),
        ((2, 4), 0x0001_1142),
        ((2, 5), 0x0001_1121),
        ((3, 0), 0x1011_0222),
        ((3, 1), 0x1211_1111),
        ((3, 2), 0x0000_0043),
        ((4, 0), 0x0100_0222),
        ((5, 0), 0x1030_5106),
        ((6, 0), 0x0001_1120),
        ((7, 0), 0x0000_1124),
    ])
}

/// QEMU 10.0's `-cpu max`, read at EL2 with a GICv3.
fn cpu_max() -> Raw {
    raw(&[
        ((1, 0), 0x1102_0131),
        ((1, 1), 0x1001_1001),
        ((1, 2), 0x0600_000a),
        ((1, 4), 0x1010_1105),
        ((1, 5), 0x4000_0000),
        ((1, 6), 0x0126_0000),
        ((1, 7), 0x0212_2211),
        ((2, 0), 0x0210_1110),
        ((2, 1), 0x1311_2111),
        ((2, 2), 0x2123_2042),
        ((2, 3), 0x0111_2131),
        ((2, 4), 0x0001_1142),
        ((2, 5), 0x1101_1121),
        ((2, 6), 0x2002_1110),
        ((2, 7), 0x0111_1111),
        ((3, 0), 0x1011_0222),
        ((3, 1), 0x1321_1111),
        ((3, 2), 0x0000_0043),
        ((3, 4), 0x0000_0011),
        ((3, 5), 0x0000_0010),
        ((3, 6), 0x0000_0002),
        ((4, 0), 0x1301_0011_2111_0222),
        ((4, 1), 0x0000_0010_0100_0121),
        ((4, 4), 0x0110_1101_0021_0021),
        ((4, 5), 0x80f1_00fd_0000_0000),
        ((5, 0), 0x1000_0000_1030_560a),
        ((6, 0), 0x1221_1111_1021_2120),
        ((6, 1), 0x0111_2111_1021_1502),
        ((6, 2), 0x0011_0012),
        ((7, 0), 0x2100_0323_1020_1126),
        ((7, 1), 0x0110_1120_1031_2122),
        ((7, 2), 0x1221_0111_1201_1011),
        ((7, 3), 0x1000_0000_0000_0000),
    ])
}

/// A Neoverse N2 as QEMU 10.0 has it: Armv9 with SVE2, RAS, MPAM and activity monitors.
fn neoverse_n2() -> Raw {
    raw(&[
        ((1, 0), 0x2101_0131),
        ((1, 1), 0x1001_0000),
        ((1, 2), 0x0600_0009),
        ((1, 4), 0x1020_1105),
        ((1, 5), 0x4000_0000),
        ((1, 6), 0x0126_0000),
        ((1, 7), 0x0212_2211),
        ((2, 0), 0x0210_1110),
        ((2, 1), 0x1311_2111),
        ((2, 2), 0x2123_2042),
        ((2, 3), 0x0111_2131),
        ((2, 4), 0x0001_0142),
        ((2, 5), 0x1101_1121),
        ((2, 6), 0x0102_1110),
        ((2, 7), 0x0111_1111),
        ((3, 0), 0x1011_0222),
        ((3, 1), 0x1321_1111),
        ((3, 2), 0x0000_0043),
        ((3, 4), 0x0000_0011),
        ((4, 0), 0x1201_0011_2111_0112),
        ((4, 1), 0x0000_0121),
        ((4, 4), 0x0000_1101_0011_0021),
        ((5, 0), 0x0000_00f0_1030_5609),
        ((6, 0), 0x1221_1111_1021_2120),
        ((6, 1), 0x0011_1111_1021_1502),
        ((7, 0), 0x0000_0222_0010_1125),
        ((7, 1), 0x1021_2122),
        ((7, 2), 0x1221_0111_1210_1011),
    ])
}

/// A core with everything: every field of the AArch64 registers at a value as high as Armv9.5 knows.
fn everything() -> Raw {
    let mut raw = cortex_a72();
    raw.extend([
        (id(4, 0), 0x1321_1111_2311_1112),
        (id(4, 1), 0x1111_1111_1211_1321),
        (id(4, 2), 0x0000_0001_0000_0111),
        (id(4, 4), 0x0110_1101_0021_0022),
        (id(4, 5), 0x80f1_fdff_0000_0000),
        (id(4, 7), 0xffff_ffff_ffff_ffff),
        (id(5, 0), 0x1121_1101_5130_591b),
        (id(5, 1), 0xffff_ffff_ffff_ffff),
        (id(5, 4), 0xffff_ffff),
        (id(6, 0), 0x1221_1111_1131_1220 | 1 << 24),
        (id(6, 1), 0x3112_1211_1135_1602),
        (id(6, 2), 0x1111_0111_1111_6112),
        (id(6, 3), 0xffff_ffff_ffff_ffff),
        (id(7, 0), 0x2211_1333_1121_1126 | 1 << 28),
        (id(7, 1), 0x1111_1131_1131_2123),
        (id(7, 2), 0x1221_1111_1211_1111),
        (id(7, 3), 0xffff_ffff_ffff_ffff),
        (id(7, 4), 0xffff_ffff_ffff_ffff),
    ]);
    raw
}

fn field(regs: &IdRegs, crm: u32, op2: u32, shift: u32) -> u64 {
    regs.read(id(crm, op2)) >> shift & 15
}

/// Checks all registers of the ID space: those not in `want` read zero.
fn check(regs: &IdRegs, want: &Raw) {
    for (crm, op2) in (0..8).flat_map(|crm| (0..8).map(move |op2| (crm, op2))) {
        let reg = id(crm, op2);
        let want = want.get(&reg).copied().unwrap_or(0);
        assert_eq!(regs.read(reg), want, "CRm {crm}, op2 {op2}: {:#018x}", regs.read(reg));
    }
}

#[test]
fn a_cortex_a72_keeps_what_it_is_but_its_upper_levels() {
    let mut want = cortex_a72();
    want.extend(raw(&[((1, 1), 0x1001_0001), ((4, 0), 0x0100_0012), ((7, 0), 0x0000_0122)]));
    check(&filter(&cortex_a72()), &want);
}

#[test]
fn of_cpu_max_only_what_the_table_names_is_left() {
    let mut want = cpu_max();
    want.extend(raw(&[
        ((1, 0), 0x0101_0131),
        ((1, 1), 0x1001_0001),
        ((1, 2), 0x0600_0009),
        ((2, 6), 0x0002_1010),
        ((3, 5), 0),
        ((3, 6), 0x0000_0001),
        ((4, 0), 0x1101_0000_0111_0012),
        ((4, 1), 0x0000_0021),
        ((4, 4), 0),
        ((4, 5), 0),
        ((5, 0), 0x1030_5609),
        ((6, 2), 0x0010_0012),
        ((7, 0), 0x1000_0000_0010_0122),
        ((7, 1), 0x0000_1020_0030_2002),
        ((7, 2), 0x1021_0011_1001_0011),
        ((7, 3), 0),
    ]));
    check(&filter(&cpu_max()), &want);
}

#[test]
fn of_a_neoverse_n2_only_what_the_table_names_is_left() {
    let mut want = neoverse_n2();
    want.extend(raw(&[
        ((1, 0), 0x0101_0131),
        ((2, 6), 0x0102_1010),
        ((4, 0), 0x1101_0000_0111_0012),
        ((4, 1), 0x0000_0021),
        ((4, 4), 0),
        ((7, 0), 0x0010_0122),
        ((7, 1), 0x0020_2002),
        ((7, 2), 0x1021_0011_1010_0011),
    ]));
    check(&filter(&neoverse_n2()), &want);
}

#[test]
fn a_core_with_everything_shows_nothing_that_needs_a_hypervisor() {
    let regs = filter(&everything());
    let hidden = [
        ((4, 0), [8, 12, 28, 32, 36, 40, 44, 52].as_slice()),
        ((4, 1), &[8, 12, 16, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]),
        ((5, 0), &[4, 16, 24, 32, 40, 44, 48, 52, 56, 60]),
        ((6, 0), &[24]),
        ((6, 1), &[60]),
        ((6, 2), &[16, 32, 36, 40, 56, 60]),
        ((7, 0), &[12, 32, 36, 40, 56]),
        ((7, 1), &[4, 8, 16, 24, 28, 32, 40, 52, 56]),
        ((7, 2), &[12, 24, 40, 56]),
    ];
    for ((crm, op2), shifts) in hidden {
        for &shift in shifts {
            assert_eq!(field(&regs, crm, op2, shift), 0, "CRm {crm}, op2 {op2}, bit {shift}");
        }
    }
    for (crm, op2) in [(4, 2), (4, 4), (4, 5), (4, 7), (5, 1), (5, 4), (6, 3), (7, 3), (7, 4)] {
        assert_eq!(regs.read(id(crm, op2)), 0, "CRm {crm}, op2 {op2}");
    }
}

#[test]
fn a_core_with_everything_keeps_what_works_without_help() {
    let regs = filter(&everything());
    assert_eq!(field(&regs, 4, 0, 24), 1, "GIC system registers");
    assert_eq!((field(&regs, 4, 0, 16), field(&regs, 4, 0, 20)), (1, 1), "FP");
    assert_eq!((field(&regs, 4, 0, 56), field(&regs, 4, 0, 60)), (1, 1), "CSV2, CSV3");
    assert_eq!((field(&regs, 5, 0, 0), field(&regs, 5, 0, 8)), (9, 6), "debug, PMU");
    assert_eq!(
        (field(&regs, 5, 0, 12), field(&regs, 5, 0, 20)),
        (5, 3),
        "breakpoints, watchpoints"
    );
    assert_eq!((field(&regs, 6, 0, 20), field(&regs, 6, 0, 60)), (3, 1), "atomics, RNDR");
    assert_eq!(field(&regs, 6, 1, 8), 5, "pointer authentication");
    assert_eq!((field(&regs, 7, 0, 0), field(&regs, 7, 0, 28)), (2, 0), "physical addresses");
    assert_eq!(field(&regs, 7, 1, 20), 3, "PAN");
}

#[test]
fn fields_where_15_means_none_keep_it() {
    let regs =
        filter(&raw(&[((4, 0), 0x00ff_0011), ((5, 0), 0xf0_0000_0f06), ((7, 0), 0xff00_0000)]));
    assert_eq!(regs.read(id(4, 0)), 0x00ff_0011);
    assert_eq!(regs.read(id(5, 0)), 0xf0_0000_0006, "a PMU of the maker's own is hidden");
    assert_eq!(regs.read(id(7, 0)), 0xff00_0000);
}

#[test]
fn without_aarch32_its_registers_are_zero() {
    let mut core = cortex_a72();
    core.insert(id(4, 0), 0x0100_1111);
    let regs = filter(&core);
    for crm in 1..4 {
        for op2 in 0..8 {
            assert_eq!(regs.read(id(crm, op2)), 0);
        }
    }
    assert_ne!(regs.read(id(5, 0)), 0);
}

#[test]
fn no_value_of_the_core_passes_where_the_table_does_not_let_it() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..50 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let core = |reg: SysReg| (seed ^ u64::from(reg.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let regs = IdRegs::from_hw(core);
        for place in 0..64u8 {
            let (crm, op2) = (u32::from(place) / 8, u32::from(place) % 8);
            for shift in (0..64).step_by(4) {
                let seen = field(&regs, crm, op2, shift) as u8;
                let row =
                    table::FIELDS.iter().find(|f| (f.place, u32::from(f.shift)) == (place, shift));
                match row.map(|row| row.policy) {
                    None | Some(Policy::Hide) => assert_eq!(seen, 0),
                    Some(Policy::UpTo(most) | Policy::Standard(most)) => assert!(seen <= most),
                    Some(Policy::Signed(most)) => assert!(seen <= most || seen == 15),
                    Some(Policy::Any) => {}
                }
            }
        }
    }
}

#[test]
fn no_field_is_named_twice_and_registers_stay_together() {
    let mut seen = BTreeSet::new();
    let mut places = BTreeSet::new();
    let mut current = u8::MAX;
    for field in table::FIELDS {
        assert!(field.place < 64 && field.shift % 4 == 0 && field.shift < 64);
        assert!(seen.insert((field.place, field.shift)), "{field:?}");
        if field.place != current {
            assert!(places.insert(field.place), "{field:?}");
            current = field.place;
        }
    }
}

#[test]
fn the_id_space_is_told_from_all_others() {
    for crm in 0..16 {
        for op2 in 0..8 {
            assert_eq!(contains(SysReg::new(3, 0, 0, crm, op2)), crm < 8);
            for (op0, op1, crn) in [(2, 0, 0), (3, 3, 0), (3, 0, 1), (3, 0, 12), (1, 0, 0)] {
                assert!(!contains(SysReg::new(op0, op1, crn, crm, op2)));
            }
        }
    }
}
