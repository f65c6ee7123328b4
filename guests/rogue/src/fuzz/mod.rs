//! Random programs: what nobody thought of as an attack.
//!
//! A program is a few kinds of steps ([`STEPS`]) in a random order, on all CPUs at once. It follows from seed, number and
//! CPU alone, and its name `fuzz SEED/NUMBER` is printed before it runs, so that what it did can be done again. A step
//! that faults is over. A program may kill the guest itself; then the machine is reset, and the guest asks for the number
//! to go on with, since nothing of it is left that could know: `fuzz-from?`, answered by a line `FIRST COUNT`.
//!
//! After some programs the guest sees whether its machine still does what it should, and says `broken …` if not. What its
//! neighbours saw of all this is their business: see `tests/system`.
//!
//! Command line: `rogue.fuzz=SEED`; with `rogue.from=FIRST` and `rogue.count=COUNT` nothing is asked, and a dead guest
//! stays off.

mod code;
mod cpus;
mod places;
mod registers;
mod ring;
mod tables;
mod touch;

pub use code::get_lost;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::virtio::blk::{Blk, Op};
use tessera_rt::{Machine, console, cpu, dma, gic, msr, println, psci, timer, trap};

use crate::tally::Tally;
use crate::{devices, storms};

/// A step of a program.
type Step = fn(&Player, &mut Tally);

/// The kinds of steps.
const STEPS: [Step; 16] = [
    registers::access,
    registers::instruction,
    touch::device,
    touch::device_oddly,
    touch::anywhere,
    touch::uart,
    cpus::call,
    cpus::wait,
    cpus::power,
    cpus::interrupt,
    cpus::interrupt_controller,
    ring::damage,
    ring::set_up,
    tables::game,
    code::words,
    code::leave,
];
/// Most kinds in a program that does not have all.
const FEW: u64 = 3;
/// Steps of a program on one CPU: least and, beyond that, most.
const STEPS_OF_A_PROGRAM: (u64, u64) = (40, 160);
/// One program in so many ends with the guest's death: by a reset amid the work of the others, or in a CPU that is lost.
const DEATHS: u64 = 100;
/// After so many programs the machine has to do what it should.
const CHECK: u64 = 10;

/// Who runs a program.
pub struct Player {
    machine: &'static Machine,
    /// The CPU's number here.
    cpu: usize,
}

/// Runs programs for as long as the command line or the terminal says.
pub fn run(machine: &'static Machine, seed: u64) {
    if !machine.tessera {
        return println!("rogue.fuzz is for Tessera: QEMU's own interrupt controllers die of it");
    }
    for intid in 0..gic::INTIDS as u32 {
        trap::set_handler(intid, take);
    }
    places::find(machine);
    ring::find(machine);
    let number = |name| machine.arg(name).and_then(|n| n.parse().ok());
    let (first, count) = match number("rogue.from") {
        Some(first) => (first, number("rogue.count").unwrap_or(u64::MAX)),
        None => ask(),
    };
    let mut tally = Tally::new(0, seed, machine.tessera);
    for number in first..first.saturating_add(count) {
        // On a line of its own, whatever was sent last.
        println!("\nfuzz {seed}/{number}");
        play_together(machine, seed, number);
        if number.is_multiple_of(CHECK) {
            check(machine, &mut tally);
        }
    }
    check(machine, &mut tally);
    println!("FUZZ-DONE broken={}", tally.broken);
}

/// Asks the terminal where to go on, and for how long; a death asks again.
fn ask() -> (u64, u64) {
    psci::reset_on_death();
    println!("fuzz-from?");
    let (mut numbers, mut place) = ([0u64; 2], 0);
    loop {
        match console::get() {
            Some(b'\r' | b'\n') => return (numbers[0], numbers[1]),
            Some(digit @ b'0'..=b'9') => {
                let shifted = numbers[place].wrapping_mul(10);
                numbers[place] = shifted.wrapping_add(u64::from(digit - b'0'));
            }
            Some(_) => place = 1,
            // An emulator of one thread would leave the other guest a tenth of a second at each of its broadcasts.
            None => cpu::give_way(),
        }
    }
}

