//! A CPU that wakes every few microseconds and sleeps again at once: `load.micros` (20), by each of its timers in turns.
//!
//! An emulator that runs one core after the other lets each have a part of the time until the next timer is due. So beside this
//! guest cores that never wait have short turns, and all of them the same. It takes two timers: when one is due, the other is
//! what the emulator goes by until the first is armed again.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::{Machine, cpu, gic, msr, timer, trap};

use crate::number;

/// Ticks from one time that a timer is due to the next.
static PERIOD: AtomicU64 = AtomicU64::new(0);

/// Runs it.
pub fn run(machine: &Machine) -> ! {
    PERIOD.store(2 * timer::ticks(number(machine, "load.micros", 20)), Relaxed);
    for intid in [timer::VIRTUAL, timer::PHYSICAL] {
        trap::set_handler(intid, again);
        gic::enable(intid);
        again(intid);
    }
    cpu::irq_unmask();
    loop {
        cpu::wfi();
    }
}

/// Arms a timer anew, for half a period before or behind the times of the other.
fn again(intid: u32) {
    let (now, period) = (timer::now(), PERIOD.load(Relaxed));
    if intid == timer::VIRTUAL {
        timer::arm_at((now / period + 1) * period);
    } else {
        let since = (now + period / 2) % period;
        msr!("cntp_tval_el0", period - since);
        msr!("cntp_ctl_el0", 1);
    }
}
