//! What a boot costs, in ticks of the physical counter, when the loader's command line asks with `tessera.bench`: for
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

/// The first guests' memory begins to be cleared.
pub fn clearing() {
    let _ = ZERO_BEGAN.compare_exchange(0, El2.now(), Ordering::Relaxed, Ordering::Relaxed);
}

/// A guest's memory is clear.
pub fn cleared() {
    let began = ZERO_BEGAN.load(Ordering::Relaxed);
    let _ = ZERO.compare_exchange(0, El2.now() - began, Ordering::Relaxed, Ordering::Relaxed);
}

/// The first guest is about to run its first instruction.
pub fn first_guest() {
    if !WANTED.load(Ordering::Relaxed) || TOLD.swap(true, Ordering::Relaxed) {
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
