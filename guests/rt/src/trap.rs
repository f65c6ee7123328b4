//! Exceptions: a fault in an [`attempt`] is its result, an interrupt goes to its handler, anything else ends the guest.
//!
//! An attempt is left the way `longjmp` does, whatever the fault did to the program counter, so that a jump to nowhere
//! can be tested like a load from nowhere. The idea not taken, to go on behind the instruction that faulted, knows no
//! place to go on for a fetch.
#![allow(
    unsafe_code,
    reason = "the vectors call in by C symbols and hand out the interrupted registers by address"
)]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::machine::MAX_CPUS;
use crate::{console, cpu, gic, mrs, psci};

/// Exception class of an undefined instruction.
pub const EC_UNKNOWN: u64 = 0x00;
/// Trapped MSR, MRS or system instruction.
pub const EC_SYSREG: u64 = 0x18;
/// Instruction abort at EL1.
pub const EC_FETCH: u64 = 0x21;
/// Data abort at EL1.
pub const EC_DATA: u64 = 0x25;
/// Hardware breakpoint at EL1.
pub const EC_BREAKPOINT: u64 = 0x31;
/// Software step at EL1.
pub const EC_STEP: u64 = 0x33;
/// Watchpoint at EL1.
pub const EC_WATCHPOINT: u64 = 0x35;
/// BRK instruction.
pub const EC_BRK: u64 = 0x3c;
/// Fault status: synchronous external abort, not on a table walk.
pub const FSC_EXTERNAL: u64 = 0x10;

/// The registers of the interrupted code, as the vectors saved them.
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on.
    pub elr: u64,
    /// Its PSTATE.
    pub spsr: u64,
    padding: u64,
}

/// An exception as the registers told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// It was an SError.
    pub serror: bool,
}

impl Fault {
    /// Exception class.
    pub fn class(&self) -> u64 {
        self.esr >> 26
    }

    /// Fault status code of an abort.
    pub fn status(&self) -> u64 {
        self.esr & 0x3f
    }

    /// A data abort on a store.
    pub fn is_write(&self) -> bool {
        self.esr & 1 << 6 != 0
    }
}

/// A hook that sees synchronous exceptions first; `true` says that it dealt with this one and the code goes on.
pub type Hook = fn(&mut Frame, &Fault) -> bool;
/// A handler of an interrupt; the run-time acknowledges before it and ends the interrupt after.
pub type Handler = fn(u32);

struct Slots([UnsafeCell<u64>; MAX_CPUS]);
// SAFETY: each CPU uses the slot of its own number only.
unsafe impl Sync for Slots {}

/// For each CPU the stack pointer that an attempt in progress goes back to, or 0.
static ATTEMPT: Slots = Slots([const { UnsafeCell::new(0) }; MAX_CPUS]);
/// For each CPU the fault that ended its last attempt: ESR, FAR, ELR, SError.
static FAULT: [[AtomicU64; 4]; MAX_CPUS] = [const { [const { AtomicU64::new(0) }; 4] }; MAX_CPUS];
static HOOK: AtomicUsize = AtomicUsize::new(0);
static HANDLERS: [AtomicPtr<()>; gic::INTIDS] =
    [const { AtomicPtr::new(stray as *mut ()) }; gic::INTIDS];
const _: () = assert!(gic::INTIDS <= gic::SPURIOUS as usize);
/// Interrupts that came without a handler.
pub static STRAY: AtomicU64 = AtomicU64::new(0);

// SAFETY: defined in the assembly with these signatures.
unsafe extern "C" {
    fn rt_attempt(code: extern "C" fn(*mut u8), data: *mut u8, slot: *mut u64) -> u64;
    fn rt_attempt_failed();
}

/// Runs `code`; a synchronous exception or SError in it is the error. What `code` holds is not dropped then.
pub fn attempt<R, F: FnOnce() -> R>(code: F) -> Result<R, Fault> {
    struct Call<F, R> {
        code: Option<F>,
        result: MaybeUninit<R>,
    }
    extern "C" fn run<R, F: FnOnce() -> R>(call: *mut u8) {
        // SAFETY: `attempt` passes the address of its own Call<F, R>, and uses it again only after this returned.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(code) = call.code.take() {
            call.result.write(code());
        }
    }
    let mut call = Call { code: Some(code), result: MaybeUninit::<R>::uninit() };
    let slot = ATTEMPT.0.get(cpu::this()).map_or(core::ptr::null_mut(), UnsafeCell::get);
    // SAFETY: `run` gets the Call it is made for, and the slot is this CPU's.
    let failed = unsafe { rt_attempt(run::<R, F>, (&raw mut call).cast(), slot) };
    if failed != 0 {
        return Err(last_fault());
    }
    // SAFETY: 0 says that `run` returned, and it wrote the result.
    Ok(unsafe { call.result.assume_init() })
}

