//! Pages to share with devices. They are given out in order, and come back only all at once.
#![allow(
    unsafe_code,
    reason = "memory that a device writes is reached by address, not by reference"
)]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
const PAGES: usize = 256;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[u8; PAGES * PAGE as usize]>);
// SAFETY: nobody makes a reference into it: it is reached by loads and stores at addresses.
unsafe impl Sync for Pool {}
static POOL: Pool = Pool(UnsafeCell::new([0; PAGES * PAGE as usize]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The address, physical and virtual alike, of `count` zeroed pages in a row.
pub fn pages(count: usize) -> u64 {
    let first = TAKEN.fetch_add(count, Relaxed);
    assert!(first + count <= PAGES, "out of DMA pages");
    let at = POOL.0.get() as u64 + first as u64 * PAGE;
    fill(at, count * PAGE as usize, 0);
    at
}

/// Takes all pages back. No device may be using one.
pub fn reuse() {
    TAKEN.store(0, Relaxed);
}

/// Copies bytes to DMA memory.
pub fn store(at: u64, bytes: &[u8]) {
    assert!(inside(at, bytes.len()), "not DMA memory");
    // SAFETY: the range lies in the pool, of which there are no references.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
}

/// Copies bytes from DMA memory.
pub fn load(at: u64, bytes: &mut [u8]) {
    assert!(inside(at, bytes.len()), "not DMA memory");
    // SAFETY: as in `store`.
    unsafe { core::ptr::copy_nonoverlapping(at as *const u8, bytes.as_mut_ptr(), bytes.len()) };
}

/// Sets all bytes of a range of DMA memory.
pub fn fill(at: u64, length: usize, byte: u8) {
    assert!(inside(at, length), "not DMA memory");
    // SAFETY: as in `store`.
    unsafe { core::ptr::write_bytes(at as *mut u8, byte, length) };
}

fn inside(at: u64, length: usize) -> bool {
    let start = POOL.0.get() as u64;
    at >= start && at + length as u64 <= start + PAGES as u64 * PAGE
}
