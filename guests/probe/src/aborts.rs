//! Addresses where nothing is: a synchronous external abort, for data, fetches and table walks, that says what and where.

use tessera_rt::gic::{GICD, v2, v3};
use tessera_rt::mmio::{read8, read16, read32, read64, write8, write16, write32, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::report::{check, same, tessera_only};
use tessera_rt::trap::{EC_DATA, EC_FETCH, FSC_EXTERNAL, Fault, attempt};
use tessera_rt::{Machine, cpu, exec, gic, mrs, msr, println};

/// Fault status of an external abort on a walk, without its level.
const FSC_WALK: u64 = 0x14;
/// Where nothing is on either machine, but for ends of RAM and of the address space.
const NOWHERE: u64 = 0x0b00_0000;

/// Runs the tests.
pub fn run(machine: &Machine) {
    for pa in holes(machine).into_iter().flatten() {
        println!("# at {pa:#x}");
        loads_and_stores(pa);
    }
    pairs();
    fetches(machine);
    walks();
    if tessera_only(machine, "gaps between the devices") {
        gaps(machine);
    }
}

/// Physical addresses where there is nothing.
fn holes(machine: &Machine) -> [Option<u64>; 8] {
    let tessera = |pa| machine.tessera.then_some(pa);
    let top = 1 << mmu::pa_bits();
    [
        Some(NOWHERE),
        Some(machine.ram_end()),
        Some((1 << 39) - 0x1000),
        tessera(top - 0x1000),
        tessera(0),
        tessera(0x1000_0000),
        tessera(machine.ram_base - 0x1000),
        tessera(top / 2),
    ]
}

/// What matters of a fault: class, status, direction, address, and that the instruction was 32 bits long.
fn told(fault: Fault) -> (u64, u64, bool, u64, u64) {
    (fault.class(), fault.status(), fault.is_write(), fault.far, fault.esr >> 25 & 1)
}

fn data<T>(what: &str, got: Result<T, Fault>, status: u64, write: bool, va: u64) {
    same(what, got.map(|_| ()).map_err(told), Err((EC_DATA, status, write, va, 1)));
}

fn fetch(what: &str, got: Result<u64, Fault>, status: u64, va: u64) {
    same(what, got.map_err(|f| (told(f), f.elr)), Err(((EC_FETCH, status, false, va, 1), va)));
}

fn loads_and_stores(pa: u64) {
    let va = mmu::map(pa, Kind::Device, false);
    data("an 8-bit load aborts", attempt(|| read8(va + 8)), FSC_EXTERNAL, false, va + 8);
    data("a 16-bit load aborts", attempt(|| read16(va + 8)), FSC_EXTERNAL, false, va + 8);
    data("a 32-bit load aborts", attempt(|| read32(va + 8)), FSC_EXTERNAL, false, va + 8);
    data("a 64-bit load aborts", attempt(|| read64(va + 8)), FSC_EXTERNAL, false, va + 8);
    data("an 8-bit store aborts", attempt(|| write8(va + 8, 1)), FSC_EXTERNAL, true, va + 8);
    data("a 16-bit store aborts", attempt(|| write16(va + 8, 1)), FSC_EXTERNAL, true, va + 8);
    data("a 32-bit store aborts", attempt(|| write32(va + 8, 1)), FSC_EXTERNAL, true, va + 8);
    data("a 64-bit store aborts", attempt(|| write64(va + 8, 1)), FSC_EXTERNAL, true, va + 8);
    let cached = mmu::map(pa, Kind::Normal, false);
    data("a cached load aborts", attempt(|| read64(cached)), FSC_EXTERNAL, false, cached);
}

/// Instructions whose syndrome does not describe them.
fn pairs() {
    let va = mmu::map(NOWHERE, Kind::Device, false);
    let run = |instruction| exec::run(instruction, va);
    data("ldp x1, x2, [x0] aborts", run(0xa940_0801), FSC_EXTERNAL, false, va);
    data("stp x1, x2, [x0] aborts", run(0xa900_0801), FSC_EXTERNAL, true, va);
    data("ldr x1, [x0], #8 aborts", run(0xf840_8401), FSC_EXTERNAL, false, va);
    data("ldxr x1, [x0] aborts", run(0xc85f_7c01), FSC_EXTERNAL, false, va);
}

fn fetches(machine: &Machine) {
    let va = mmu::map(NOWHERE, Kind::Normal, true);
    fetch("a fetch from nowhere aborts", exec::call(va + 16, 0), FSC_EXTERNAL, va + 16);
    let va = mmu::map(machine.ram_end(), Kind::Normal, true);
    fetch("a fetch from behind ram aborts", exec::call(va, 0), FSC_EXTERNAL, va);
    if tessera_only(machine, "a fetch from a device aborts") {
        let va = mmu::map(0x0900_0000, Kind::Normal, true);
        fetch("a fetch from a device aborts", exec::call(va, 0), FSC_EXTERNAL, va);
    }
}

/// Tables of the guest's own that point to where nothing is.
fn walks() {
    let table = NOWHERE | 3;
    mmu::set_level1(65, table);
    let va = 65 << 30;
    data("a level 2 table nowhere", attempt(|| read64(va)), FSC_WALK | 2, false, va);
    data("the same for a store", attempt(|| write64(va, 0)), FSC_WALK | 2, true, va);
    fetch("the same for a fetch", exec::call(va, 0), FSC_WALK | 2, va);
    mmu::set_level1(65, 0);
    mmu::set_level2(1, table);
    let va = mmu::level2_va(1);
    data("a level 3 table nowhere", attempt(|| read64(va)), FSC_WALK | 3, false, va);
    mmu::set_level2(1, 0);
    first_level_nowhere();
    check("the cpu goes on", attempt(|| ()).is_ok());
}

/// TTBR1_EL1 points nowhere for a moment; nothing of ours is up there.
fn first_level_nowhere() {
    let tcr = mrs!("tcr_el1");
    msr!("ttbr1_el1", NOWHERE);
    // T1SZ = 25, TG1 = 4 KiB, cacheable walks, EPD1 off.
    msr!("tcr_el1", tcr & !(1 << 23) | 25 << 16 | 0b10 << 30 | 1 << 24 | 1 << 26 | 3 << 28);
    mmu::flush();
    let va = 0xffff_ff80_0000_0000;
    data("a level 1 table nowhere", attempt(|| read64(va)), FSC_WALK | 1, false, va);
    msr!("tcr_el1", tcr);
    mmu::flush();
    cpu::isb();
}

fn gaps(machine: &Machine) {
    let cpus = machine.cpus().len() as u64;
    let controller = if gic::is_v2() {
        [GICD + v2::GICD_SIZE, v2::GICC + v2::GICC_SIZE]
    } else {
        [GICD + 0x1_0000, v3::GICR + cpus * v3::STRIDE]
    };
    for (what, pa) in [
        ("behind the distributor", controller[0]),
        ("behind the cpu interface or the last redistributor", controller[1]),
        ("behind the uart", 0x0900_1000),
        ("behind the last virtio window", 0x0a00_9000),
    ] {
        let va = mmu::map(pa, Kind::Device, false);
        data(what, attempt(|| read32(va)), FSC_EXTERNAL, false, va);
    }
}
