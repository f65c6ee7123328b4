//! RAM: all of it, zeroed, and nothing else.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use tessera_rt::mmio::{read8, read64, write8, write64};
use tessera_rt::report::{check, equal, skip, tessera_only};
use tessera_rt::{Machine, smp, timer};

const PAGE: u64 = 4096;
const ROUNDS: u64 = 20_000;

/// Runs the tests.
pub fn run(machine: &Machine) {
    equal("ram starts at 0x40000000", machine.ram_base, 0x4000_0000);
    check("the last byte of ram is there", {
        let last = machine.ram_end() - 1;
        let before = read8(last);
        write8(last, 0x5a);
        let wrote = read8(last) == 0x5a;
        write8(last, before);
        wrote
    });
    if tessera_only(machine, "ram was zeroed") {
        equal("ram was zeroed", first_not_zero(machine).unwrap_or(0), 0);
    }
    equal("each page of ram keeps its own value", first_wrong(machine).unwrap_or(0), 0);
    atomics(machine);
}

/// Pages of RAM that nothing was loaded into.
fn free_pages(machine: &Machine) -> impl Iterator<Item = u64> {
    let loaded = machine.loaded;
    (machine.ram_base..machine.ram_end())
        .step_by(PAGE as usize)
        .filter(move |page| loaded.iter().all(|(first, last)| page + PAGE <= *first || page > last))
}

fn first_not_zero(machine: &Machine) -> Option<u64> {
    let zero = |page: &u64| (0..PAGE).step_by(8).all(|at| read64(page + at) == 0);
    free_pages(machine).find(|page| !zero(page))
}

/// Writes each free page's address to it, reads all back, and leaves zeros.
fn first_wrong(machine: &Machine) -> Option<u64> {
    free_pages(machine).for_each(|page| write64(page + 8, page));
    let wrong = free_pages(machine).find(|page| read64(page + 8) != *page);
    free_pages(machine).for_each(|page| write64(page + 8, 0));
    wrong
}

static SUM: AtomicU64 = AtomicU64::new(0);
static RUNNING: AtomicU32 = AtomicU32::new(0);

fn atomics(machine: &Machine) {
    if machine.cpus().len() < 2 {
        return skip("exclusives between two cpus", "one CPU only");
    }
    fn add(_: usize) {
        RUNNING.fetch_add(1, SeqCst);
        for _ in 0..ROUNDS {
            SUM.fetch_add(1, SeqCst);
        }
    }
    smp::start(machine, 1, add);
    timer::comes(|| RUNNING.load(SeqCst) == 1);
    add(0);
    smp::wait_off(machine, 1);
    equal("exclusives of two cpus lose nothing", SUM.load(SeqCst), 2 * ROUNDS);
}
