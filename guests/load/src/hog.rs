//! A CPU that is never done.
//!
//! It measures `load.seconds` seconds (10) in windows of `load.window` milliseconds (1000), from its second `load.from` (1) on,
//! when the others have come up. Two measures: `given` is the time that others did not have, and `done` the work that was done
//! against what would have been without anybody else. They differ by what EL2 takes, and by turns of others that are too
//! short for the first.

use tessera_rt::{Machine, println, timer};

use crate::meter::{self, Meter, ppm};
use crate::number;

/// Rounds that are timed together, to know how long one takes: fewer than a turn has.
const TIMED: u64 = 10;

/// Runs it.
pub fn run(machine: &Machine) {
    let window = timer::ticks(number(machine, "load.window", 1000) * 1000);
    let whole = timer::frequency() * number(machine, "load.seconds", 10);
    let from = machine.entered_at + timer::frequency() * number(machine, "load.from", 1);
    let timed = timed_until(from);
    // What rounds would have taken without anybody else, in millionths of what passed.
    let done = |rounds: u64, meter: &Meter| ppm(rounds * timed / TIMED, meter.passed());
    let mut all = Meter::begin();
    let (mut rounds, mut least_given, mut least_done) = (0, u64::MAX, u64::MAX);
    for n in 1.. {
        let mut one = Meter::begin();
        let before = rounds;
        while one.passed() < window {
            round(&mut all, &mut one);
            rounds += 1;
        }
        let (given, done) = (one.given_ppm(), done(rounds - before, &one));
        println!("HOG {n} given_ppm={given} done_ppm={done} turns={}", one.turns());
        least_given = least_given.min(given);
        least_done = least_done.min(done);
        if all.passed() >= whole {
            break;
        }
    }
    println!(
        "LOAD hog given_ppm={} done_ppm={} least_given_ppm={least_given} least_done_ppm={least_done}",
        all.given_ppm(),
        done(rounds, &all),
    );
}

#[inline(never)]
fn round(all: &mut Meter, one: &mut Meter) {
    meter::work();
    all.look();
    one.look();
}

/// Works until then, and gives what [`TIMED`] rounds take at least.
fn timed_until(from: u64) -> u64 {
    let [mut all, mut one] = [Meter::begin(), Meter::begin()];
    let mut least = u64::MAX;
    while timer::now() < from {
        let before = timer::now();
        (0..TIMED).for_each(|_| round(&mut all, &mut one));
        least = least.min(timer::now() - before);
    }
    least
}
