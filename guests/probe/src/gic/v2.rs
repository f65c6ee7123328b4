//! What a GICv2 alone has (IHI 0048): registers of the distributor by bytes, and the CPU interface in memory.

use tessera_rt::gic::v2::{
    ABPR, ACK_CTL, AEOIR, AHPPIR, AIAR, APR, BPR, CPENDSGIR, CPU_IIDR, DIR, EOI_MODE, EOIR, FIQ_EN,
    GICC, GICC_SIZE, GICD_SIZE, GROUP0, GROUP1, HPPIR, IAR, ITARGETSR, OTHER_GROUP, PIDR2, RPR,
    SPENDSGIR, change_control,
};
use tessera_rt::gic::{
    CTLR, DEFAULT_MASK, GICD, ICACTIVER, ICENABLER, ICFGR, ICPENDR, IGROUPR, IPRIORITYR, ISENABLER,
    ISPENDR, TYPER, get, set,
};
use tessera_rt::mmio::{read8, read32, write8, write32};
use tessera_rt::mmu::{self, Kind};
use tessera_rt::report::{check, equal, same, skip, tessera_only};
use tessera_rt::trap::{EC_DATA, EC_UNKNOWN, FSC_EXTERNAL, attempt};
use tessera_rt::{Machine, exec, gic, mrs, timer};

use super::{FREE_PPI, FREE_SPI};
use crate::senders::everybody;

/// What acknowledge registers say when there is nothing.
const NONE: u32 = 1023;
/// In the distributor the bits of an SGI's senders, and nothing is behind them.
const SGI: u32 = 6;

/// Runs the tests.
pub fn run(machine: &Machine) {
    identity(machine);
    sgis();
    pending_sgis(machine);
    [FREE_PPI, FREE_SPI].into_iter().for_each(groups);
    arrays();
    targets(machine);
    cpu_interface();
    active_priorities();
    both_groups();
    fast_interrupt();
    no_system_registers();
    nothing_beyond(machine);
}

/// Bits of a priority that the CPU interface has.
pub fn priority_bits() -> u64 {
    let mask = gic::mask() as u8;
    gic::set_mask(0xff);
    let bits = gic::mask().count_ones();
    gic::set_mask(mask);
    u64::from(bits)
}

fn identity(machine: &Machine) {
    let want = [(GICD, GICD_SIZE), (GICC, GICC_SIZE)];
    if machine.tessera {
        same("the tree has both windows", machine.gic_windows, want);
    } else {
        equal("the tree has the cpu interface where it is", machine.gic_windows[1].0, GICC);
    }
    let typer = read32(GICD + TYPER);
    equal("typer has the number of cpus", typer >> 5 & 7, machine.cpus().len() as u32 - 1);
    equal("typer has no security state", typer >> 10 & 1, 0);
    equal("nor lockable interrupts", typer >> 11, 0);
    equal("distributor is architecture 2", read32(GICD + PIDR2) >> 4 & 0xf, 2);
    write32(GICD + CTLR, u32::MAX);
    equal("control has a bit for each group", read32(GICD + CTLR), GROUP0 | GROUP1);
    write32(GICD + CTLR, 0);
    equal("both can be cleared", read32(GICD + CTLR), 0);
    write32(GICD + CTLR, GROUP0);
    equal("and one set", read32(GICD + CTLR), GROUP0);
}

/// SGIs are enabled for ever or not, as the implementation likes (4.3.5), and edges for ever; they pend by registers of
/// their own.
fn sgis() {
    equal("sgis are enabled", read32(GICD + ISENABLER) & 0xffff, 0xffff);
    write32(GICD + ISPENDR, 1 << SGI);
    check("ispendr makes no sgi pending", !get(ISPENDR, SGI));
    equal("and nothing comes", gic::acknowledge(), NONE);
    let sgis = GICD + ICFGR;
    equal("sgis are edges", read32(sgis), 0xaaaa_aaaa);
}

