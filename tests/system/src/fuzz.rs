//! Random programs in one guest (`rogue.fuzz` of `guests/rogue`), and another guest whose work is checked.
//!
//! Problem: a program may kill the guest that runs it, and that is no failure, but the next has to be run all the same. The
//! guest says which program it begins; it starts again where it dies, and asks where to go on. One that hangs is lost with
//! its board, and another board goes on behind it.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use crate::checksums::{check_checksums, start_checksums};
use crate::config::Guest;
use crate::disk::Partition;
use crate::machine::Machine;
use crate::scene::Scene;
use crate::target::Target;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where.
    pub machine: Machine,
    /// What programs follow from.
    pub seed: u64,
    /// The first program's number.
    pub first: u64,
    /// How many.
    pub programs: u64,
    /// How long at most, not counting the board's start.
    pub time: Duration,
    /// The guests share their cores; each owns its own otherwise.
    pub shared: bool,
}

/// How far it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the next program.
    pub next: u64,
    /// Times that a program killed its guest, which started again.
    pub deaths: u64,
    /// Times that a guest lost one of its CPUs, or said nothing any more.
    pub losses: u64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { next, deaths, losses } = self;
        write!(f, "next program {next}; the guest died {deaths} times and got lost {losses} times")
    }
}

/// A board is switched off after this time, and another goes on: what it has printed is all kept.
const BOARD_TIME: Duration = Duration::from_secs(600);
/// A guest that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(120);

/// Runs programs. `tell` is called at each. The error says what failed, and how to repeat it.
pub fn run(plan: &Plan, tell: &mut dyn FnMut(&Progress)) -> Result<Progress, String> {
    let mut progress = Progress { next: plan.first, ..Progress::default() };
    let mut left = plan.time;
    while !left.is_zero() && progress.next - plan.first < plan.programs {
        let (checked, time) = (progress.next, left.min(BOARD_TIME));
        let board = AssertUnwindSafe(|| run_board(plan, time, &mut progress, tell));
        if let Err(failure) = panic::catch_unwind(board) {
            let why = failure.downcast_ref::<String>().map_or("no message", String::as_str);
            return Err(format!("{}\n{why}", repeat(plan, checked, progress.next)));
        }
        left -= time;
    }
    Ok(progress)
}

/// The command that runs the programs from `checked` to before `next` again, of which the last failed or, where a neighbour
/// saw it, any.
fn repeat(plan: &Plan, checked: u64, next: u64) -> String {
    let Plan { machine, seed, shared, .. } = plan;
    let last = next.saturating_sub(1).max(checked);
    let shared = if *shared { " --shared" } else { "" };
    let again = format!("cargo xtask soak --machine {} --seed {seed}{shared}", machine.name());
    format!(
        "program {seed}/{last} failed, or one from {seed}/{checked} on. To repeat it:\n    {again} --from {last} \
         --programs 1\n    {again} --from {checked} --programs {}",
        last + 1 - checked
    )
}

fn run_board(
    plan: &Plan,
    time: Duration,
    progress: &mut Progress,
    tell: &mut dyn FnMut(&Progress),
) {
    let Plan { machine, seed, shared, .. } = *plan;
    let scene = Scene::new(machine, "fuzz");
    // With every device that a guest can have.
    let rogue = Guest::rogue("web", &[0, 1])
        .disk("web")
        .with("watchdog = \"reset\"; control;")
        .bootargs(&format!("rogue.fuzz={seed}"));
    let db = Guest::debian("db", &[2, 3]).disk("db");
    let guests = if shared { [rogue, db].map(sharing) } else { [rogue, db] };
    let disks = [Partition::empty("web", 16), Partition::ext4("db", 24, "this is db")];
    let mut target = scene.start(&guests, &disks);
    target.be_patient(3);
    start_checksums(machine, &mut target);
    target.focus("web");
    let begin = Instant::now();
    while begin.elapsed() < time {
        let Some(line) = target.next_line("web", SILENCE) else {
            progress.losses += 1;
            break;
        };
        if !heed(&line, plan, progress, &mut target) {
            break;
        }
        tell(progress);
    }
    check_checksums(&mut target);
}

/// A guest on two cores that others have, too.
fn sharing(guest: Guest) -> Guest {
    guest.cpus(&[0, 1]).shared(2)
}

/// Does what a line of the guest asks; `false` after the last program.
fn heed(line: &str, plan: &Plan, progress: &mut Progress, target: &mut Target) -> bool {
    let left = plan.programs.saturating_sub(progress.next - plan.first);
    let word = line.split(' ').next().unwrap_or_default();
    match word {
        "fuzz" => {
            let number = line.rsplit('/').next().and_then(|number| number.parse().ok());
            progress.next = number.map_or(progress.next, |number: u64| number + 1);
        }
        "fuzz-from?" if left == 0 => return false,
        "fuzz-from?" => target.send(&format!("{} {left}\n", progress.next)),
        "fuzz-dies" | "GUEST-DIED" => progress.deaths += 1,
        "fuzz-lost" => progress.losses += 1,
        "broken" => target.fail("the guest found its machine broken"),
        "FUZZ-DONE" => return false,
        _ => {}
    }
    let tessera = target.said("tessera");
    if ["web stopped", "web crashed"].iter().any(|end| tessera.contains(end)) {
        target.fail("the guest was stopped");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_how_to_repeat_it() {
        let machine = Machine::VirtGicv2;
        let time = Duration::ZERO;
        let mut plan = Plan { machine, seed: 7, first: 0, programs: 1, time, shared: false };
        let text = repeat(&plan, 20, 26);
        assert!(
            text.contains("cargo xtask soak --machine virt-gicv2 --seed 7 --from 25 --programs 1")
        );
        assert!(text.contains("--from 20 --programs 6"), "{text}");
        plan.shared = true;
        assert!(repeat(&plan, 20, 26).contains("--seed 7 --shared --from 25 --programs 1"));
    }
}
