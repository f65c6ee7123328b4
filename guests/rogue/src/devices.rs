//! Devices, touched in every way but the right one.

use tessera_rt::gic::v2::{GICC, GICC_SIZE, GICD_SIZE, SPENDSGIR};
use tessera_rt::gic::v3::{GICR, STRIDE};
use tessera_rt::gic::{self, GICD};
use tessera_rt::mmio::{read8, read16, read32, read64, write8, write16, write32, write64};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::{Machine, cpu, exec};

use crate::storms;
use crate::tally::Tally;

const UART: u64 = 0x0900_0000;
/// What is written to the UART: as data it is a space, as control it switches nothing off.
pub const BLANK: u64 = 0x0320_0320_0320_0320;
const RANDOM_WRITES: u64 = 20_000;
/// Not on bare QEMU: GICR_CTLR lets its redistributor walk tables at random places.
const GICR_CTLR: u64 = 0;

/// The devices: first register, bytes.
fn devices(machine: &Machine) -> impl Iterator<Item = (u64, u64)> {
    let virtio = machine.virtio();
    let window = virtio.get(1).map_or(0x1000, |second| second.base.abs_diff(virtio[0].base));
    controller(machine)
        .into_iter()
        .chain([(UART, 0x1000)])
        .chain(machine.watchdog.into_iter().flatten().map(|page| (page, 0x1000)))
        .chain(virtio.iter().map(move |node| (node.base, window.min(0x1000))))
}

/// One of the devices but for the UART: first register, bytes that have registers.
pub fn any(machine: &Machine, dice: &mut Tally) -> (u64, u64) {
    let [first, second] = controller(machine);
    let virtio = machine.virtio();
    match (dice.below(8), machine.watchdog) {
        (0 | 1, _) => first,
        (2 | 3, _) => second,
        // Set up at random it may well end the guest before the program does.
        (4, Some(pages)) => (pages[dice.below(2) as usize], 0x1000),
        _ if virtio.is_empty() => first,
        _ => (virtio[dice.below(virtio.len() as u64) as usize].base, 0x200),
    }
}

/// Switches the watchdog off, where there is one.
pub fn stop_watchdog(machine: &Machine) {
    /// WCS of its control page (DEN0094, "Watchdog register frames").
    const WCS: u64 = 0;
    if let Some([control, _]) = machine.watchdog {
        write32(control + WCS, 0);
    }
}

/// The two windows of the interrupt controller: first register, bytes.
pub fn controller(machine: &Machine) -> [(u64, u64); 2] {
    if gic::is_v2() {
        return [(GICD, GICD_SIZE), (GICC, GICC_SIZE)];
    }
    [(GICD, 0x1_0000), (GICR, machine.cpus().len() as u64 * STRIDE)]
}

/// Attack 9.
pub fn sizes(machine: &Machine, tally: &mut Tally) {
    for (base, bytes) in devices(machine) {
        // Every register at the start, then a sample: a page of reserved registers is like the next.
        for offset in (0..bytes).filter(|at| *at < 0x200 || at % 0xf4 < 4 || bytes - at <= 16) {
            let at = base + offset;
            tally.step(|| read8(at));
            tally.step(|| read16(at));
            tally.step(|| read32(at));
            tally.step(|| read64(at));
            let value = if base == UART { BLANK } else { tally.random() };
            if base == GICR && at & 0xffff == GICR_CTLR && !machine.tessera {
                continue;
            }
            tally.step(|| write8(at, value as u8));
            tally.step(|| write16(at, value as u16));
            tally.step(|| write32(at, value as u32));
            tally.step(|| write64(at, value));
        }
        if base == GICD || base == GICC {
            gic::init_distributor();
            gic::init_cpu();
        }
    }
    tessera_rt::console::init();
}

/// Instructions on [x0] that a syndrome does not describe, or that are more than a load or store.
pub const ODD: [u32; 30] = [
    0xa940_0801, // ldp x1, x2, [x0]
    0x2940_0801, // ldp w1, w2, [x0]
    0xa900_0801, // stp x1, x2, [x0]
    0xa8c1_0801, // ldp x1, x2, [x0], #16
    0x6940_0801, // ldpsw x1, x2, [x0]
    0xf840_8401, // ldr x1, [x0], #8
    0xf840_8c01, // ldr x1, [x0, #8]!
    0xb800_4401, // str w1, [x0], #4
    0xc85f_7c01, // ldxr x1, [x0]
    0xc85f_fc01, // ldaxr x1, [x0]
    0x885f_7c01, // ldxr w1, [x0]
    0xc87f_0801, // ldxp x1, x2, [x0]
    0xc803_7c01, // stxr w3, x1, [x0]
    0xc8df_fc01, // ldar x1, [x0]
    0xc89f_fc01, // stlr x1, [x0]
    0x88df_fc01, // ldar w1, [x0]
    0xf821_0002, // ldadd x1, x2, [x0]
    0xc8e1_fc02, // casal x1, x2, [x0]
    0x3dc0_0000, // ldr q0, [x0]
    0x3d80_0000, // str q0, [x0]
    0xad40_0400, // ldp q0, q1, [x0]
    0x4c40_7000, // ld1 {v0.16b}, [x0]
    0x0d40_8000, // ld1 {v0.s}[0], [x0]
    0xf840_0801, // ldtr x1, [x0]
    0x3980_0001, // ldrsb x1, [x0]
    0x7980_0001, // ldrsh x1, [x0]
    0xf980_0000, // prfm pldl1keep, [x0]
    0xd50b_7420, // dc zva, x0
    0xd50b_7e20, // dc civac, x0
    0xd508_7620, // dc ivac, x0
];

/// Attack 10: each device with its own attributes and as normal memory, aligned and not, and across its end.
pub fn odd(machine: &Machine, tally: &mut Tally) {
    for (base, bytes) in devices(machine) {
        let last = (base + bytes - 1) & !0xfff;
        for page in [base & !0xfff, last] {
            for kind in [Kind::Device, Kind::NonCacheable, Kind::Normal] {
                let va = mmu::map(page, kind, false);
                for offset in [0x100, 0x18, 0x401, 0xffc, 0xfff] {
                    for instruction in ODD {
                        tally.count(exec::run(instruction, va + offset));
                    }
                }
            }
        }
        gic::init_distributor();
    }
    tessera_rt::console::init();
}

/// Attack 15.
pub fn interrupt_controller(machine: &Machine, tally: &mut Tally) {
    storms::take_all();
    let [(distributor, bytes), (second, second_bytes)] = controller(machine);
    for round in 0..RANDOM_WRITES {
        let value = tally.random();
        let offset = tally.below(bytes) & !3;
        let near = if tally.below(2) == 0 { offset & 0xfff } else { offset };
        if machine.tessera || !gic::is_v2() || near & !0xf != SPENDSGIR {
            tally.step(|| write32(distributor + near, value as u32));
        }
        let page = tally.below(second_bytes / 0x1000) * 0x1000;
        let other = second + page + (tally.below(0x1000) & !3);
        // On bare QEMU the first frames of redistributors have the tables of LPIs.
        if machine.tessera || gic::is_v2() || other & 0x1_0000 != 0 {
            tally.step(|| write32(other, (value >> 32) as u32));
            tally.step(|| read32(other));
        }
        tally.step(|| read32(distributor + near));
        if round % 64 == 0 {
            cpu::with_irqs(|| ());
        }
    }
    storms::still_works(tally);
}
