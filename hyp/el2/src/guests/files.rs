//! Checking the bundle's files: the hashes are spread over the cores, which have nothing else to do yet.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use spin::Once;
use tessera_core::bundle::{Bundle, File};
use tessera_core::config::{MAX_BOARD_GROUPS, MAX_GUESTS};
use tessera_core::hw::Hw;

use crate::cpu;
use crate::hw::El2;

/// What is to be checked, and what was found wrong.
struct Jobs {
    files: Vec<File<'static>>,
    /// Which piece of which file: one kernel is most of a bundle, so a file is not one core's.
    pieces: Vec<(usize, usize)>,
    next: AtomicUsize,
    done: AtomicUsize,
    /// A bit for each file whose hash is wrong.
    wrong: [AtomicU64; 2],
}

/// Most files that are checked: a bundle has two a guest and one a group at most.
const MAX_FILES: usize = 2 * MAX_GUESTS + MAX_BOARD_GROUPS;
const _: () = assert!(MAX_FILES <= 2 * u64::BITS as usize);

static JOBS: Once<Jobs> = Once::new();

/// Takes part in checking, if there is anything to check.
pub fn help() {
    let Some(jobs) = JOBS.get() else { return };
    loop {
        let n = jobs.next.fetch_add(1, Ordering::Relaxed);
        let Some(&(n, piece)) = jobs.pieces.get(n) else { return };
        let Some(file) = jobs.files.get(n) else { return };
        if let Err(error) = file.verify_piece(piece) {
            // Of several wrong pieces the first is told.
            if jobs.wrong[n / 64 % 2].fetch_or(1 << (n % 64), Ordering::Relaxed) >> (n % 64) & 1
                == 0
            {
                log::error!("bundle: {error}");
            }
        }
        jobs.done.fetch_add(1, Ordering::Release);
    }
}

/// Checks the files of the bundle that the configuration can name, with the help of the other cores, and returns those that
/// are whole. The configuration itself, which has no such name, was checked before it was read.
pub fn verify(bundle: &Bundle<'static>) -> Vec<File<'static>> {
    let named = bundle.files().filter(|file| file.paths().next().is_some());
    let files: Vec<File<'static>> = named.take(MAX_FILES).collect();
    let numbered = files.iter().enumerate();
    let pieces = numbered.flat_map(|(n, file)| (0..file.pieces()).map(move |piece| (n, piece)));
    let jobs = JOBS.call_once(|| Jobs {
        pieces: pieces.collect(),
        files: files.clone(),
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        wrong: [const { AtomicU64::new(0) }; 2],
    });
    cpu::others_online().for_each(|core| El2.kick(core));
    help();
    // The others are in the middle of a piece each: bounded by its length.
    while jobs.done.load(Ordering::Acquire) < jobs.pieces.len() {
        core::hint::spin_loop();
    }
    let wrong = |n: usize| jobs.wrong[n / 64 % 2].load(Ordering::Relaxed) >> (n % 64) & 1 != 0;
    let whole = |(n, file): (usize, &File<'static>)| (!wrong(n)).then_some(*file);
    jobs.files.iter().enumerate().filter_map(whole).collect()
}
