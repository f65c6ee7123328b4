//! Failing on purpose, so that the way of a panic can be tried on every board.
//!
//! `tessera.panic=KIND` on the loader's command line, or `tessera.panic=KIND:CORE` for another core than the boot core.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::hw::FRAMES;
use crate::memory::symbol;
use crate::{barrier, cpu, power};

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A Rust panic.
    Message,
    /// A load from nowhere.
    Abort,
    /// A store to EL2's own instructions.
    Write,
    /// A jump into data.
    Execute,
    /// A jump into the stack.
    ExecuteStack,
    /// Recursion into the stack's guard page.
    Stack,
    /// Recursion into the guard page of the stack on which exceptions are reported.
    PanicStack,
    /// An endless loop, where a guest is about to be entered first.
    Stuck,
    /// Waiting for a lock that is not given back.
    Lock,
}

const KINDS: [(&str, Kind); 9] = [
    ("message", Kind::Message),
    ("abort", Kind::Abort),
    ("write", Kind::Write),
    ("execute", Kind::Execute),
    ("execute-stack", Kind::ExecuteStack),
    ("stack", Kind::Stack),
    ("panic-stack", Kind::PanicStack),
    ("stuck", Kind::Stuck),
    ("lock", Kind::Lock),
];

/// Nobody asked for a failure.
const NOTHING: u8 = u8::MAX;
/// The core on which Tessera was started.
const BOOT_CORE: u8 = u8::MAX;

/// Which of [`KINDS`].
static WANTED: AtomicU8 = AtomicU8::new(NOTHING);
static CORE: AtomicU8 = AtomicU8::new(BOOT_CORE);
/// The boot core says nothing more, so that another one can fail.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Reads what is wanted from the loader's command line, before there are other cores.
pub fn configure(bootargs: &str) {
    let Some(wanted) = bootargs.split(' ').find_map(|word| word.strip_prefix("tessera.panic="))
    else {
        return;
    };
    let (kind, core) = wanted.split_once(':').unwrap_or((wanted, ""));
    if let Some(index) = KINDS.iter().position(|(name, _)| *name == kind) {
        WANTED.store(index as u8, Ordering::Relaxed);
        CORE.store(core.parse().unwrap_or(BOOT_CORE), Ordering::Relaxed);
    }
}

/// The boot core, with all cores started: fails, or is quiet while another one does.
pub fn on_boot_core() {
    let core = CORE.load(Ordering::Relaxed);
    let Some(kind) = wanted().filter(|kind| *kind != Kind::Stuck) else { return };
    if core == BOOT_CORE || core == cpu::current_id().0 {
        fail(kind);
    }
    QUIET.store(true, Ordering::Release);
    power::halt()
}

/// Another core, with itself set up: fails if it is the one.
pub fn on_secondary_core() {
    let Some(kind) = wanted().filter(|kind| *kind != Kind::Stuck && is_meant()) else { return };
    while !QUIET.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    fail(kind);
}

/// A core that is about to enter its guest: gets stuck if it is the one.
pub fn on_entry() {
    if wanted() == Some(Kind::Stuck) && is_meant() {
        fail(Kind::Stuck);
    }
}

fn is_meant() -> bool {
    CORE.load(Ordering::Relaxed) == cpu::current_id().0
}

fn wanted() -> Option<Kind> {
    KINDS.get(usize::from(WANTED.load(Ordering::Relaxed))).map(|&(_, kind)| kind)
}

fn fail(kind: Kind) {
    match kind {
        Kind::Message => panic!("provoked by tessera.panic=message"),
        // SAFETY: the address is not canonical for any mapping of EL2's; the load faults, which is the purpose.
        Kind::Abort => unsafe {
            core::ptr::read_volatile(0x40 as *const u64);
        },
        Kind::Write => {
            let text = symbol!(__text_start) as *mut u32;
            // SAFETY: the page is not writable; the store faults, which is the purpose.
            unsafe { core::ptr::write_volatile(text, 0) };
        }
        Kind::Execute => jump(symbol!(__data_start)),
        Kind::ExecuteStack => jump(core::ptr::from_ref(&kind) as u64 & !3),
        Kind::Stack => {
            overflow(&[0; 64]);
        }
        Kind::PanicStack => overflow_panic_stack(),
        Kind::Stuck => stick(),
        Kind::Lock => {
            let _held = FRAMES.lock();
            drop(FRAMES.lock());
        }
    }
}

#[inline(never)]
fn stick() {
    loop {
        core::hint::spin_loop();
    }
}

fn jump(to: u64) {
    barrier::isb();
    // SAFETY: callers give addresses of pages that are not executable; the jump faults, which is the purpose.
    unsafe { core::arch::asm!("br {}", in(reg) to, options(noreturn)) }
}

fn overflow_panic_stack() {
    let Some(end) = cpu::current().map(|cpu| cpu.panic_stack_end.load(Ordering::Relaxed)) else {
        return;
    };
    // SAFETY: nobody has this stack as long as there is no panic, and nothing returns to the one that is left.
    unsafe {
        core::arch::asm!(
            "mov sp, {end}",
            "mov x29, xzr",
            "bl {overflow}",
            "b .",
            end = in(reg) end,
            overflow = sym overflow_from_nothing,
            options(noreturn),
        )
    }
}

extern "C" fn overflow_from_nothing() {
    overflow(&[0; 64]);
}

#[inline(never)]
fn overflow(above: &[u64; 64]) -> u64 {
    let mine = core::hint::black_box([above[0] + 1; 64]);
    if core::hint::black_box(mine[1]) == 0 {
        return 0;
    }
    overflow(&mine) + core::hint::black_box(mine)[1]
}
