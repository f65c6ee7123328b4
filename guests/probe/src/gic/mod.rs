//! Registers of the interrupt controller (IHI 0069 12.8 to 12.11): what they read, and what writes leave in them.

use tessera_rt::gic::{
    CTLR, GICD, GICR, ICACTIVER, ICENABLER, ICFGR, ICPENDR, IGROUPR, IIDR, IPRIORITYR, IROUTER,
    ISACTIVER, ISENABLER, ISPENDR, PIDR2, SGI_FRAME, STRIDE, TYPER, WAKER, get, set,
};
use tessera_rt::mmio::{read8, read32, read64, write8, write32, write64};
use tessera_rt::report::{check, equal, tessera_only};
use tessera_rt::trap::attempt;
use tessera_rt::{Machine, cpu, gic, mrs};

/// An SPI that no device has, on either machine.
pub const FREE_SPI: u32 = 40;
/// PPI that no device has.
const FREE_PPI: u32 = 24;

/// Runs the tests.
pub fn run(machine: &Machine) {
    identity(machine);
    for intid in [3, FREE_PPI, FREE_SPI] {
        check("enable bits can be set and cleared", toggles(ISENABLER, ICENABLER, intid));
        set(ICENABLER, intid);
        check("pending bits can be set and cleared", toggles(ISPENDR, ICPENDR, intid));
        check("active bits can be set and cleared", toggles(ISACTIVER, ICACTIVER, intid));
        priority(intid);
        group(intid);
    }
    set(ISENABLER, 3);
    configuration();
    routing(machine);
    redistributors(machine);
    beyond(machine);
    cpu_interface();
}

fn identity(machine: &Machine) {
    let lines = 32 * ((read32(GICD + TYPER) & 0x1f) + 1);
    if machine.tessera {
        equal("typer says 64 interrupts", lines, 64);
        equal("typer says no lpis", read32(GICD + TYPER) >> 17 & 1, 0);
    } else {
        check("typer has interrupts", lines >= 64);
    }
    check("typer has at least 10 bits of intid", read32(GICD + TYPER) >> 19 & 0x1f >= 9);
    check("iidr has an implementer", read32(GICD + IIDR) & 0xfff != 0);
    equal("distributor is architecture 3", read32(GICD + PIDR2) >> 4 & 0xf, 3);
    equal("redistributor is architecture 3", read32(GICR + PIDR2) >> 4 & 0xf, 3);
    let control = read32(GICD + CTLR);
    equal("affinity routing and group 1 are on", control & 0x12, 0x12);
    equal("no write is pending", control >> 31, 0);
    check("reserved registers read 0", read32(GICD + 0x30) == 0 && read32(GICD + 0xf0) == 0);
}

/// Whether a bit can be set by one array and cleared by the other, both show it, and writes of 0 do nothing.
fn toggles(set_array: u64, clear_array: u64, intid: u32) -> bool {
    let both = |want| get(set_array, intid) == want && get(clear_array, intid) == want;
    let (set_at, _) = gic::bit(set_array, intid);
    let (clear_at, _) = gic::bit(clear_array, intid);
    set(clear_array, intid);
    let cleared = both(false);
    set(set_array, intid);
    write32(set_at, 0);
    write32(clear_at, 0);
    let was_set = both(true);
    set(clear_array, intid);
    cleared && was_set && both(false)
}

fn priority(intid: u32) {
    let at = gic::frame(intid) + IPRIORITYR + u64::from(intid);
    let bits = (mrs!("ICC_CTLR_EL1") >> 8 & 7) + 1;
    write8(at, 0xff);
    let all = u64::from(read8(at));
    let seen = 0xff << (8 - bits) & 0xff;
    check("a priority has the bits of the cpu interface", all == seen || all == 0xff);
    let word = at & !3;
    write32(word, 0x4020_6080);
    equal("four priorities are a word", read32(word), 0x4020_6080);
    write8(word + 2, 0x90);
    equal("and each is a byte of it", read32(word), 0x4090_6080);
    write32(word, 0xa0a0_a0a0);
}

fn group(intid: u32) {
    let (at, mask) = gic::bit(IGROUPR, intid);
    check("the group can be read", read32(at) & mask != 0);
}

fn configuration() {
    gic::set_edge(FREE_SPI, true);
    let at = GICD + ICFGR + u64::from(FREE_SPI / 16) * 4;
    let shift = FREE_SPI % 16 * 2;
    equal("an spi can be an edge", read32(at) >> shift & 2, 2);
    gic::set_edge(FREE_SPI, false);
    equal("and a level", read32(at) >> shift & 2, 0);
    let sgis = gic::frame(0) + ICFGR;
    write32(sgis, 0);
    equal("sgis are edges for ever", read32(sgis), 0xaaaa_aaaa);
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
    let mine = gic::redistributor(cpu::affinity()).unwrap_or(GICR);
    equal("this redistributor is awake", read32(mine + WAKER) & 6, 0);
    equal("no lpis are enabled", read32(mine + CTLR) & 1, 0);
    let enabled = read32(mine + SGI_FRAME + ISENABLER);
    write32(mine + SGI_FRAME + ISENABLER, 0);
    equal("a write of 0 enables nothing", read32(mine + SGI_FRAME + ISENABLER), enabled);
}

/// Interrupts that the distributor does not have.
fn beyond(machine: &Machine) {
    if !tessera_only(machine, "interrupts beyond the last are zero and ignore writes") {
        return;
    }
    for (array, step) in [(ISENABLER, 8), (ISPENDR, 8), (IPRIORITYR, 64), (ICFGR, 16)] {
        let at = GICD + array + step;
        write32(at, u32::MAX);
        equal("an interrupt beyond the last", read32(at), 0);
    }
    let odd = attempt(|| read32(GICD + ISENABLER + 2));
    check("a misaligned read does no harm", odd.is_ok() || odd.is_err());
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
