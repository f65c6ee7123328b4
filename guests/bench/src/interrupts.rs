//! From an event to the handler of its interrupt, on this CPU and on another.
//!
//! Loops that wait have YIELD in them: QEMU, which runs one CPU after the other here, goes to the next one there, so
//! that no number has the length of QEMU's time slices in it.
#![allow(unsafe_code, reason = "counted instructions and the vectors that take the time")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::gic::GICD;
use tessera_rt::gic::v2::{SGIR, TO_SELF};
use tessera_rt::{Machine, cpu, gic, mrs, msr, println, smp, timer, trap};

use crate::calls::ticks;
use crate::{least, least_of};

global_asm!(include_str!("bench.s"));

// SAFETY: defined in bench.s with these types.
unsafe extern "C" {
    static bench_vectors_v2: u8;
    static bench_vectors_v3: u8;
    static bench_taken: [AtomicU64; 3];
    fn bench_first_instruction();
}

/// ICC_SGI1R_EL1 for SGI 1 to CPU 0 and to CPU 1 of cluster 0.
const SGI_SELF: u64 = 1 << 24 | 1;
const SGI_OTHER: u64 = 1 << 24 | 2;
/// GICD_SGIR for the same.
const SGI_SELF_V2: u32 = TO_SELF | 1;
const SGI_OTHER_V2: u32 = 1 << 17 | 1;
/// Ticks ahead that timers are set.
const AHEAD: u64 = 20_000;

/// What the second CPU does between the interrupts.
static OTHER: AtomicU64 = AtomicU64::new(READY);
const READY: u64 = 0;
const SPIN: u64 = 1;
const WAIT: u64 = 2;
const STOP: u64 = 3;
/// Until the interrupt has come: to sleep again would be counted where EL2 sees it.
const WAIT_ONCE: u64 = 4;

fn taken() -> &'static [AtomicU64; 3] {
    // SAFETY: it is zeroed memory of the vectors' own, 64 bytes long, written as whole words.
    unsafe { &bench_taken }
}

/// Prints the rows.
pub fn run(machine: &Machine) {
    with_vectors(|| {
        own();
        if machine.cpus().len() > 1 {
            row("cpu_on", || cpu_on(machine));
            with_other(machine, || {
                least("sgi_other", || sgi_other(SPIN));
                least("sgi_other_wfi", || sgi_other(WAIT));
            });
        }
    });
}

/// Prints the rows that need no other CPU.
pub fn run_alone() {
    with_vectors(own);
}

/// Prints the rows of a guest with two vCPUs that share two cores: EL2 sees their sleep.
pub fn run_shared(machine: &Machine) {
    with_vectors(|| {
        row("wake_by_timer", || timer_to_handler(true));
        with_other(machine, || least("wake_by_sgi", || sgi_other(WAIT_ONCE)));
    });
}

fn own() {
    row("sgi_self", sgi_self);
    row("vtimer", || timer_to_handler(false));
    row("wfi_wake", || timer_to_handler(true));
}

/// Has interrupts taken by the vectors that take the time, the timer's among them.
fn with_vectors(measure: impl FnOnce()) {
    let usual = mrs!("vbar_el1");
    let vectors =
        if gic::is_v2() { &raw const bench_vectors_v2 } else { &raw const bench_vectors_v3 };
    msr!("vbar_el1", vectors as u64);
    gic::enable(timer::VIRTUAL);
    measure();
    gic::disable(timer::VIRTUAL);
    msr!("vbar_el1", usual);
}

/// Has the second CPU take interrupts.
fn with_other(machine: &Machine, measure: impl FnOnce()) {
    smp::start(machine, 1, other);
    measure();
    OTHER.store(STOP, SeqCst);
    gic::send_sgi(1, 2);
    smp::wait_off(machine, 1);
}

/// Prints the least of what has no second read of the counter on the way.
fn row(name: &str, round: impl FnMut() -> u64) {
    println!("BENCH {name} {}", least_of(round));
}