fn last_fault() -> Fault {
    let [esr, far, elr, serror] = &FAULT[cpu::this()];
    Fault {
        esr: esr.load(Relaxed),
        far: far.load(Relaxed),
        elr: elr.load(Relaxed),
        serror: serror.load(Relaxed) != 0,
    }
}

/// Sets or removes the hook.
pub fn set_hook(hook: Option<Hook>) {
    HOOK.store(hook.map_or(0, |hook| hook as usize), Relaxed);
}

/// Sets the handler of an interrupt, for all CPUs.
pub fn set_handler(intid: u32, handler: Handler) {
    if let Some(place) = HANDLERS.get(intid as usize) {
        place.store(handler as *mut (), Relaxed);
    }
}

/// Called by the vectors: `kind` 0 is synchronous, 1 IRQ, 2 FIQ, 3 SError.
#[unsafe(no_mangle)]
extern "C" fn rt_trap(kind: u64, frame: &mut Frame) {
    match kind {
        1 => interrupt(),
        0 | 3 => exception(frame, kind == 3),
        _ => die(frame, &Fault { esr: mrs!("esr_el1"), ..Fault::default() }, "unexpected vector"),
    }
}

fn interrupt() {
    // Asked once: this path is measured.
    if gic::is_v2() {
        let taken = gic::v2::acknowledge();
        if handle(gic::v2::intid(taken)) {
            gic::v2::end(taken);
        } else if taken == gic::v2::OTHER_GROUP {
            // It would interrupt for ever.
            gic::v2::change_control(gic::v2::ACK_CTL, true);
        }
    } else {
        let taken = gic::v3::acknowledge();
        if handle(taken) {
            gic::v3::end(taken);
        }
    }
}

/// Calls the handler of an interrupt; `false` where it is none, which is beyond the table.
#[inline(always)]
fn handle(intid: u32) -> bool {
    let Some(handler) = HANDLERS.get(intid as usize) else { return false };
    // SAFETY: the table begins with a `Handler` in each place, and `set_handler` writes nothing else.
    let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler.load(Relaxed)) };
    handler(intid);
    true
}

/// The handler of what has none.
fn stray(intid: u32) {
    STRAY.fetch_add(1, Relaxed);
    gic::disable(intid);
}

fn exception(frame: &mut Frame, serror: bool) {
    let fault = Fault { esr: mrs!("esr_el1"), far: mrs!("far_el1"), elr: frame.elr, serror };
    let hook = HOOK.load(Relaxed);
    if hook != 0 && !serror {
        // SAFETY: only `set_hook` writes it, and it writes a `Hook`.
        let hook = unsafe { core::mem::transmute::<usize, Hook>(hook) };
        if hook(frame, &fault) {
            return;
        }
    }
    // SAFETY: the slot is this CPU's, and nothing else on this CPU runs now.
    let back_to = ATTEMPT.0.get(cpu::this()).map_or(0, |slot| unsafe { *slot.get() });
    if back_to == 0 {
        die(frame, &fault, "exception");
    }
    let told = [fault.esr, fault.far, fault.elr, u64::from(serror)];
    FAULT[cpu::this()].iter().zip(told).for_each(|(place, value)| place.store(value, Relaxed));
    frame.x[0] = 1;
    frame.x[1] = back_to;
    frame.elr = rt_attempt_failed as *const () as u64;
    frame.spsr = 0x3c5; // EL1h, all masked; the attempt's own mask follows.
}

fn die(frame: &Frame, fault: &Fault, what: &str) -> ! {
    // An attack may have left it anyhow.
    console::init();
    console::write_now(format_args!(
        "\nGUEST-DIED cpu {} {what}: esr {:#x} far {:#x} elr {:#x} spsr {:#x} sp {:#x}\n",
        cpu::this(),
        fault.esr,
        fault.far,
        frame.elr,
        frame.spsr,
        core::ptr::from_ref(frame) as u64,
    ));
    for (number, pair) in frame.x.chunks(2).enumerate() {
        console::write_now(format_args!("  x{} {pair:#x?}\n", number * 2));
    }
    psci::died()
}
