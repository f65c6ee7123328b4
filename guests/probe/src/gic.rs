//! The interrupt controller.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::report::check;
use tessera_rt::{Machine, cpu, gic, timer, trap};

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Runs the tests.
pub fn run(_: &Machine) {
    trap::set_handler(3, |_| SEEN.store(1, SeqCst));
    gic::send_sgi(3, 1);
    let came = cpu::with_irqs(|| timer::wait_for(100_000, || SEEN.load(SeqCst) == 1));
    check("an sgi to self arrives", came);
}
