//! More of something than anybody needs.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::console::{self, UART};
use tessera_rt::gic::v3::{GICR, SGI_FRAME, STRIDE};
use tessera_rt::gic::{GICD, ISENABLER, ISPENDR};
use tessera_rt::mmio::write32;
use tessera_rt::{Machine, cpu, gic, msr, println, smp, timer, trap};

use crate::tally::Tally;

const ROUNDS: u64 = 20_000;
const FLOOD: u64 = 20_000;

static TAKEN: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicU64 = AtomicU64::new(0);

/// Lets every interrupt be taken and forgotten.
pub fn take_all() {
    for intid in 0..gic::INTIDS as u32 {
        trap::set_handler(intid, |_| {
            TAKEN.fetch_add(1, Relaxed);
        });
    }
}

/// Interrupts taken.
pub fn taken() -> u64 {
    TAKEN.load(Relaxed)
}

/// Attack 14: SGIs to all sides and all SPIs at once, while the other CPU takes them, asleep and awake.
pub fn interrupts(machine: &Machine, tally: &mut Tally) {
    take_all();
    STOP.store(0, Relaxed);
    let both = machine.cpus().len() > 1 && smp::start(machine, 1, take) == 0;
    write32(GICD + ISENABLER + 4, !(1 << 1)); // not the UART's, a level that would never end
    for round in 0..ROUNDS {
        let sgi = tally.below(16) as u32;
        tally.step(|| gic::send_sgi(sgi, 3));
        tally.step(|| gic::broadcast_sgi(sgi));
        if round % 16 == 0 {
            let some = tally.random() as u32;
            let route = machine.cpus()[tally.below(machine.cpus().len() as u64) as usize];
            write32(GICD + ISPENDR + 4, some & !2);
            pend_sgis(some, both);
            gic::route(32 + tally.below(32) as u32, route);
            cpu::with_irqs(|| ());
        }
    }
    STOP.store(1, Relaxed);
    gic::send_sgi(0, 2);
    cpu::with_irqs(|| timer::sleep(1_000));
    if both && !smp::wait_off(machine, 1) {
        tally.complain("the second cpu is gone", TAKEN.load(Relaxed), 0);
    }
    still_works(tally);
}

/// In SPENDSGIR, CPU 0 as the sender of four SGIs. QEMU's own GICv2 dies of an SGI that is made pending by nobody.
pub const SENDER_0: u32 = 0x0101_0101;

/// Makes SGIs pending by register: here by the low half of `some`, and by the high half on the other CPU or from it.
fn pend_sgis(some: u32, both: bool) {
    if gic::is_v2() {
        let senders = if both { 0x0303_0303 } else { SENDER_0 };
        for word in [0, 4, 8, 12] {
            let some = some.rotate_left(word as u32) & senders;
            write32(GICD + gic::v2::SPENDSGIR + word, some | SENDER_0);
        }
    } else {
        write32(GICR + SGI_FRAME + ISPENDR, some & 0xffff);
        write32(GICR + STRIDE * u64::from(both) + SGI_FRAME + ISPENDR, some >> 16);
    }
}

/// An SPI that no device has.
const FREE_SPI: u32 = 40;

/// Whatever was done to the interrupt controller, a CPU that sets it up anew gets its interrupts.
pub fn still_works(tally: &mut Tally) {
    gic::init_distributor();
    gic::init_cpu();
    cpu::with_irqs(|| timer::sleep(100));
    gic::set_edge(FREE_SPI, true);
    gic::enable(FREE_SPI);
    let arrives = |send: &dyn Fn()| {
        let before = TAKEN.load(Relaxed);
        send();
        cpu::with_irqs(|| timer::comes(|| TAKEN.load(Relaxed) != before))
    };
    for round in 0..20 {
        if !arrives(&|| gic::set(ISPENDR, FREE_SPI)) {
            return tally.complain("an spi does not come any more, round", round, 0);
        }
        if !arrives(&|| gic::send_sgi(round as u32 % 16, 1)) {
            return tally.complain("an sgi does not come any more, round", round, 0);
        }
    }
    gic::disable(FREE_SPI);
}

fn take(_: usize) {
    // Masked from the look at STOP to the wait, so that the last interrupt cannot come in between.
    while STOP.load(Relaxed) == 0 {
        if TAKEN.load(Relaxed) & 64 == 0 {
            cpu::wfi();
        }
        cpu::with_irqs(|| ());
    }
}

/// Attack 18.
pub fn timers(_: &Machine, tally: &mut Tally) {
    for intid in [timer::VIRTUAL, timer::PHYSICAL] {
        trap::set_handler(intid, |_| {
            // Still over: it comes again at once, until the main loop gets through.
            TAKEN.fetch_add(1, Relaxed);
            if TAKEN.load(Relaxed).is_multiple_of(8) {
                msr!("cntv_ctl_el0", 0);
                msr!("cntp_ctl_el0", 0);
            }
        });
        gic::enable(intid);
    }
    for _ in 0..ROUNDS / 10 {
        let value = tally.random() >> tally.below(64);
        msr!("cntv_cval_el0", value >> 1);
        msr!("cntp_tval_el0", value);
        msr!("cntv_ctl_el0", 1);
        msr!("cntp_ctl_el0", value & 3);
        cpu::with_irqs(|| ());
        msr!("cntv_tval_el0", u64::MAX);
        msr!("cntv_ctl_el0", 1);
        cpu::with_irqs(cpu::isb);
        tally.step(|| ());
    }
    msr!("cntv_ctl_el0", 0);
    msr!("cntp_ctl_el0", 0);
}

/// Attack 19: long lines, control characters, and the transmitter's interrupt again and again.
pub fn console(_: &Machine, tally: &mut Tally) {
    for _ in 0..FLOOD {
        console::put(b'.');
        tally.step(|| ());
    }
    println!();
    for byte in (0..32).chain(127..=255) {
        if !matches!(byte, 0x0e | 0x1b | 0x90..=0x9f) {
            console::put(b'.');
            console::put(byte);
        }
    }
    println!();
    trap::set_handler(33, |_| {
        // A level that stays: only the mask ends it.
        if TAKEN.fetch_add(1, Relaxed).is_multiple_of(16) {
            write32(UART + console::IMSC, 0);
        }
    });
    gic::set_edge(33, false);
    gic::enable(33);
    let before = TAKEN.load(Relaxed);
    for _ in 0..200 {
        console::put(b'!');
        write32(UART + console::IMSC, u32::MAX);
        cpu::with_irqs(|| ());
        tally.step(|| ());
    }
    write32(UART + console::IMSC, 0);
    gic::disable(33);
    println!();
    if TAKEN.load(Relaxed) == before {
        tally.complain("the transmitter does not interrupt", UART, 0);
    }
}
