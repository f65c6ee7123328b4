//! Interrupts between CPUs: SGIs to one, to a list and to all, and SPIs sent to the other CPU.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::gic::v3::{self, SGI_FRAME};
use tessera_rt::gic::{ICENABLER, ISENABLER, ISPENDR, get, set};
use tessera_rt::mmio::{read32, write32};
use tessera_rt::report::{check, equal, skip, tessera_only};
use tessera_rt::{Machine, cpu, gic, msr, smp, timer};

use crate::gic::FREE_SPI;
use crate::seen;

/// What the second CPU does.
static DOING: AtomicU32 = AtomicU32::new(0);
const SPIN: u32 = 1;
const WAIT: u32 = 2;
const STOP: u32 = 3;
const DEAF: u32 = 4;
static IS_DEAF: AtomicU32 = AtomicU32::new(0);
/// The SGI that gets the second CPU out of WFI to look.
const LOOK: u32 = 15;

/// A list of targets in which no CPU is that this machine has, on a GICv2 none at all.
const NOBODY: u16 = 0x8000;
/// An affinity that no CPU has.
const NO_CPU: u64 = 0x42;
/// How often what may go wrong now and then is done.
const TIMES: u32 = 20;

/// Runs the tests.
pub fn run(machine: &Machine) {
    (0..16).for_each(seen::watch);
    (0..16).for_each(|sgi| gic::send_sgi(sgi, 1));
    check("all 16 sgis to this cpu arrive", (0..16).all(|sgi| seen::wait(0, sgi, 1) == 1));
    let many = (0..1000).filter(|_| {
        let before = seen::count(0, 1);
        gic::send_sgi(1, 1);
        seen::wait(0, 1, before + 1) == before + 1
    });
    equal("a thousand sgis to this cpu arrive", many.count(), 1000);
    if !gic::is_v2() {
        by_register();
        msr!("ICC_SGI1R_EL1", 2 << 24 | 1 << 16 | 1); // affinity 0.0.1.0
    }
    gic::send_sgi(2, NOBODY);
    equal("an sgi to no cpu goes nowhere", seen::after_a_while(0, 2), 1);
    if machine.cpus().len() < 2 {
        return skip("sgis between cpus", "one CPU only");
    }
    between(machine);
}

/// SGIs can be made pending in the redistributor too.
fn by_register() {
    let pending = gic::frame(0) + ISPENDR;
    let before = seen::count(0, 5);
    write32(pending, 1 << 5);
    check("an sgi can be made pending", read32(pending) & 1 << 5 != 0);
    equal("and arrives", seen::wait(0, 5, before + 1), before + 1);
}

fn between(machine: &Machine) {
    (0..16).for_each(seen::watch);
    DOING.store(SPIN, SeqCst);
    smp::start(machine, 1, other);
    gic::send_sgi(1, 2);
    equal("an sgi to a spinning cpu arrives", seen::wait(1, 1, 1), 1);
    gic::send_sgi(2, 3);
    let both = seen::wait(0, 2, 1) == 1 && seen::wait(1, 2, 1) == 1;
    check("an sgi to a list of both arrives at both", both);
    gic::broadcast_sgi(3);
    equal("a broadcast arrives at the other", seen::wait(1, 3, 1), 1);
    equal("and not here", seen::after_a_while(0, 3), 0);
    if !gic::is_v2() {
        redistributor_of_other(machine);
    }
    DOING.store(WAIT, SeqCst);
    gic::send_sgi(LOOK, 2);
    let woken = (0..200).filter(|_| {
        let before = seen::count(1, 4);
        timer::sleep(20);
        gic::send_sgi(4, 2);
        seen::wait(1, 4, before + 1) == before + 1
    });
    equal("an sgi ends wfi, 200 times", woken.count(), 200);
    routed(machine);
    DOING.store(STOP, SeqCst);
    gic::send_sgi(LOOK, 2);
    check("the second cpu goes off", smp::wait_off(machine, 1));
    equal("the boot cpu took none of its sgis", seen::count(0, 4), 0);
}

