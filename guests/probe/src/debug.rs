//! Self-hosted debug at EL1 (DDI 0487 D2): BRK, breakpoints, watchpoints and single step, as gdb in a guest needs them.
#![allow(unsafe_code, reason = "PSTATE.D is changed, and code with labels is run")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tessera_rt::mmio::{read64, write64};
use tessera_rt::report::{check, equal, same};
use tessera_rt::trap::{
    EC_BREAKPOINT, EC_BRK, EC_STEP, EC_WATCHPOINT, Fault, Frame, attempt, set_hook,
};
use tessera_rt::{Machine, cpu, exec, mrs, msr};

global_asm!(
    ".global debug_code",
    "debug_code:",
    "brk #7",
    "add x0, x0, #1",
    "add x0, x0, #1",
    "add x0, x0, #1",
    "nop",
    "ret",
);

// SAFETY: defined in the assembly above with this signature.
unsafe extern "C" {
    fn debug_code(value: u64) -> u64;
}

/// MDSCR_EL1: single step, kernel debug, monitor debug.
const SS: u64 = 1;
const KDE: u64 = 1 << 13;
const MDE: u64 = 1 << 15;
/// Saved PSTATE: step pending, debug masked.
const SPSR_SS: u64 = 1 << 21;
const SPSR_D: u64 = 1 << 9;

/// Runs the tests.
pub fn run(_: &Machine) {
    msr!("oslar_el1", 0);
    equal("the os lock can be undone", mrs!("oslsr_el1") & 2, 0);
    msr!("mdscr_el1", MDE | KDE);
    equal("mdscr keeps its value", mrs!("mdscr_el1") & (MDE | KDE | SS), MDE | KDE);
    software_breakpoint();
    unmasked(breakpoint);
    unmasked(watchpoint);
    single_step();
    registers();
    msr!("mdscr_el1", 0);
}

fn unmasked(test: fn()) {
    // SAFETY: lets debug exceptions come, which the vectors take.
    unsafe { asm!("msr daifclr, #8", "isb", options(nostack)) };
    test();
    // SAFETY: keeps them back again.
    unsafe { asm!("msr daifset, #8", options(nostack)) };
}

fn software_breakpoint() {
    let got =
        exec::run(0xd420_0000 | 0x123 << 5, 0).map_err(|f| (f.class(), f.esr & 0xffff, f.elr));
    same("brk #0x123 says so", got, Err((EC_BRK, 0x123, exec::place())));
}

fn breakpoint() {
    let at = exec::place();
    msr!("dbgbvr0_el1", at);
    msr!("dbgbcr0_el1", 0xf << 5 | 0b01 << 1 | 1); // all bytes, EL1, on
    let got = exec::run(0xd503_201f, 0).map_err(|f| (f.class(), f.status(), f.elr));
    msr!("dbgbcr0_el1", 0);
    same("a hardware breakpoint is hit", got, Err((EC_BREAKPOINT, 0x22, at)));
    check("switched off it is not", exec::run(0xd503_201f, 0).is_ok());
}

static WATCHED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn watchpoint() {
    let at = WATCHED[0].as_ptr() as u64;
    let told = |fault: Fault| (fault.class(), fault.status(), fault.is_write(), fault.far);
    msr!("dbgwvr0_el1", at);
    // Armed anew for each access: QEMU remembers the direction of a watchpoint's last hit.
    let armed = |access: fn(u64)| {
        msr!("dbgwcr0_el1", 0xff << 5 | 0b11 << 3 | 0b01 << 1 | 1); // 8 bytes, loads and stores, EL1, on
        let outcome = attempt(|| access(at)).map_err(told);
        msr!("dbgwcr0_el1", 0);
        outcome
    };
    let store = armed(|at| write64(at, 5));
    let load = armed(|at| {
        read64(at);
    });
    let beside = armed(|at| write64(at + 8, 5));
    same("a watchpoint sees a store", store, Err((EC_WATCHPOINT, 0x22, true, at)));
    same("and a load", load, Err((EC_WATCHPOINT, 0x22, false, at)));
    check("but nothing beside", beside.is_ok());
    equal("and keeps the store back", WATCHED[0].load(SeqCst), 0);
    check("switched off it sees nothing", attempt(|| write64(at, 5)).is_ok());
}

static STEPS: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicU64 = AtomicU64::new(0);
static IN_ORDER: AtomicU64 = AtomicU64::new(0);

/// Begins to step at BRK and steps four times.
fn stepper(frame: &mut Frame, fault: &Fault) -> bool {
    match fault.class() {
        EC_BRK => {
            frame.elr += 4;
            msr!("mdscr_el1", KDE | SS);
        }
        EC_STEP => {
            STEPS.fetch_add(1, SeqCst);
            IN_ORDER.fetch_add(u64::from(frame.elr == NEXT.load(SeqCst)), SeqCst);
        }
        _ => return false,
    }
    NEXT.store(frame.elr + 4, SeqCst);
    let more = STEPS.load(SeqCst) < 4;
    frame.spsr = if more { frame.spsr & !SPSR_D | SPSR_SS } else { frame.spsr & !SPSR_SS | SPSR_D };
    if !more {
        msr!("mdscr_el1", 0);
    }
    true
}

fn single_step() {
    set_hook(Some(stepper));
    // SAFETY: adds 3 to its argument; its BRK and steps are the hook's.
    let sum = attempt(|| unsafe { debug_code(10) });
    set_hook(None);
    same("stepped code does what it does", sum, Ok(13));
    equal("four steps are four exceptions", STEPS.load(SeqCst), 4);
    equal("one instruction further each", IN_ORDER.load(SeqCst), 4);
    // SAFETY: the code ended with debug masked; so it was before.
    unsafe { asm!("msr daifset, #8", options(nostack)) };
}

/// Every breakpoint and watchpoint that ID_AA64DFR0_EL1 promises can be used.
fn registers() {
    let dfr0 = mrs!("id_aa64dfr0_el1");
    let (breakpoints, watchpoints) = ((dfr0 >> 12 & 0xf) + 1, (dfr0 >> 20 & 0xf) + 1);
    let kept = |op2, count| {
        (0..count as u32).all(|n| {
            let value = 0x4000_1000 + u64::from(n) * 8;
            let wrote = exec::run(exec::msr_x0(2, 0, 0, n, op2), value).is_ok();
            let read = exec::run(exec::mrs_x0(2, 0, 0, n, op2), 0);
            cpu::isb();
            wrote && read == Ok(value) && exec::run(exec::msr_x0(2, 0, 0, n, op2), 0).is_ok()
        })
    };
    check("all breakpoint addresses can be written and read", kept(4, breakpoints));
    check("all watchpoint addresses can be written and read", kept(6, watchpoints));
}