/// The random numbers of a program on one CPU.
fn dice(machine: &Machine, seed: u64, number: u64, cpu: usize) -> Tally {
    // A step of splitmix64 for each, so that neighbours have nothing in common.
    let mixed = [number, cpu as u64].into_iter().fold(seed, |state, part| {
        let z = state.wrapping_add(part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    });
    Tally::new(0, mixed, machine.tessera)
}

fn play_together(machine: &'static Machine, seed: u64, number: u64) {
    let mut dice = dice(machine, seed, number, cpus::ALL);
    let dies = dice.below(DEATHS) == 0;
    let lost = if dies { dice.below(machine.cpus().len() as u64) as usize } else { cpus::ALL };
    cpus::begin(machine, seed, number, lost);
    play(machine, seed, number, 0);
    if dies {
        console::init();
        println!("\nfuzz-dies {seed}/{number}");
        psci::died();
    }
    if let Some(cpu) = cpus::laggard(machine) {
        console::init();
        println!("\nfuzz-lost {seed}/{number} cpu {cpu}");
        psci::died();
    }
    crate::recover(machine);
    devices::stop_watchdog(machine);
    recover();
}

/// A CPU's part of a program.
fn play(machine: &'static Machine, seed: u64, number: u64, cpu: usize) {
    let player = Player { machine, cpu };
    let mut dice = dice(machine, seed, number, cpu);
    let few: [usize; FEW as usize] =
        core::array::from_fn(|_| dice.below(STEPS.len() as u64) as usize);
    let kinds = dice.below(FEW + 1) as usize;
    let (least, more) = STEPS_OF_A_PROGRAM;
    for _ in 0..least + dice.below(more) {
        let kind = match few.get(..kinds) {
            None | Some([]) => dice.below(STEPS.len() as u64) as usize,
            Some(few) => few[dice.below(few.len() as u64) as usize],
        };
        STEPS[kind](&player, &mut dice);
    }
    recover();
}

/// Puts what a program may have left of this CPU anyhow into a state in which the next can begin.
fn recover() {
    msr!("cntp_ctl_el0", 0);
    timer::disarm();
    msr!("mdscr_el1", 0);
    msr!("pmcr_el0", 6);
    msr!("pmintenclr_el1", u64::from(u32::MAX));
    msr!("cpacr_el1", 3 << 20);
    msr!("cntkctl_el1", 0);
    gic::init_cpu();
    cpu::with_irqs(|| ());
}

static TAKEN: AtomicU64 = AtomicU64::new(0);
const UART_INTID: u32 = 33;
const PMU: u32 = 23;

/// Takes an interrupt, and makes it stop where it is a level.
fn take(intid: u32) {
    match intid {
        timer::VIRTUAL => timer::disarm(),
        timer::PHYSICAL => msr!("cntp_ctl_el0", 0),
        PMU => msr!("pmintenclr_el1", u64::from(u32::MAX)),
        UART_INTID => tessera_rt::mmio::write32(console::UART + console::IMSC, 0),
        _ if TAKEN.fetch_add(1, Relaxed).is_multiple_of(64) => gic::disable(intid),
        _ => {}
    }
}

/// Whatever came before, the machine does what it should.
fn check(machine: &Machine, tally: &mut Tally) {
    storms::take_all();
    storms::still_works(tally);
    if let Some(Ok(mut disk)) = Blk::find(machine).map(|node| Blk::open(&node, ring::WANTED))
        && disk.run(Op::Read, 0, &[(dma::pages(1), 4096)]).is_err()
    {
        tally.complain("the disk does not read any more", disk.device.base, 0);
    }
    crate::recover(machine);
    for intid in 0..gic::INTIDS as u32 {
        trap::set_handler(intid, take);
    }
    recover();
}
