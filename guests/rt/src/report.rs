//! Test lines in the manner of TAP: `ok 12 - what`, `not ok 12 - what: got X want Y`, `skip 12 - what: why`, and the sum.

use core::fmt::{Debug, LowerHex};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{Machine, println};

static PASSED: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);
static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Prints what machine this is.
pub fn begin(name: &str, machine: &Machine) {
    crate::start::greet(name, machine);
}

/// Tests run so far.
fn number() -> u32 {
    PASSED.load(Relaxed) + FAILED.load(Relaxed) + SKIPPED.load(Relaxed)
}

/// A test that is passed when `holds`.
pub fn check(what: &str, holds: bool) {
    if holds {
        PASSED.fetch_add(1, Relaxed);
        println!("ok {} - {what}", number());
    } else {
        FAILED.fetch_add(1, Relaxed);
        println!("not ok {} - {what}", number());
    }
}

/// A test that is passed when `got` is `want`.
pub fn equal<T: PartialEq + LowerHex>(what: &str, got: T, want: T) {
    if got == want {
        return check(what, true);
    }
    FAILED.fetch_add(1, Relaxed);
    println!("not ok {} - {what}: got {got:#x} want {want:#x}", number());
}

/// As [`equal`], for what has no number.
pub fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) {
    if got == want {
        return check(what, true);
    }
    FAILED.fetch_add(1, Relaxed);
    println!("not ok {} - {what}: got {got:x?} want {want:x?}", number());
}

/// A test that cannot be made here.
pub fn skip(what: &str, why: &str) {
    SKIPPED.fetch_add(1, Relaxed);
    println!("skip {} - {what}: {why}", number());
}

/// Whether this machine is Tessera's; skips the test where it is not.
pub fn tessera_only(machine: &Machine, what: &str) -> bool {
    if !machine.tessera {
        skip(what, "a promise of Tessera's only");
    }
    machine.tessera
}

/// The last line: `PROBE-DONE passed=N failed=N skipped=N`.
pub fn done() {
    println!(
        "PROBE-DONE passed={} failed={} skipped={}",
        PASSED.load(Relaxed),
        FAILED.load(Relaxed),
        SKIPPED.load(Relaxed)
    );
}