/// The bytes of SPENDSGIR and CPENDSGIR (4.3.16, 4.3.17).
fn pending_sgis(machine: &Machine) {
    let all = everybody(machine);
    let (set_at, clear_at) = (GICD + SPENDSGIR + u64::from(SGI), GICD + CPENDSGIR + u64::from(SGI));
    let both = |want: u8| read8(set_at) == want && read8(clear_at) == want;
    gic::set_mask(0);
    check("no sgi pends", both(0));
    write8(set_at, all);
    check("an sgi can be made pending from every cpu", both(all));
    check("the neighbours are untouched", read8(set_at - 1) == 0 && read8(set_at + 1) == 0);
    check("ispendr shows it", get(ISPENDR, SGI) && get(ICPENDR, SGI));
    write32(GICD + ICPENDR, 1 << SGI);
    check("icpendr does not take it back", both(all));
    write8(set_at, 0);
    write8(clear_at, 0);
    check("zeros do nothing", both(all));
    write8(clear_at, 1);
    check("one sender's can be taken back", both(all & !1));
    let word = GICD + SPENDSGIR + u64::from(SGI & !3);
    write32(word, 0x0100_0101);
    let want = 0x0100_0101 | u32::from(all & !1) << (8 * (SGI % 4));
    equal("four sgis are a word", read32(word), want);
    write32(GICD + CPENDSGIR + u64::from(SGI & !3), u32::MAX);
    check("and all can be taken back", both(0) && read32(word) == 0 && !get(ISPENDR, SGI));
    if tessera_only(machine, "an absent cpu sends no sgi") {
        write8(set_at, !all);
        check("an absent cpu sends no sgi", both(0));
    }
    gic::set_mask(DEFAULT_MASK);
    equal("what was taken back does not come", gic::acknowledge(), NONE);
}

fn groups(intid: u32) {
    let (at, mask) = gic::bit(IGROUPR, intid);
    check("an interrupt is in group 0", read32(at) & mask == 0);
    write32(at, mask);
    equal("it can be put into group 1, alone", read32(at), mask);
    write32(at, 0);
    equal("and back", read32(at), 0);
}

/// Arrays are read and written by words; those of bytes by bytes too (4.1.4).
fn arrays() {
    let at = GICD + IPRIORITYR + u64::from(FREE_SPI);
    write8(at + 1, 0x50);
    equal("a priority's byte", read8(at + 1), 0x50);
    equal("and its word", read32(at), 0xa0a0_50a0);
    write8(at + 1, 0xa0);
    let own = GICD + ITARGETSR;
    let first = read32(own);
    write32(own, !first);
    write8(own + 5, 0);
    equal("targets of sgis and ppis cannot be written", read32(own), first);
}

fn targets(machine: &Machine) {
    let cpus = machine.cpus().len();
    let here = if cpus == 1 { 0 } else { 1 };
    // PPIs of which some GICs have none may read 0 (4.3.12); the timers' are there.
    let own = |intid: u64| read8(GICD + ITARGETSR + intid);
    check("sgis have this cpu as target", (0..16).all(|intid| own(intid) == here));
    check("the timers' ppis too", own(27) == here && own(30) == here);
    let at = GICD + ITARGETSR + u64::from(FREE_SPI);
    if cpus == 1 {
        write8(at, 0xff);
        return equal("with one cpu there are no targets", read8(at), 0);
    }
    let all = everybody(machine);
    for targets in [0, 1, all, 2, all & !1] {
        write8(at, targets);
        equal("targets of an spi can be set", read8(at), targets);
    }
    write32(at & !3, 0x0102_0201);
    equal("four targets are a word", read32(at & !3), 0x0102_0201);
    write8(at + 1, 3);
    equal("and each is a byte of it", read32(at & !3), 0x0102_0301);
    if tessera_only(machine, "an absent cpu is no target") {
        write8(at, 0xff);
        equal("an absent cpu is no target", read8(at), all);
    }
    write32(at & !3, 0x0101_0101);
}

