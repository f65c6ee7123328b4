//! A guest that attacks, and another that must not notice.

use std::time::Duration;

use tessera_system_tests::checksums::{check_checksums, number, start_checksums};
use tessera_system_tests::fuzz::{self, Plan};
use tessera_system_tests::{EVERY, Guest, Machine, Scene, VIRT, tests};

use crate::{partitions, web_and_db};

tests! {
    EVERY:
        one_guest_computes_undisturbed_while_the_other_attacks_in_every_way;
    VIRT:
        one_guest_computes_undisturbed_while_the_other_runs_random_programs,
        one_guest_computes_undisturbed_while_the_other_runs_random_programs_on_the_same_cores;
}

/// How many kinds `rogue` has.
const ATTACKS: u64 = 24;

fn one_guest_computes_undisturbed_while_the_other_attacks_in_every_way(machine: Machine) {
    let scene = Scene::new(machine, "rogue");
    let [_, db] = web_and_db();
    let rogue = Guest::rogue("web", &[0, 1]).disk("web");
    let mut target = scene.start(&[rogue, db], &partitions());
    target.be_patient(3);
    start_checksums(machine, &mut target);
    let done = target.line("web", "ROGUE-DONE");
    if number(&done, "broken") != 0 {
        target.fail(&format!("promises are broken: {done}"));
    }
    let survived = target.said("web").matches("survived ").count() as u64;
    if (number(&done, "attacks"), survived) != (ATTACKS, ATTACKS) {
        target.fail(&format!("{survived} attacks were survived: {done}"));
    }
    check_checksums(&mut target);
}

/// Long enough for some hundred programs, short enough for every day: `cargo xtask soak` is for hours.
const RANDOM_PROGRAMS: Duration = Duration::from_secs(30);

fn one_guest_computes_undisturbed_while_the_other_runs_random_programs(machine: Machine) {
    random_programs(machine, false);
}

fn one_guest_computes_undisturbed_while_the_other_runs_random_programs_on_the_same_cores(
    machine: Machine,
) {
    random_programs(machine, true);
}

#[track_caller]
fn random_programs(machine: Machine, shared: bool) {
    let time = RANDOM_PROGRAMS;
    let plan = Plan { machine, seed: 1, first: 0, programs: u64::MAX, time, shared };
    let done = fuzz::run(&plan, &mut |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(done.next > 0, "no program was run");
}
