//! What guests are given of the cores that they have, by their own counters: `guests/load`, on boards whose time is counted.
//!
//! An instruction takes 2 ns ([`SHIFT`]), which is slower than a Raspberry Pi 4, so that what Tessera takes weighs rather more than on a
//! board, and ten seconds pass in about as many of the host's.

use tessera_system_tests::{Boot, EMULATED, Guest, Machine, Qemu, Scene, Target, VIRT, tests};

use crate::number;

tests! {
    EMULATED:
        two_hogs_with_shares_of_one_to_three_get_a_quarter_and_three_quarters,
        nothing_of_another_guest_shows_in_registers_timers_and_interrupts;
    VIRT:
        a_guest_is_given_all_of_the_cores_that_it_owns_whatever_others_do,
        guests_that_own_their_cores_have_clocks_that_are_right_and_locks_that_hold,
        four_vcpus_of_one_core_get_through_their_locks_in_little_more_than_their_fair_time,
        a_capped_hog_gets_its_cap_beside_others_and_alone,
        a_guest_with_a_reserve_gets_it_among_seven_hogs,
        an_interactive_guest_among_seven_hogs_is_awake_within_the_latency,
        a_guest_whose_neighbour_is_loaded_anew_is_awake_within_the_latency,
        a_guest_that_owns_its_core_has_the_same_timer_beside_shared_cores,
        exits_of_each_class_leave_a_neighbour_on_the_same_core_its_fair_share,
        a_core_that_has_nothing_to_do_takes_over_who_waits;
}

/// Nanoseconds of an instruction, as a power of two.
const SHIFT: u32 = 1;
/// A percent in millionths.
const PERCENT: u64 = 10_000;
/// How long a guest may wait for its core after a wake-up, where the configuration does not say: a millisecond.
const WAKE_LATENCY_NS: u64 = 1_000_000;

/// Starts guests on a board with four cores whose time is counted.
pub fn start(scene: &Scene, machine: Machine, guests: &[Guest]) -> Target {
    start_counted(scene, machine, guests, SHIFT)
}

/// The same where an instruction takes two to the power of `shift` nanoseconds.
pub fn start_counted(scene: &Scene, machine: Machine, guests: &[Guest], shift: u32) -> Target {
    let qemu = Qemu { counted: Some(shift), ..Qemu::new(machine) };
    let names: Vec<&str> = guests.iter().map(Guest::name).collect();
    let boot = Boot { bundle: Some(scene.bundle(guests)), disk: None };
    let mut target = Target::start(qemu.board(&boot), &names);
    // The board's seconds are as long as its instructions take the host.
    target.be_patient(4);
    target
}

/// What a load says at its end. It must have complained of nothing.
#[track_caller]
pub fn result(target: &mut Target, who: &str, load: &str) -> String {
    let line = target.line(who, &format!("LOAD {load} "));
    if target.said(who).contains("not ok ") {
        target.fail(&format!("{who} complains"));
    }
    line
}

/// A load with a vCPU that shares these cores.
fn shared(name: &str, cpus: &[u32], load: &str) -> Guest {
    Guest::load(name, cpus, load).shared(1)
}

/// A hog that shares core 0 and is never done.
fn hog(name: &str) -> Guest {
    shared(name, &[0], "hog load.then=spin")
}

/// Hogs that share core 0, beside another guest.
fn with_hogs(other: Guest, hogs: usize) -> Vec<Guest> {
    let hogs = (1..=hogs).map(|n| hog(&format!("hog{n}")));
    std::iter::once(other).chain(hogs).collect()
}

