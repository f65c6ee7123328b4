//! When the hypervisor itself is wrong: say what is known, stop the other cores, tell the host, stop.
//!
//! Output goes straight to the UART, past the console's ring and locks: whoever holds them may be what failed.

use core::fmt::Write;
use core::ops::Range;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tessera_core::addr::CpuId;
use tessera_core::serror::SystemError;

use crate::console::panic_writer;
use crate::memory::{self, symbol};
use crate::sysreg::mrs;
use crate::{barrier, cpu, gic, power, pulse};

/// What an exception of the hypervisor leaves on the panic stack (`vectors.S`).
#[repr(C)]
pub struct OwnFrame {
    x: [u64; 31],
    sp: u64,
    kind: u64,
}

const KINDS: [&str; 8] = [
    "synchronous (SP_EL0)",
    "IRQ (SP_EL0)",
    "FIQ (SP_EL0)",
    "SError (SP_EL0)",
    "synchronous",
    "IRQ",
    "FIQ",
    "SError",
];

/// Most frames of a back-trace.
const MAX_FRAMES: usize = 32;

/// The core that reports a panic, and one; 0 is nobody.
static PANICKING: AtomicU8 = AtomicU8::new(0);
/// It failed while it did.
static TWICE: AtomicBool = AtomicBool::new(false);
static RESETS: AtomicBool = AtomicBool::new(false);

/// Reads from the loader's command line what becomes of the board after a panic: with `tessera.on-panic=reset` it starts
/// anew, else it goes off.
pub fn configure(bootargs: &str) {
    RESETS
        .store(bootargs.split(' ').any(|word| word == "tessera.on-panic=reset"), Ordering::Relaxed);
}

/// Whether some core is reporting a panic: the others stop when they are kicked. Whoever asks whether this core still
/// answers has its answer too.
#[inline(always)]
pub fn is_panicking() -> bool {
    pulse::stops()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let frame: u64;
    // SAFETY: reads the frame pointer.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack)) };
    report(&|out| {
        let _ = writeln!(out, "{}", info.message());
        if let Some(place) = info.location() {
            let _ = writeln!(out, "  at {}:{}", place.file(), place.line());
        }
        back_trace(out, frame);
    })
}

/// An exception of the hypervisor itself; called by the vectors on the panic stack.
#[unsafe(no_mangle)]
extern "C" fn own_exception_taken(frame: &OwnFrame) -> ! {
    if power::semihosting_was_refused() {
        power::off();
    }
    report(&|out| {
        let kind = KINDS.get(frame.kind as usize).unwrap_or(&"unknown");
        let _ = writeln!(out, "{kind} exception in the hypervisor");
        let (esr, far, elr) = (mrs!("esr_el2"), mrs!("far_el2"), mrs!("elr_el2"));
        let _ = writeln!(out, "  ESR {esr:#x} (EC {:#x})  FAR {far:#x}  ELR {elr:#x}", esr >> 26);
        if kind.starts_with("SError") {
            let _ = writeln!(out, "  {}", SystemError(esr));
        }
        let _ = writeln!(out, "  SPSR {:#x}  SP {:#x}", mrs!("spsr_el2"), frame.sp);
        for (n, x) in frame.x.iter().enumerate() {
            let _ = write!(out, "  x{n:<2} {x:016x}{}", if n % 4 == 3 { "\n" } else { "" });
        }
        let _ = writeln!(out, "\n  #0 {elr:#x}");
        back_trace(out, frame.x[29]);
    })
}

/// Another core has not come out of EL2 for `seconds`: says where it may be, and stops the board.
pub fn stuck(core: CpuId, seconds: u64) -> ! {
    report(&|out| {
        let _ = writeln!(out, "core {core} is stuck in EL2: it has not answered for {seconds} s");
        let end = cpu::get(core).map_or(0, |cpu| cpu.stack_end.load(Ordering::Relaxed));
        let _ = writeln!(
            out,
            "  Return addresses on its stack, innermost first. It still runs: the first ones may be of calls that are over."
        );
        scan(out, memory::stack_that_ends_at(end));
    })
}

/// All that looks like a frame record in another core's stack.
fn scan(out: &mut dyn Write, stack: Range<u64>) {
    let mut found = 0;
    for at in stack.clone().step_by(16).filter(|&at| memory::is_stack(at)) {
        // SAFETY: aligned, and in a mapped stack. Its core may write to it meanwhile, so each word is read once.
        let [next, back] = unsafe { core::ptr::read_volatile(at as *const [u64; 2]) };
        // A record points at its caller's, further up (AAPCS64 6.4.6).
        let is_record = next > at && stack.contains(&next) && next.is_multiple_of(16);
        if is_record && (symbol!(__text_start)..symbol!(__text_end)).contains(&back) {
            let _ = writeln!(out, "  #{found} {:#x}", back.wrapping_sub(4));
            found += 1;
        }
        if found == MAX_FRAMES {
            break;
        }
    }
}

/// One copy of it, for all that there is to report.
#[cold]
#[inline(never)]
fn report(body: &dyn Fn(&mut dyn Write)) -> ! {
    let me = cpu::current_id();
    let first = PANICKING.compare_exchange(0, me.0 + 1, Ordering::AcqRel, Ordering::Acquire);
    if first.is_err_and(|core| core != me.0 + 1 || TWICE.swap(true, Ordering::Relaxed)) {
        // Another core reports, or there is nothing left that works.
        power::halt();
    }
    let mut out = panic_writer();
    if first.is_err() {
        let _ = writeln!(out, "\nTESSERA PANIC on core {me} while it reported one:");
        let (esr, far, elr) = (mrs!("esr_el2"), mrs!("far_el2"), mrs!("elr_el2"));
        let _ = writeln!(out, "  ESR {esr:#x}  FAR {far:#x}  ELR {elr:#x}");
    } else {
        pulse::stop_all();
        gic::kick_all_others();
        let _ = writeln!(out, "\nTESSERA PANIC on core {me}:");
        body(&mut out);
    }
    let _ =
        writeln!(out, "The other cores are stopped. Addresses are of tessera.elf: addr2line -e");
    out.flush();
    if RESETS.load(Ordering::Relaxed) {
        power::reset();
    }
    power::exit_with_failure()
}

/// Return addresses by the frame pointers, as long as these stay in the hypervisor's own stacks.
fn back_trace(out: &mut dyn Write, mut frame: u64) {
    for n in 1..MAX_FRAMES {
        if !frame.is_multiple_of(16) || !memory::is_stack(frame) {
            break;
        }
        // SAFETY: `frame` is aligned and in a mapped stack, where a frame record is two words (AAPCS64 6.4.6).
        let [next, back] = unsafe { *(frame as *const [u64; 2]) };
        if !(symbol!(__text_start)..symbol!(__text_end)).contains(&back) {
            break;
        }
        let _ = writeln!(out, "  #{n} {:#x}", back.wrapping_sub(4));
        frame = next;
    }
    barrier::dsb_sy();
}
