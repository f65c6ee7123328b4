//! What `cargo xtask soak` runs: `soak SEED FIRST PROGRAMS SECONDS POLICY MACHINE...`, so many programs and seconds on each machine,
//! one after the other. POLICY is that of the guests' cores, `dedicated` or `shared`. It ends at the first failure.
//!
//! It is a test for cargo because only those unwind here: a failure has to switch the board off.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tessera_system_tests::EMULATED;
use tessera_system_tests::fuzz::{self, Plan, Progress};

/// How often progress is told.
const OFTEN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(plans) = plans(&words) else {
        eprintln!("usage: soak SEED FIRST PROGRAMS SECONDS dedicated|shared MACHINE...");
        return ExitCode::FAILURE;
    };
    // The message comes with the result.
    std::panic::set_hook(Box::new(|_| {}));
    for plan in plans {
        if let Err(why) = soak(&plan) {
            eprintln!("{}: {why}", plan.machine.name());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn plans(words: &[String]) -> Option<Vec<Plan>> {
    let (numbers, words) = words.split_at_checked(4)?;
    let (policy, names) = words.split_first()?;
    let shared = match policy.as_str() {
        "dedicated" => false,
        "shared" => true,
        _ => return None,
    };
    let numbers: Option<Vec<u64>> = numbers.iter().map(|number| number.parse().ok()).collect();
    let [seed, first, programs, seconds] = numbers?[..] else { return None };
    let time = Duration::from_secs(seconds);
    let machine = |name: &String| EMULATED.iter().find(|known| known.name() == name).copied();
    let plan = |machine| Plan { machine, seed, first, programs, time, shared };
    names.iter().map(|name| machine(name).map(plan)).collect()
}

fn soak(plan: &Plan) -> Result<(), String> {
    let (begin, mut told) = (Instant::now(), Instant::now());
    let say = |progress: &Progress| {
        let (name, passed) = (plan.machine.name(), begin.elapsed().as_secs());
        println!("{name}, seed {}, {passed} s: {progress}", plan.seed);
    };
    let progress = fuzz::run(plan, &mut |progress| {
        if told.elapsed() >= OFTEN {
            told = Instant::now();
            say(progress);
        }
    })?;
    say(&progress);
    Ok(())
}
