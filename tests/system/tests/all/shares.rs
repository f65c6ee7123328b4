//! What guests are given of the cores that they have, by their own counters: `guests/load`, on boards whose time is counted.
//!
//! An instruction takes [`SHIFT`]: 4 ns, a quarter of the speed that a Raspberry Pi 4 has, so that what Tessera takes weighs
//! rather more than on a board, and ten seconds pass in about as many of the host's.

use tessera_system_tests::{Boot, Guest, Machine, Qemu, Scene, Target, VIRT, tests};

use crate::number;

tests! {
    VIRT:
        a_guest_is_given_all_of_the_cores_that_it_owns_whatever_others_do,
        guests_that_own_their_cores_have_clocks_that_are_right_and_locks_that_hold;
}

/// Nanoseconds of an instruction, as a power of two.
const SHIFT: u32 = 2;
/// How long a guest may wait for its core after a wake-up, where the configuration does not say: a millisecond.
const WAKE_LATENCY_NS: u64 = 1_000_000;

/// Starts guests on a board with four cores whose time is counted.
fn start(scene: &Scene, machine: Machine, guests: &[Guest]) -> Target {
    let qemu = Qemu { counted: Some(SHIFT), ..Qemu::new(machine) };
    let names: Vec<&str> = guests.iter().map(Guest::name).collect();
    let boot = Boot { bundle: Some(scene.bundle(guests)), disk: None };
    Target::start(qemu.board(&boot), &names)
}

/// What a load says at its end. It must have complained of nothing.
#[track_caller]
fn result(target: &mut Target, who: &str, load: &str) -> String {
    let line = target.line(who, &format!("LOAD {load} "));
    if target.said(who).contains("not ok ") {
        target.fail(&format!("{who} complains"));
    }
    line
}

fn a_guest_is_given_all_of_the_cores_that_it_owns_whatever_others_do(machine: Machine) {
    let scene = Scene::new(machine, "owned-cores");
    let guests = [
        Guest::load("hog", &[0], "hog load.seconds=3 load.then=spin"),
        Guest::load("interactive", &[1], "interactive load.wakes=100"),
        Guest::load("state", &[2], "state load.debug"),
        Guest::load("exits", &[3], "exits load.each=100"),
    ];
    let mut target = start(&scene, machine, &guests);
    let hog = result(&mut target, "hog", "hog");
    assert!(number(&hog, "least_given_ppm") > 999_000, "{hog}");
    assert_eq!(number(&result(&mut target, "state", "state"), "wrong"), 0);
    // It waits for an emulated core's turn, not for a core.
    let interactive = result(&mut target, "interactive", "interactive");
    assert!(number(&interactive, "p99_ns") < WAKE_LATENCY_NS / 5, "{interactive}");
}

fn guests_that_own_their_cores_have_clocks_that_are_right_and_locks_that_hold(machine: Machine) {
    let scene = Scene::new(machine, "owned-cores-all");
    let guests = [Guest::load("locks", &[0, 1, 2], "locks"), Guest::load("clock", &[3], "clock")];
    let mut target = start(&scene, machine, &guests);
    let locks = result(&mut target, "locks", "locks");
    assert_eq!(number(&locks, "whole"), 1, "{locks}");
    let clock = target.line("clock", "seconds=60 ");
    assert!((60_000..60_010).contains(&number(&clock, "passed_ms")), "{clock}");
    target.focus("clock");
    target.send("anybody\r");
    target.line("clock", "answer anybody at_ms=");
}
