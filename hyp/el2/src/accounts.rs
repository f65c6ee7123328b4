//! What a boot and a guest's restart cost, in ticks of the physical counter, when the loader's command line asks with `tessera.bench`: for
//! comparing releases. With QEMU's `-icount shift=0` and a counter of 1 GHz a tick is an instruction.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tessera_core::hw::Hw;

use crate::hw::El2;
use crate::memory;

static WANTED: AtomicBool = AtomicBool::new(false);
static BEGAN: AtomicU64 = AtomicU64::new(0);
static HASH: AtomicU64 = AtomicU64::new(0);
static ZERO_BEGAN: AtomicU64 = AtomicU64::new(0);
static ZERO: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicBool = AtomicBool::new(false);
/// When the guest stopped that is to start again; 0 for none.
static STOPPED: AtomicU64 = AtomicU64::new(0);
/// When its memory began to be cleared, and when that was done.
static CLEARING: AtomicU64 = AtomicU64::new(0);
static CLEARED: AtomicU64 = AtomicU64::new(0);

/// Whether accounts are kept, and when the board was ours.
pub fn begin(bootargs: &str, began: u64) {
    WANTED.store(bootargs.split(' ').any(|word| word == "tessera.bench"), Ordering::Relaxed);
    BEGAN.store(began, Ordering::Relaxed);
}

/// Runs `work`, which hashes the bundle.
pub fn hashing<T>(work: impl FnOnce() -> T) -> T {
    let began = El2.now();
    let result = work();
    HASH.fetch_add(El2.now() - began, Ordering::Relaxed);
    result
}

/// A guest stops. Of guests that stop at the same time one is accounted for.
pub fn stopping() {
    if WANTED.load(Ordering::Relaxed) {
        CLEARING.store(0, Ordering::Relaxed);
        CLEARED.store(0, Ordering::Relaxed);
        STOPPED.store(El2.now(), Ordering::Relaxed);
    }
}

/// A guest's memory begins to be cleared.
pub fn clearing() {
    let _ = CLEARING.compare_exchange(0, El2.now(), Ordering::Relaxed, Ordering::Relaxed);
    let _ = ZERO_BEGAN.compare_exchange(0, El2.now(), Ordering::Relaxed, Ordering::Relaxed);
}

/// A guest's memory is clear.
pub fn cleared() {
    CLEARED.store(El2.now(), Ordering::Relaxed);
    let began = ZERO_BEGAN.load(Ordering::Relaxed);
    let _ = ZERO.compare_exchange(0, El2.now() - began, Ordering::Relaxed, Ordering::Relaxed);
}

/// A guest is about to run its first instruction.
#[inline(always)]
pub fn guest_runs() {
    if STOPPED.load(Ordering::Relaxed) != 0 || !TOLD.load(Ordering::Relaxed) {
        tell();
    }
}

#[cold]
#[inline(never)]
fn tell() {
    restarted();
    if TOLD.swap(true, Ordering::Relaxed) || !WANTED.load(Ordering::Relaxed) {
        return;
    }
    let total = El2.now() - BEGAN.load(Ordering::Relaxed);
    let (hash, zero) = (HASH.load(Ordering::Relaxed), ZERO.load(Ordering::Relaxed));
    let (heap, _) = memory::heap_usage();
    let rest = total.saturating_sub(hash).saturating_sub(zero);
    log::info!(
        "boot: reset_to_guest={rest} zero={zero} hash={hash} el2_bytes={} heap_used={heap}",
        memory::footprint()
    );
}

fn restarted() {
    let stopped = STOPPED.swap(0, Ordering::Relaxed);
    if stopped == 0 {
        return;
    }
    let zero = CLEARED.load(Ordering::Relaxed).saturating_sub(CLEARING.load(Ordering::Relaxed));
    let all = El2.now() - stopped;
    log::info!("restart: stop_to_guest={} restart_zero={zero}", all.saturating_sub(zero));
}
