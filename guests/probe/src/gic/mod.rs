//! Registers of the interrupt controller: what they read, and what writes leave in them.

mod v2;
mod v3;

use tessera_rt::gic::{
    CTLR, GICD, ICACTIVER, ICENABLER, ICFGR, ICPENDR, IIDR, IPRIORITYR, ISACTIVER, ISENABLER,
    ISPENDR, TYPER, get, set,
};
use tessera_rt::mmio::{read8, read32, write8, write32};
use tessera_rt::report::{check, equal, same, tessera_only};
use tessera_rt::trap::attempt;
use tessera_rt::{Machine, gic};

/// An SPI that no device has, on either machine.
pub const FREE_SPI: u32 = 40;
/// PPI that no device has.
pub const FREE_PPI: u32 = 24;

/// Runs the tests.
pub fn run(machine: &Machine) {
    identity(machine);
    for intid in [3, FREE_PPI, FREE_SPI] {
        if intid >= 16 || !gic::is_v2() {
            check("enable bits can be set and cleared", toggles(ISENABLER, ICENABLER, intid));
            set(ICENABLER, intid);
            check("pending bits can be set and cleared", toggles(ISPENDR, ICPENDR, intid));
        }
        check("active bits can be set and cleared", toggles(ISACTIVER, ICACTIVER, intid));
        priority(intid);
    }
    set(ISENABLER, 3);
    configuration();
    beyond(machine);
    if gic::is_v2() { v2::run(machine) } else { v3::run(machine) }
}

fn identity(machine: &Machine) {
    same("the interrupt controller was found as reset", machine.gic_not_reset, None);
    equal("the tree has the distributor where it is", machine.gic_windows[0].0, GICD);
    if machine.tessera {
        equal("typer says 64 interrupts", gic::lines(), 64);
    } else {
        check("typer has interrupts", gic::lines() >= 64);
    }
    check("iidr has an implementer", read32(GICD + IIDR) & 0xfff != 0);
    let enabled = gic::group_enable();
    equal("the group in use is on", read32(GICD + CTLR) & enabled, enabled);
    check("reserved registers read 0", read32(GICD + 0x30) == 0 && read32(GICD + 0xf0) == 0);
    let (typer, iidr) = (read32(GICD + TYPER), read32(GICD + IIDR));
    write32(GICD + TYPER, !typer);
    write32(GICD + IIDR, !iidr);
    equal("typer cannot be written", read32(GICD + TYPER), typer);
    equal("nor can iidr", read32(GICD + IIDR), iidr);
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
    let bits = if gic::is_v2() { v2::priority_bits() } else { v3::priority_bits() };
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