/// From the write of ICC_SGI1R_EL1 or GICD_SGIR to the handler.
fn sgi_self() -> u64 {
    /// Sends with the given instructions and waits for the handler.
    macro_rules! send {
        ($($send:literal),*; $($operand:tt)*) => {{
            let before: u64;
            let flag = taken()[2].as_ptr();
            // SAFETY: the vectors keep all registers.
            unsafe {
                asm!("msr daifclr, #2", "isb", "mrs {before}, cntvct_el0", "dsb ishst", $($send,)*
                    "1:", "ldr {v}, [{flag}]", "cbz {v}, 1b", "msr daifset, #2",
                    before = out(reg) before, flag = in(reg) flag, v = out(reg) _, $($operand)*)
            };
            before
        }};
    }
    taken()[2].store(0, SeqCst);
    let before = if gic::is_v2() {
        send!("str {sgi:w}, [{at}]"; sgi = in(reg) SGI_SELF_V2, at = in(reg) GICD + SGIR)
    } else {
        send!("msr S3_0_C12_C11_5, {sgi}", "isb"; sgi = in(reg) SGI_SELF)
    };
    taken()[1].load(SeqCst) - before
}

/// From the time that the timer was set for to the vector.
fn timer_to_handler(wfi: bool) -> u64 {
    let flag = &taken()[2];
    flag.store(0, SeqCst);
    cpu::irq_unmask();
    let at = timer::now() + AHEAD;
    timer::arm_at(at);
    while flag.load(SeqCst) == 0 {
        if wfi {
            cpu::wfi();
        }
    }
    cpu::irq_mask();
    taken()[0].load(SeqCst) - at
}

/// From the write of ICC_SGI1R_EL1 or GICD_SGIR until this CPU sees what the handler on the other one wrote.
fn sgi_other(doing: u64) -> u64 {
    let flag = &taken()[2];
    flag.store(0, SeqCst);
    OTHER.store(doing, SeqCst);
    // Long enough for the other CPU to be in its loop, or in its sleep.
    for _ in 0..200 {
        // SAFETY: a hint.
        unsafe { asm!("yield", options(nomem, nostack)) };
    }
    let sum = if gic::is_v2() {
        ticks!("dsb ishst", "str {sgi:w}, [{at}]",
            "1:", "yield", "ldar {v}, [{flag}]", "cbz {v}, 1b";
            sgi = in(reg) SGI_OTHER_V2, at = in(reg) GICD + SGIR, flag = in(reg) flag.as_ptr(), v = out(reg) _)
    } else {
        ticks!("dsb ishst", "msr S3_0_C12_C11_5, {sgi}", "isb",
            "1:", "yield", "ldar {v}, [{flag}]", "cbz {v}, 1b";
            sgi = in(reg) SGI_OTHER, flag = in(reg) flag.as_ptr(), v = out(reg) _)
    };
    OTHER.store(READY, SeqCst);
    sum
}

/// The second CPU's work. It takes the interrupt as any guest does, by the run-time's vectors and a handler in Rust.
fn other(_: usize) {
    trap::set_handler(1, |_| taken()[2].store(1, SeqCst));
    cpu::irq_unmask();
    loop {
        match OTHER.load(SeqCst) {
            WAIT => cpu::wfi(),
            WAIT_ONCE if taken()[2].load(SeqCst) == 0 => cpu::wfi(),
            STOP => break,
            // SAFETY: a hint.
            _ => unsafe { asm!("yield", options(nomem, nostack)) },
        }
    }
    cpu::irq_mask();
}

/// From the call to the first instruction of the started CPU.
fn cpu_on(machine: &Machine) -> u64 {
    /// A cache line of its own, because the started CPU writes it with its caches off.
    #[repr(align(64))]
    struct Line(AtomicU64);
    static STARTED_AT: Line = Line(AtomicU64::new(0));
    let line = STARTED_AT.0.as_ptr();
    STARTED_AT.0.store(0, SeqCst);
    clean(line);
    let entry = bench_first_instruction as *const () as u64;
    let before: u64;
    // SAFETY: the call changes x0 to x17 at most, and the started CPU writes no memory but the line.
    unsafe {
        asm!("isb", "mrs {before}, cntvct_el0", "movz x0, #0xc400, lsl #16", "movk x0, #3", "mov x1, {cpu}",
            "mov x2, {entry}", "mov x3, {line}", "mov x4, #0", "mov x5, #0", "mov x6, #0", "mov x7, #0", "hvc #0", "yield",
            before = out(reg) before, cpu = in(reg) machine.cpus()[1], entry = in(reg) entry,
            line = in(reg) line, out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
            out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _,
            out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _)
    };
    smp::wait_off(machine, 1);
    clean(line);
    STARTED_AT.0.load(SeqCst).saturating_sub(before)
}

fn clean(line: *mut u64) {
    // SAFETY: writes the line to memory and drops it from the cache; nothing is lost.
    unsafe { asm!("dc civac, {}", "dsb sy", in(reg) line, options(nostack)) };
}
