//! Floating point and SIMD registers stay what they are, whatever exits happen.

use tessera_rt::console::{FR, UART};
use tessera_rt::fp::Registers;
use tessera_rt::mmio::read32;
use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, mrs, msr, psci, timer, trap};

/// Runs the tests.
pub fn run(_: &Machine) {
    let pattern = Registers(core::array::from_fn(|n| {
        0x0123_4567_89ab_cdef_u64.rotate_left(n as u32) ^ n as u64
    }));
    trap::set_handler(1, |_| ());
    trap::set_handler(timer::VIRTUAL, |_| timer::disarm());
    gic::enable(timer::VIRTUAL);
    pattern.write();
    msr!("S3_3_C4_C4_0", 1 << 22); // FPCR: round towards plus infinity
    msr!("S3_3_C4_C4_1", 1); // FPSR: invalid operation happened
    for _ in 0..100 {
        exits();
    }
    let after = Registers::read();
    check("v0 to v31 keep their values over a thousand exits", after == pattern);
    equal("fpcr keeps its value", mrs!("S3_3_C4_C4_0"), 1 << 22);
    equal("fpsr keeps its value", mrs!("S3_3_C4_C4_1"), 1);
    msr!("S3_3_C4_C4_0", 0);
    gic::disable(timer::VIRTUAL);
}

/// One of each common exit.
fn exits() {
    psci::call(psci::VERSION, [0; 3]);
    read32(UART + FR);
    read32(gic::GICD + gic::TYPER);
    gic::send_sgi(1, 1);
    timer::arm_at(timer::now() + timer::ticks(20));
    cpu::wfi();
    cpu::with_irqs(|| ());
    timer::disarm();
}