fn redistributor_of_other(machine: &Machine) {
    let frame = v3::redistributor(machine.cpus()[1]).unwrap_or(v3::GICR) + SGI_FRAME;
    write32(frame + ISPENDR, 1 << 6);
    equal("an sgi pended in the other's redistributor arrives", seen::wait(1, 6, 1), 1);
    write32(frame + ICENABLER, 1 << 7);
    gic::send_sgi(7, 2);
    equal("disabled there it does not", seen::after_a_while(1, 7), 0);
    write32(frame + ISENABLER, 1 << 7);
    equal("enabled there it does", seen::wait(1, 7, 1), 1);
}

fn routed(machine: &Machine) {
    let home = machine.cpus()[0];
    seen::watch(FREE_SPI);
    gic::set_edge(FREE_SPI, true);
    gic::route(FREE_SPI, machine.cpus()[1]);
    gic::enable(FREE_SPI);
    set(ISPENDR, FREE_SPI);
    equal("an spi goes where it is routed", seen::wait(1, FREE_SPI, 1), 1);
    gic::route(FREE_SPI, home);
    set(ISPENDR, FREE_SPI);
    equal("and back", seen::wait(0, FREE_SPI, 1), 1);
    equal("not to both", seen::count(1, FREE_SPI), 1);
    if !gic::is_v2() || tessera_only(machine, "routed to no cpu it waits") {
        gic::route(FREE_SPI, NO_CPU);
        set(ISPENDR, FREE_SPI);
        let lost = seen::after_a_while(0, FREE_SPI) == 1 && seen::count(1, FREE_SPI) == 1;
        check("routed to no cpu it waits", lost);
        gic::route(FREE_SPI, home);
        equal("routed here it comes", seen::wait(0, FREE_SPI, 2), 2);
    }
    rerouted(machine);
    if gic::is_v2() && tessera_only(machine, "sent to two cpus, one takes it") {
        seen::watch(FREE_SPI);
        gic::v2::route(FREE_SPI, 3);
        for _ in 0..TIMES {
            set(ISPENDR, FREE_SPI);
            cpu::with_irqs(|| timer::comes(|| !get(ISPENDR, FREE_SPI)));
            seen::after_a_while(0, FREE_SPI);
        }
        let taken = seen::count(0, FREE_SPI) + seen::count(1, FREE_SPI);
        equal("sent to two cpus, one takes it", taken, TIMES);
        gic::route(FREE_SPI, home);
    }
    gic::disable(FREE_SPI);
}

/// Pending at a CPU that does not take it, it moves with the route.
fn rerouted(machine: &Machine) {
    seen::watch(FREE_SPI);
    DOING.store(DEAF, SeqCst);
    gic::send_sgi(LOOK, 2);
    check("the second cpu is deaf", timer::comes(|| IS_DEAF.load(SeqCst) == 1));
    gic::route(FREE_SPI, machine.cpus()[1]);
    set(ISPENDR, FREE_SPI);
    equal("pending at a deaf cpu it does not come here", seen::after_a_while(0, FREE_SPI), 0);
    check("it pends", get(ISPENDR, FREE_SPI));
    gic::route(FREE_SPI, machine.cpus()[0]);
    equal("routed here it does", seen::wait(0, FREE_SPI, 1), 1);
    check("and pends no more", !get(ISPENDR, FREE_SPI));
    DOING.store(WAIT, SeqCst);
    timer::comes(|| IS_DEAF.load(SeqCst) == 0);
    equal("and not there, when it hears again", seen::after_a_while(1, FREE_SPI), 0);
}

/// Listens to nothing for as long as it shall.
fn be_deaf() {
    IS_DEAF.store(1, SeqCst);
    while DOING.load(SeqCst) == DEAF {
        core::hint::spin_loop();
    }
    IS_DEAF.store(0, SeqCst);
}

fn other(_: usize) {
    // Masked from the look to the wait, so that the interrupt that ends it cannot come in between.
    loop {
        match DOING.load(SeqCst) {
            WAIT => cpu::wfi(),
            STOP => break,
            DEAF => be_deaf(),
            _ => core::hint::spin_loop(),
        }
        cpu::with_irqs(|| ());
    }
}
