//! What a GICv3 alone has (IHI 0069 12.8 to 12.11).

use tessera_rt::gic::v3::{GICR, IROUTER, PIDR2, SGI_FRAME, STRIDE, WAKER, redistributor};
use tessera_rt::gic::{CTLR, GICD, IGROUPR, ISENABLER, TYPER};
use tessera_rt::mmio::{read32, read64, write32, write64};
use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, mrs};

use super::{FREE_PPI, FREE_SPI};

/// Runs the tests.
pub fn run(machine: &Machine) {
    identity(machine);
    [3, FREE_PPI, FREE_SPI].into_iter().for_each(group);
    routing(machine);
    redistributors(machine);
    cpu_interface();
}

/// Bits of a priority that the CPU interface has.
pub fn priority_bits() -> u64 {
    (mrs!("ICC_CTLR_EL1") >> 8 & 7) + 1
}

fn identity(machine: &Machine) {
    equal("the tree has the redistributors where they are", machine.gic_windows[1].0, GICR);
    if machine.tessera {
        equal("typer says no lpis", read32(GICD + TYPER) >> 17 & 1, 0);
    }
    check("typer has at least 10 bits of intid", read32(GICD + TYPER) >> 19 & 0x1f >= 9);
    equal("distributor is architecture 3", read32(GICD + PIDR2) >> 4 & 0xf, 3);
    equal("redistributor is architecture 3", read32(GICR + PIDR2) >> 4 & 0xf, 3);
    let control = read32(GICD + CTLR);
    equal("affinity routing and group 1 are on", control & 0x12, 0x12);
    equal("no write is pending", control >> 31, 0);
}

fn group(intid: u32) {
    let (at, mask) = gic::bit(IGROUPR, intid);
    check("the group can be read", read32(at) & mask != 0);
}

fn routing(machine: &Machine) {
    let at = GICD + IROUTER + u64::from(FREE_SPI) * 8;
    let last = machine.cpus().last().copied().unwrap_or(0);
    write64(at, last);
    equal("a route can be read", read64(at), last);
    write64(at, 1 << 31);
    check("any-cpu routing is kept or ignored", read64(at) & !(1 << 31) == 0);
    write64(at, machine.cpus()[0]);
    equal("both halves of a route", u64::from(read32(at)) | u64::from(read32(at + 4)) << 32, 0);
}

fn redistributors(machine: &Machine) {
    let count = machine.cpus().len() as u64;
    for (number, affinity) in (0..).zip(machine.cpus()) {
        let base = GICR + number * STRIDE;
        let typer = read64(base + 8);
        let packed = (affinity >> 8 & 0xff00_0000) | affinity & 0xff_ffff;
        equal("redistributor's affinity", typer >> 32, packed);
        equal("redistributor's number", typer >> 8 & 0xffff, number);
        equal(
            "only the last redistributor is the last",
            typer >> 4 & 1,
            u64::from(number + 1 == count),
        );
        check("redistributor's iidr", read32(base + 4) & 0xfff != 0);
        equal("typer's halves", read32(base + 12), (typer >> 32) as u32);
    }
    let mine = redistributor(cpu::affinity()).unwrap_or(GICR);
    equal("this redistributor is awake", read32(mine + WAKER) & 6, 0);
    equal("no lpis are enabled", read32(mine + CTLR) & 1, 0);
    let enabled = read32(mine + SGI_FRAME + ISENABLER);
    write32(mine + SGI_FRAME + ISENABLER, 0);
    equal("a write of 0 enables nothing", read32(mine + SGI_FRAME + ISENABLER), enabled);
}

fn cpu_interface() {
    equal("system registers are on", mrs!("ICC_SRE_EL1") & 1, 1);
    check("5 bits of priority or more", mrs!("ICC_CTLR_EL1") >> 8 & 7 >= 4);
    equal("pmr keeps its value", mrs!("ICC_PMR_EL1"), 0xf0);
    equal("group 1 is on", mrs!("ICC_IGRPEN1_EL1"), 1);
    equal("nothing runs", mrs!("ICC_RPR_EL1"), 0xff);
    equal("nothing pends", mrs!("ICC_HPPIR1_EL1"), 1023);
    equal("nothing is acknowledged", mrs!("ICC_IAR1_EL1"), 1023);
    equal("nor in group 0", mrs!("ICC_IAR0_EL1"), 1023);
}
