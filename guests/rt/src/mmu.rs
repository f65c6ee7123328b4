//! Translation: RAM and devices lie where their physical addresses say; anything else is mapped page by page into a
//! window, so that a test can reach any physical address with any attributes.
#![allow(
    unsafe_code,
    reason = "translation tables are read by the MMU and are invalidated by instructions"
)]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::{cpu, mrs};

/// Memory type of a mapping, by its place in MAIR_EL1 as the entry code set it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Kind {
    /// Normal memory, write-back.
    Normal = 0,
    /// Normal memory, not cached.
    NonCacheable = 1,
    /// Device-nGnRE.
    Device = 2,
}

/// Descriptor bits (DDI 0487 D8.3).
const VALID: u64 = 1;
const TABLE: u64 = 3;
const PAGE: u64 = 3;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const UXN: u64 = 1 << 54;
const PXN: u64 = 1 << 53;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

const ENTRIES: usize = 512;
/// The window is a gigabyte of virtual addresses, of which the first 2 MiB are used.
const WINDOW: u64 = 64 << 30;

#[repr(C, align(4096))]
struct Table([AtomicU64; ENTRIES]);
static LEVEL2: Table = Table([const { AtomicU64::new(0) }; ENTRIES]);
static LEVEL3: Table = Table([const { AtomicU64::new(0) }; ENTRIES]);
static NEXT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: defined in entry.s: one page of descriptors.
unsafe extern "C" {
    static rt_level1: UnsafeCell<[u64; ENTRIES]>;
}

/// The level 1 table, which maps RAM and devices.
pub fn root() -> u64 {
    (&raw const rt_level1).addr() as u64
}

/// Sets the level 1 entry of a gigabyte of virtual addresses.
pub fn set_level1(gigabyte: usize, descriptor: u64) {
    // SAFETY: the table is a static of the entry code, which only the MMU reads and only this function writes.
    let place = unsafe { rt_level1.get().cast::<AtomicU64>().add(gigabyte % ENTRIES) };
    // SAFETY: it points into that table.
    unsafe { (*place).store(descriptor, Relaxed) };
    flush();
}

/// Sets the level 2 entry of the window's `slot`-th 2 MiB.
pub fn set_level2(slot: usize, descriptor: u64) {
    LEVEL2.0[slot % ENTRIES].store(descriptor, Relaxed);
    flush();
}

/// The address of the window's `slot`-th 2 MiB.
pub fn level2_va(slot: usize) -> u64 {
    WINDOW + ((slot as u64) << 21)
}

/// Maps the window and the RAM beyond the first gigabyte.
pub(crate) fn init(ram_end: u64) {
    LEVEL2.0[0].store(&raw const LEVEL3 as u64 | TABLE, Relaxed);
    set_level1((WINDOW >> 30) as usize, &raw const LEVEL2 as u64 | TABLE);
    for gigabyte in 2..ram_end.div_ceil(1 << 30).min(WINDOW >> 30) {
        let block = gigabyte << 30 | VALID | INNER_SHAREABLE | ACCESS_FLAG | UXN;
        set_level1(gigabyte as usize, block);
    }
}

/// Maps the page of `pa` somewhere in the window and gives the address of `pa` there. The 511th mapping after it takes
/// its place. `exec` lets EL1 fetch from it.
pub fn map(pa: u64, kind: Kind, exec: bool) -> u64 {
    let slot = NEXT.fetch_add(1, Relaxed) % ENTRIES;
    let never = if exec { UXN } else { UXN | PXN };
    let descriptor =
        pa & ADDRESS | PAGE | ACCESS_FLAG | INNER_SHAREABLE | never | (kind as u64) << 2;
    map_raw(slot, descriptor) + (pa & 0xfff)
}

/// Maps the gigabyte that `pa` is in where its physical addresses say, cached and not to be executed, and gives `pa`.
pub fn map_gigabyte(pa: u64) -> u64 {
    let gigabyte = pa >> 30;
    set_level1(
        gigabyte as usize,
        gigabyte << 30 | VALID | INNER_SHAREABLE | ACCESS_FLAG | UXN | PXN,
    );
    pa
}

/// Puts a raw level 3 descriptor into a slot of the window and gives the page's address.
pub fn map_raw(slot: usize, descriptor: u64) -> u64 {
    LEVEL3.0[slot % ENTRIES].store(0, Relaxed);
    flush();
    LEVEL3.0[slot % ENTRIES].store(descriptor, Relaxed);
    cpu::dsb();
    cpu::isb();
    WINDOW + (((slot % ENTRIES) as u64) << 12)
}

/// Invalidates all TLB entries, on all CPUs.
pub fn flush() {
    // SAFETY: maintenance only; what Rust uses stays mapped.
    unsafe { core::arch::asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
}

/// Makes what was written to `at` visible to instruction fetch, here and on the other CPUs.
pub fn sync_code(at: u64, bytes: u64) {
    for line in (at..at + bytes).step_by(16) {
        // SAFETY: cleaning and invalidating by address loses nothing.
        unsafe {
            core::arch::asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) line, options(nostack))
        };
    }
    cpu::dsb();
    cpu::isb();
}

/// Bits of physical address that the CPU has (ID_AA64MMFR0_EL1.PARange).
pub fn pa_bits() -> u32 {
    match mrs!("id_aa64mmfr0_el1") & 0xf {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}
