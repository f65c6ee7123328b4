//! Checking the bundle's files: the hashes are spread over the cores, which have nothing else to do yet.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use spin::Once;
use tessera_core::bundle::{Bundle, File};
use tessera_core::hw::Hw;

use crate::cpu;
use crate::hw::El2;

/// A file to check, and who found it wrong.
struct Jobs {
    files: Vec<File<'static>>,
    next: AtomicUsize,
    done: AtomicUsize,
    /// A bit for each file whose hash is wrong.
    wrong: AtomicU32,
}

/// Most files that are checked; a bundle has two a guest at most.
const MAX_FILES: usize = 32;

static JOBS: Once<Jobs> = Once::new();

/// Takes part in checking, if there is anything to check.
pub fn help() {
    let Some(jobs) = JOBS.get() else { return };
    loop {
        let n = jobs.next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = jobs.files.get(n) else { return };
        if let Err(error) = file.verify() {
            log::error!("bundle: {error}");
            jobs.wrong.fetch_or(1 << n, Ordering::Relaxed);
        }
        jobs.done.fetch_add(1, Ordering::Release);
    }
}

/// Checks all files of the bundle, with the help of the other cores, and returns those that are whole.
pub fn verify(bundle: &Bundle<'static>) -> Vec<File<'static>> {
    let jobs = JOBS.call_once(|| Jobs {
        files: bundle.files().take(MAX_FILES).collect(),
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        wrong: AtomicU32::new(0),
    });
    cpu::others_online().for_each(|core| El2.kick(core));
    help();
    // The others are in the middle of a file each: bounded by its length.
    while jobs.done.load(Ordering::Acquire) < jobs.files.len() {
        core::hint::spin_loop();
    }
    let wrong = jobs.wrong.load(Ordering::Relaxed);
    let whole = |(n, file): (usize, &File<'static>)| (wrong >> n & 1 == 0).then_some(*file);
    jobs.files.iter().enumerate().filter_map(whole).collect()
}
