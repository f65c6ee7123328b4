//! The timers.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, timer, trap};

static FIRED_AT: AtomicU64 = AtomicU64::new(0);
static FIRED: AtomicU64 = AtomicU64::new(0);

fn fired(_: u32) {
    FIRED_AT.store(timer::now(), SeqCst);
    FIRED.fetch_add(1, SeqCst);
    timer::disarm();
}

/// Runs the tests.
pub fn run(_: &Machine) {
    trap::set_handler(timer::VIRTUAL, fired);
    gic::enable(timer::VIRTUAL);
    let at = timer::now() + timer::ticks(1000);
    timer::arm_at(at);
    cpu::with_irqs(|| timer::wait_for(500_000, || FIRED_AT.load(SeqCst) != 0));
    check("the virtual timer fires, and not early", FIRED_AT.load(SeqCst) >= at);
    let before = FIRED.load(SeqCst);
    for _ in 0..1000 {
        let count = FIRED.load(SeqCst);
        timer::arm_at(timer::now() + timer::ticks(20));
        cpu::with_irqs(|| timer::wait_for(500_000, || FIRED.load(SeqCst) != count));
    }
    equal("the virtual timer fires 1000 times", FIRED.load(SeqCst) - before, 1000);
}
