//! Tessera with its guests on a board, as a user sees it.
//!
//! `cargo xtask test` makes what is booted and runs this; a part of a name picks tests.

mod attacks;
mod board;
mod chance;
mod console;
mod devices;
mod disks;
mod groups;
mod lives;
mod machines;
mod monitor;
mod panics;
mod power;
mod probe;
mod reboots;
mod refusals;
mod sample;
mod shares;
mod sharing;
mod shelf;
mod steal;
mod thirty_two;

use std::process::ExitCode;

use tessera_system_tests::checksums::number;
use tessera_system_tests::{Guest, Partition, Target, harness};

fn main() -> ExitCode {
    harness::run(&[
        sample::TESTS,
        probe::TESTS,
        attacks::TESTS,
        reboots::TESTS,
        lives::TESTS,
        groups::TESTS,
        chance::TESTS,
        board::TESTS,
        disks::TESTS,
        devices::TESTS,
        power::TESTS,
        shelf::TESTS,
        shares::TESTS,
        thirty_two::TESTS,
        steal::TESTS,
        monitor::TESTS,
        sharing::TESTS,
        console::TESTS,
        machines::TESTS,
        refusals::TESTS,
        panics::TESTS,
    ])
}

/// The two Debian guests of most tests, each with a disk of its own size and content.
fn web_and_db() -> [Guest; 2] {
    [Guest::debian("web", &[0, 1]).disk("web"), Guest::debian("db", &[2, 3]).disk("db")]
}

fn partitions() -> [Partition; 2] {
    [Partition::ext4("web", 16, "this is web"), Partition::ext4("db", 24, "this is db")]
}

/// Waits for the last line of a guest that checks promises, all of which have to be kept.
#[track_caller]
fn promises_are_kept(target: &mut Target, who: &str) -> String {
    let done = target.line(who, "PROBE-DONE");
    if number(&done, "failed") != 0 {
        target.fail(&format!("promises are broken: {done}"));
    }
    done
}
