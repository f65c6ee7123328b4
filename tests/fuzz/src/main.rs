//! Feeds targets without libFuzzer, and deals with its files: for `cargo xtask fuzz`.
//!
//! - `noise TARGET SECONDS`: seeds, what is kept, and what becomes of them by changes, for so long
//! - `seeds TARGET DIRECTORY`: writes seeds and what is kept as files, for libFuzzer to begin with
//! - `replay TARGET FILE...`: runs files, and shows each as a line to keep

use std::fs;
use std::panic;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tessera_core::fuzz::{Target, input};
use tessera_fuzz::{hex, inputs, target};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["noise", name, seconds] => noise(target(name)?, Duration::from_secs(seconds.parse()?)),
        ["seeds", name, directory] => write_seeds(target(name)?, Path::new(directory)),
        ["replay", name, ref files @ ..] => replay(target(name)?, files),
        _ => bail!("noise TARGET SECONDS, seeds TARGET DIRECTORY, or replay TARGET FILE..."),
    }
}

/// The input that is being run.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Runs one input; where it fails, it is shown as a line to keep.
fn run(target: &Target, input: Vec<u8>) {
    let mut current = INPUT.lock().unwrap_or_else(|error| error.into_inner());
    *current = input.clone();
    drop(current);
    (target.run)(&input);
}

fn show_failures(target: &'static Target) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        let input = INPUT.lock().unwrap_or_else(|error| error.into_inner());
        eprintln!("to keep in tests/fuzz/corpus/{}.hex:\n{}", target.name, hex(&input));
    }));
}

fn noise(target: &'static Target, time: Duration) -> Result<()> {
    show_failures(target);
    let (begin, seeds) = (Instant::now(), inputs(target)?);
    let mut runs = 0;
    while runs < seeds.len() as u64 || begin.elapsed() < time {
        run(target, input(runs, &seeds));
        runs += 1;
    }
    println!("{}: {runs} inputs in {} s", target.name, begin.elapsed().as_secs());
    Ok(())
}

fn write_seeds(target: &'static Target, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    for (number, input) in inputs(target)?.iter().enumerate() {
        fs::write(directory.join(format!("seed-{number}")), input)?;
    }
    Ok(())
}

fn replay(target: &'static Target, files: &[&str]) -> Result<()> {
    show_failures(target);
    for file in files {
        let input = fs::read(file)?;
        println!("{}", hex(&input));
        run(target, input);
    }
    Ok(())
}