/// Holds what a hog was given over its ten seconds against so many percent, within one.
#[track_caller]
fn gets(target: &mut Target, who: &str, percent: u64) {
    let line = result(target, who, "hog");
    let given = number(&line, "given_ppm");
    if given.abs_diff(percent * PERCENT) > PERCENT {
        target.fail(&format!("{who} should have {percent} %: {line}"));
    }
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

fn two_hogs_with_shares_of_one_to_three_get_a_quarter_and_three_quarters(machine: Machine) {
    let scene = Scene::new(machine, "shares");
    let guests = [hog("one").with("cpu-shares = <100>;"), hog("three").with("cpu-shares = <300>;")];
    let mut target = start(&scene, machine, &guests);
    gets(&mut target, "one", 25);
    gets(&mut target, "three", 75);
}

fn a_capped_hog_gets_its_cap_beside_others_and_alone(machine: Machine) {
    let scene = Scene::new(machine, "cap");
    let capped = |name, core| shared(name, &[core], "hog load.then=spin").with("cpu-cap = <40>;");
    let guests = [capped("capped", 0), hog("other"), capped("alone", 1)];
    let mut target = start(&scene, machine, &guests);
    gets(&mut target, "capped", 40);
    gets(&mut target, "other", 60);
    gets(&mut target, "alone", 40);
}

fn a_guest_with_a_reserve_gets_it_among_seven_hogs(machine: Machine) {
    let scene = Scene::new(machine, "reserve");
    let reserved = hog("reserved").with("cpu-reserve = <20>;");
    let mut target = start(&scene, machine, &with_hogs(reserved, 7));
    let line = result(&mut target, "reserved", "hog");
    assert!(number(&line, "given_ppm") >= 20 * PERCENT, "{line}");
    for n in 1..=7 {
        // A seventh of what is left.
        let line = result(&mut target, &format!("hog{n}"), "hog");
        assert!((10 * PERCENT..12 * PERCENT).contains(&number(&line, "given_ppm")), "{line}");
    }
}

fn an_interactive_guest_among_seven_hogs_is_awake_within_the_latency(machine: Machine) {
    let scene = Scene::new(machine, "interactive");
    let mut target = start(&scene, machine, &with_hogs(shared("typist", &[0], "interactive"), 7));
    let line = result(&mut target, "typist", "interactive");
    assert!(number(&line, "p99_ns") < WAKE_LATENCY_NS, "{line}");
}

fn a_guest_whose_neighbour_is_loaded_anew_is_awake_within_the_latency(machine: Machine) {
    let scene = Scene::new(machine, "loaded-anew");
    // Each start of the neighbour copies this: in one piece it would be ten milliseconds or so.
    let ramdisk = scene.file("ramdisk", &vec![0x5a; 32 << 20]);
    let neighbour = shared("neighbour", &[0], "hog load.seconds=1 load.then=off")
        .memory("64M")
        .with(&format!("ramdisk = \"{}\"; restart = \"always\";", ramdisk.display()));
    let typist = shared("typist", &[0], "interactive load.wakes=600");
    let mut target = start(&scene, machine, &[typist, neighbour]);
    let line = result(&mut target, "typist", "interactive");
    assert!(number(&line, "max_ns") < WAKE_LATENCY_NS, "{line}");
    let lives = target.said("neighbour").matches("LOAD hog ").count();
    assert!(lives > 1, "the neighbour had {lives} lives, or was not loaded anew meanwhile");
}

fn four_vcpus_of_one_core_get_through_their_locks_in_little_more_than_their_fair_time(
    machine: Machine,
) {
    let scene = Scene::new(machine, "locks");
    let mut target =
        start(&scene, machine, &[Guest::load("locks", &[0], "locks load.turns=5000").shared(4)]);
    let line = result(&mut target, "locks", "locks");
    assert_eq!((number(&line, "cpus"), number(&line, "whole")), (4, 1), "{line}");
    assert!(number(&line, "permille_of_fair") <= 1300, "{line}");
}

fn a_guest_that_owns_its_core_has_the_same_timer_beside_shared_cores(machine: Machine) {
    // Beside a hog that owns the other core, and beside two that take turns there.
    let measured = [false, true].map(|beside_shared| {
        let scene = Scene::new(machine, "mixed");
        let own = Guest::load("own", &[1], "interactive");
        let owned = Guest::load("hog1", &[0], "hog load.then=spin");
        let guests = if beside_shared { with_hogs(own, 2) } else { vec![own, owned] };
        let mut target = start(&scene, machine, &guests);
        let line = result(&mut target, "own", "interactive");
        ["p50_ns", "p99_ns"].map(|key| number(&line, key))
    });
    let [alone, mixed] = measured;
    // An emulated core's turn is what they wait for, if for anything: a round of the hog's work.
    for (alone, mixed) in alone.iter().zip(&mixed) {
        assert!(*mixed <= alone + 1000, "{alone} ns alone, {mixed} ns beside shared cores");
    }
}

fn exits_of_each_class_leave_a_neighbour_on_the_same_core_its_fair_share(machine: Machine) {
    // The second vCPU of the latter is there to be woken and started: it may want a third of the core, too.
    for (vcpus, kinds, seconds) in [(1, "", 7), (2, "load.kind=sgi-others,cpu-on", 2)] {
        let scene = Scene::new(machine, "exits");
        let measure = format!("hog load.seconds={seconds} load.window=250 load.then=spin");
        let guests = [
            shared("neighbour", &[0], &measure),
            Guest::load("exits", &[0], &format!("exits load.each=500 {kinds}")).shared(vcpus),
        ];
        let mut target = start(&scene, machine, &guests);
        let line = result(&mut target, "neighbour", "hog");
        let fair = 100 * PERCENT / (vcpus as u64 + 1);
        assert!(number(&line, "least_done_ppm") >= fair * 9 / 10, "{line}");
    }
}

fn nothing_of_another_guest_shows_in_registers_timers_and_interrupts(machine: Machine) {
    let scene = Scene::new(machine, "state");
    // Some use what others do not, and they change cores.
    let words = ["", " load.no-fp", " load.debug", " load.debug load.no-fp", " load.debug", ""];
    let guest = |(seed, words): (usize, &&str)| {
        let load = format!("state load.seed={seed}{words}");
        shared(&format!("state{seed}"), &[0, 1], &load)
    };
    let guests: Vec<Guest> = words.iter().enumerate().map(guest).collect();
    let mut target = start(&scene, machine, &guests);
    for guest in &guests {
        let line = result(&mut target, guest.name(), "state");
        assert_eq!(number(&line, "wrong"), 0, "{line}");
    }
}

fn a_core_that_has_nothing_to_do_takes_over_who_waits(machine: Machine) {
    let scene = Scene::new(machine, "idle-core");
    // The second is at home on core 1, the others on core 0.
    let guests = [
        shared("stays", &[0, 1], "hog load.seconds=8 load.then=spin"),
        shared("goes", &[0, 1], "hog load.seconds=3 load.then=off"),
        shared("moves", &[0, 1], "hog load.seconds=8 load.then=spin"),
    ];
    let mut target = start(&scene, machine, &guests);
    for who in ["stays", "moves"] {
        let last = target.line(who, "HOG 8 ");
        assert!(number(&last, "given_ppm") > 99 * PERCENT, "{who}: {last}");
        let first = target.said(who).lines().find(|line| line.contains("HOG 2 ")).map(String::from);
        let first = first.unwrap_or_default();
        assert!(number(&first, "given_ppm") < 70 * PERCENT, "{who}: {first}");
    }
}