fn cpu_interface() {
    let iidr = read32(GICC + CPU_IIDR);
    equal("the cpu interface is architecture 2", iidr >> 16 & 0xf, 2);
    check("it has an implementer", iidr & 0xfff != 0);
    check("it has 4 bits of priority or more", priority_bits() >= 4);
    equal("pmr keeps its value", gic::mask() as u8, DEFAULT_MASK);
    equal("nothing runs", read32(GICC + RPR), 0xff);
    equal("nothing pends", read32(GICC + HPPIR), NONE);
    equal("nothing is acknowledged", read32(GICC + IAR), NONE);
    if has_aliases() {
        equal("nothing pends in group 1", read32(GICC + AHPPIR), NONE);
        equal("nothing is acknowledged in group 1", read32(GICC + AIAR), NONE);
    }
    let control = read32(GICC + CTLR);
    equal("only group 0 is on", control, GROUP0);
    for bit in [GROUP1, ACK_CTL, FIQ_EN, EOI_MODE] {
        change_control(bit, true);
        equal("a bit of control can be set", read32(GICC + CTLR), control | bit);
        change_control(bit, false);
        equal("and cleared", read32(GICC + CTLR), control);
    }
    binary_points();
    for register in [CPU_IIDR, RPR, HPPIR, AHPPIR, IAR, AIAR] {
        write32(GICC + register, 0);
    }
    equal("what is read only stays", read32(GICC + CPU_IIDR), iidr);
    equal("what is write only reads 0", read32(GICC + DIR) | read32(GICC + EOIR), 0);
}

/// The aliases by which group 1 is taken whatever AckCtl says; QEMU 10 does not model them, and reads 0 for no interrupt.
fn has_aliases() -> bool {
    read32(GICC + AHPPIR) != 0
}

/// The least value depends on the bits of priority (4.4.3, 4.4.8).
fn binary_points() {
    write32(GICC + BPR, 7);
    equal("a binary point can be 7", read32(GICC + BPR), 7);
    write32(GICC + BPR, 0);
    let least = read32(GICC + BPR);
    equal(
        "its least fits the bits of priority",
        least,
        7u32.saturating_sub(priority_bits() as u32),
    );
    write32(GICC + ABPR, 7);
    equal("group 1 has its own", read32(GICC + ABPR), 7);
    equal("and leaves the other", read32(GICC + BPR), least);
    write32(GICC + ABPR, 0);
    // One more than the other's; in QEMU's virtual interface it is 1 whatever the bits.
    check("whose least is more than 0", (1..=least + 1).contains(&read32(GICC + ABPR)));
}

/// GICC_APRn has a bit for each group priority that is active (4.4.12).
fn active_priorities() {
    let all = || (0..4).map(|n| read32(GICC + APR + n * 4).count_ones()).sum::<u32>();
    equal("no priority is active", all(), 0);
    set(ISENABLER, FREE_SPI);
    gic::set_edge(FREE_SPI, true);
    gic::set_priority(FREE_SPI, 0x80);
    set(ISPENDR, FREE_SPI);
    timer::sleep(100);
    equal("an interrupt is acknowledged", gic::acknowledge(), FREE_SPI);
    equal("one is", all(), 1);
    gic::end(FREE_SPI);
    equal("none again", all(), 0);
    gic::set_priority(FREE_SPI, gic::DEFAULT_PRIORITY);
}

/// An interrupt of group 1, with each way to let it through and to take it.
fn both_groups() {
    set(IGROUPR, FREE_SPI);
    let pend = || {
        set(ISPENDR, FREE_SPI);
        timer::sleep(100);
    };
    write32(GICD + CTLR, GROUP0 | GROUP1);
    pend();
    check("group 1 off in the interface does not come", read32(GICC + IAR) >= OTHER_GROUP);
    write32(GICD + CTLR, GROUP0);
    change_control(GROUP1, true);
    timer::sleep(100);
    check("nor off in the distributor", read32(GICC + IAR) >= OTHER_GROUP);
    write32(GICD + CTLR, GROUP0 | GROUP1);
    timer::sleep(100);
    equal("iar says that there is one of the other group", read32(GICC + IAR), OTHER_GROUP);
    equal("hppir too", read32(GICC + HPPIR), OTHER_GROUP);
    alias_takes_it();
    pend();
    change_control(ACK_CTL, true);
    equal("with ackctl iar takes it", gic::acknowledge(), FREE_SPI);
    gic::end(FREE_SPI);
    check("and eoir ends it", !get(ICACTIVER, FREE_SPI));
    change_control(ACK_CTL | GROUP1, false);
    write32(GICD + CTLR, GROUP0);
    write32(gic::bit(IGROUPR, FREE_SPI).0, 0);
}

