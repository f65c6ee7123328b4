//! Addresses that are not the guest's: loads, stores, fetches and its own table walks.

use tessera_rt::gic::{self, GICD, v2, v3};
use tessera_rt::mmio::{read8, read32, read64, write8, write32, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::trap::{EC_DATA, EC_FETCH, FSC_EXTERNAL, attempt};
use tessera_rt::{Machine, exec, mrs, msr};

use crate::tally::Tally;

/// From one place tried to the next: odd, so that all parts of a megabyte come up.
const STRIDE: u64 = (16 << 20) + 0x3000;
/// Physical memory of a board with 8 GiB ends here, EL2's included.
const BOARD_END: u64 = 0x2_8000_0000;
/// What boards have for their hypervisor alone: GICH and GICV of QEMU's `virt`; mailbox, DMA, watchdog, UART and SD host
/// of a Raspberry Pi 4, its local interrupts, and its GICD, GICC, GICH and GICV.
const BOARDS: [u64; 13] = [
    0x0803_0000,
    0x0804_0000,
    0xfe00_7000,
    0xfe00_b000,
    0xfe10_0000,
    0xfe20_1000,
    0xfe21_5000,
    0xfe34_0000,
    0xff80_0000,
    0xff84_1000,
    0xff84_2000,
    0xff84_4000,
    0xff84_6000,
];
/// TCR_EL1.EPD1 and what the upper half needs instead: T1SZ = 25, 4 KiB, cacheable.
const EPD1: u64 = 1 << 23;
const UPPER: u64 = 25 << 16 | 0b10 << 30 | 1 << 24 | 1 << 26 | 3 << 28;
const UPPER_VA: u64 = 0xffff_ff80_0000_0000;

/// The windows of the guest's devices, first and last byte.
fn devices() -> [(u64, u64); 4] {
    let [first, second] = if gic::is_v2() {
        [(GICD, GICD + v2::GICD_SIZE - 1), (v2::GICC, v2::GICC + v2::GICC_SIZE - 1)]
    } else {
        [(GICD, GICD + 0xffff), (v3::GICR, 0x0819_ffff)]
    };
    [first, second, (0x0900_0000, 0x0900_0fff), (0x0a00_0000, 0x0a00_7fff)]
}

/// Pages that are neither RAM nor a device of this guest.
fn places(machine: &Machine) -> impl Iterator<Item = u64> + use<> {
    let (start, end) = (machine.ram_base, machine.ram_end());
    let devices = devices();
    let behind = [devices[0].1 + 1, devices[1].1 + 1];
    let around =
        [0, 0x1000, start - 0x1000, end, end + 0x1000, end + (2 << 20), 0xffff_f000, 1 << 32];
    let mine = move |at: &u64| {
        (start..end).contains(at) || devices.iter().any(|(a, z)| (a & !0xfff..=*z).contains(at))
    };
    around
        .into_iter()
        .chain(behind)
        .chain(BOARDS)
        .chain((0..BOARD_END).step_by(STRIDE as usize).map(|at| at & !0xfff))
        .filter(move |at| !mine(at))
}

/// Attack 1.
pub fn reads(machine: &Machine, tally: &mut Tally) {
    for pa in places(machine) {
        let va = mmu::map(pa, Kind::Device, false);
        tally.must_fault("a load", pa, EC_DATA, FSC_EXTERNAL, attempt(|| read64(va)));
        tally.must_fault("a load", pa, EC_DATA, FSC_EXTERNAL, attempt(|| read8(va + 0xfff)));
        let va = mmu::map(pa, Kind::Normal, false);
        tally.must_fault("a cached load", pa, EC_DATA, FSC_EXTERNAL, attempt(|| read32(va + 4)));
    }
}

/// Attack 2.
pub fn writes(machine: &Machine, tally: &mut Tally) {
    if !machine.tessera {
        return; // Without a hypervisor there are real devices out there.
    }
    for pa in places(machine) {
        let va = mmu::map(pa, Kind::Device, false);
        tally.must_fault("a store", pa, EC_DATA, FSC_EXTERNAL, attempt(|| write64(va, u64::MAX)));
        tally.must_fault(
            "a store",
            pa,
            EC_DATA,
            FSC_EXTERNAL,
            attempt(|| write8(va + 0xfff, 0xff)),
        );
        let va = mmu::map(pa, Kind::NonCacheable, false);
        tally.must_fault("a store", pa, EC_DATA, FSC_EXTERNAL, attempt(|| write32(va + 4, 1)));
    }
}

/// Attack 3. Beyond the physical addresses that the CPU has it is the guest's own address size fault.
pub fn huge(_: &Machine, tally: &mut Tally) {
    for bit in 34..48 {
        for pa in
            [1 << bit, (1 << bit) - 0x1000, (1 << bit) | 0x4000_0000, (1 << bit) | 0x0900_0000]
        {
            let va = mmu::map(pa, Kind::Device, true);
            if pa >> mmu::pa_bits() == 0 {
                tally.must_fault("a load", pa, EC_DATA, FSC_EXTERNAL, attempt(|| read32(va)));
                tally.must_fault("a store", pa, EC_DATA, FSC_EXTERNAL, attempt(|| write32(va, 0)));
            } else {
                tally.step(|| read32(va));
                tally.step(|| write32(va, 0));
            }
            tally.count(exec::call(va, 0));
        }
    }
}

/// Attack 4.
pub fn jumps(machine: &Machine, tally: &mut Tally) {
    for pa in places(machine).filter(|_| machine.tessera) {
        let va = mmu::map(pa, Kind::Normal, true);
        tally.must_fault("a fetch", pa, EC_FETCH, FSC_EXTERNAL, exec::call(va + 0x100, 0));
    }
    if machine.tessera {
        for (first, last) in devices() {
            for pa in [first, last & !0xfff] {
                let va = mmu::map(pa, Kind::Normal, true);
                tally.must_fault("a fetch", pa, EC_FETCH, FSC_EXTERNAL, exec::call(va, 0));
            }
        }
    }
    for va in [0, 2, 0x7f_ffff_fffc, !3, 1 << 47, 0xdead_beef_0000_0000] {
        if va != 0 || machine.tessera {
            tally.count(exec::call(va, 0));
        }
    }
}

/// Attack 5: the tables of the upper half lie in devices, in holes, behind RAM and in places that are all ones.
pub fn tables(machine: &Machine, tally: &mut Tally) {
    let tcr = mrs!("tcr_el1");
    let updates = if mrs!("id_aa64mmfr1_el1") & 0xf >= 2 { 3 << 39 } else { 0 }; // HA, HD
    let top = 1 << mmu::pa_bits();
    let places =
        [GICD, v2::GICC, 0x0900_0000, 0x0a00_0000, 0x0b00_0000, machine.ram_end(), top - 0x1000];
    for table in places {
        msr!("ttbr1_el1", table);
        msr!("tcr_el1", tcr & !EPD1 | UPPER | updates);
        mmu::flush();
        tally.step(|| read64(UPPER_VA));
        tally.step(|| write64(UPPER_VA + 0x4000_0000, 0));
        tally.count(exec::call(UPPER_VA + 0x1000, 0));
        tally.step(|| at_s1e1r(UPPER_VA));
        msr!("tcr_el1", tcr);
        mmu::flush();
        mmu::set_level1(65, table | 3);
        tally.step(|| read64(65 << 30));
        tally.step(|| at_s1e1r(65 << 30));
        mmu::set_level2(1, table | 3);
        tally.step(|| write64(mmu::level2_va(1), 0));
        tally.count(exec::call(mmu::level2_va(1), 0));
    }
    mmu::set_level1(65, 0);
    mmu::set_level2(1, 0);
    scrambled(tally);
}

/// Descriptors of random bits in the window.
fn scrambled(tally: &mut Tally) {
    for slot in 0..500 {
        // Not into RAM: there it could hit the guest itself, which proves nothing.
        let descriptor = tally.random() & !(3 << 30) | 1 << 35;
        let va = mmu::map_raw(slot, descriptor);
        tally.step(|| read64(va));
        tally.step(|| write64(va, 0));
        mmu::map_raw(slot, 0);
    }
}

fn at_s1e1r(va: u64) -> u64 {
    // A fault on the walk may be told in PAR_EL1 or as an exception (DDI 0487 D8.17).
    let _ = exec::run(exec::msr_x0(1, 0, 7, 8, 0), va);
    mrs!("par_el1")
}