fn alias_takes_it() {
    if !has_aliases() {
        return skip("the alias of iar takes it", "this machine has none");
    }
    equal("the alias says which", read32(GICC + AHPPIR), FREE_SPI);
    equal("and takes it", read32(GICC + AIAR), FREE_SPI);
    check("it is active", get(ICACTIVER, FREE_SPI));
    write32(GICC + AEOIR, FREE_SPI);
    check("and ends it", !get(ICACTIVER, FREE_SPI) && read32(GICC + RPR) == 0xff);
}

/// Group 0 as FIQ, which is masked here; ISR_EL1 tells.
fn fast_interrupt() {
    let waits = || mrs!("isr_el1") & 0xc0;
    change_control(FIQ_EN, true);
    set(ISPENDR, FREE_SPI);
    timer::sleep(100);
    equal("with fiqen group 0 is a fiq", waits(), 0x40);
    change_control(FIQ_EN, false);
    timer::sleep(100);
    equal("without it is an irq", waits(), 0x80);
    equal("and taken", gic::acknowledge(), FREE_SPI);
    gic::end(FREE_SPI);
    set(ICENABLER, FREE_SPI);
    equal("then nothing waits", waits(), 0);
}

/// The CPU interface is in memory; the CPU's own is not to be had (DDI 0487 D24.12).
fn no_system_registers() {
    for (what, instruction) in [
        ("icc_iar1_el1 is undefined", exec::mrs_x0(3, 0, 12, 12, 0)),
        ("icc_eoir1_el1 is undefined", exec::msr_x0(3, 0, 12, 12, 1)),
        ("icc_hppir0_el1 is undefined", exec::mrs_x0(3, 0, 12, 8, 2)),
        ("icc_ap1r0_el1 is undefined", exec::mrs_x0(3, 0, 12, 9, 0)),
        ("icc_ctlr_el1 is undefined", exec::mrs_x0(3, 0, 12, 12, 4)),
        ("icc_sre_el1 is undefined", exec::mrs_x0(3, 0, 12, 12, 5)),
        ("icc_pmr_el1 is undefined", exec::mrs_x0(3, 0, 4, 6, 0)),
        ("icc_sgi1r_el1 is undefined", exec::msr_x0(3, 0, 12, 11, 5)),
        ("icc_dir_el1 is undefined", exec::msr_x0(3, 0, 12, 11, 1)),
    ] {
        same(what, exec::run(instruction, 0).map_err(|fault| fault.class()), Err(EC_UNKNOWN));
    }
}

/// Pages beside the two windows, and where boards have what is the hypervisor's: GICH, GICV.
fn nothing_beyond(machine: &Machine) {
    let boards = [0x0803_0000, 0x0804_0000];
    let tessera = [0x0802_0000, 0x080a_0000, 0xff84_1000, 0xff84_2000, 0xff84_4000, 0xff84_6000];
    let more = if machine.tessera { &tessera[..] } else { &[] };
    for pa in [GICD + GICD_SIZE, GICC + GICC_SIZE].iter().chain(&boards).chain(more) {
        let va = mmu::map(*pa, Kind::Device, false);
        let got = attempt(|| read32(va)).map_err(|fault| (fault.class(), fault.status()));
        same("nothing is beside the controller", got, Err((EC_DATA, FSC_EXTERNAL)));
    }
    let last = GICC + GICC_SIZE - 4;
    equal("the last word of the cpu interface is there", read32(last), 0);
}
