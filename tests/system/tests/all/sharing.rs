//! Guests that share cores: what they are promised holds, and whoever looks after the board finds them in whatever state they are.

use tessera_system_tests::random::{Random, times};
use tessera_system_tests::{Guest, Machine, Scene, Target, VIRT, tests};

use crate::shares::start;
use crate::{number, promises_are_kept};

tests! {
    VIRT:
        every_promise_is_kept_for_vcpus_that_share_two_cores_and_for_four_on_one,
        debian_boots_with_two_vcpus_on_one_core_beside_another,
        guests_are_paused_killed_and_started_whether_they_run_wait_sleep_or_are_off;
}

fn every_promise_is_kept_for_vcpus_that_share_two_cores_and_for_four_on_one(machine: Machine) {
    let scene = Scene::new(machine, "probe-shared");
    let guests = [Guest::probe("two", &[0, 1]).shared(2), Guest::probe("four", &[2]).shared(4)];
    let mut target = scene.start(&guests, &[]);
    for who in ["two", "four"] {
        let done = promises_are_kept(&mut target, who);
        assert!(number(&done, "passed") > 100, "{done}");
    }
}

fn debian_boots_with_two_vcpus_on_one_core_beside_another(machine: Machine) {
    let scene = Scene::new(machine, "debian-shared");
    let guests = ["web", "db"].map(|name| Guest::debian(name, &[1]).memory("96M").shared(2));
    let mut target = scene.start(&guests, &[]);
    target.be_patient(2);
    for name in ["web", "db"] {
        assert_eq!(number(&target.line(name, "GUEST-READY"), "cpus"), 2);
        target.prompt(name);
        assert_eq!(target.shell(name, "hostname; nproc"), format!("{name}\n2"));
    }
}

fn guests_are_paused_killed_and_started_whether_they_run_wait_sleep_or_are_off(machine: Machine) {
    let scene = Scene::new(machine, "states");
    let one = |name, load| Guest::load(name, &[0], load).shared(1);
    let guests = [
        // One of them runs while the other waits.
        one("busy", "hog load.then=spin"),
        one("also", "hog load.then=spin"),
        // It has used up its part of most windows.
        one("capped", "hog load.then=spin").with("cpu-cap = <1>;"),
        one("asleep", "clock"),
        // Its second vCPU is never switched on.
        Guest::load("half", &[0], "clock").shared(2),
    ];
    let mut target = start(&scene, machine, &guests);
    guests.iter().for_each(|guest| _ = target.line(guest.name(), "load: "));
    let mut random = Random::new();
    for _ in 0..times(2) {
        for guest in &guests {
            each_verb(&mut target, guest.name(), &mut random);
        }
    }
    for guest in &guests {
        assert_eq!(target.vm(guest.name())["state"], "running", "{}", guest.name());
    }
}

/// Has a guest stand still, go on, end and begin, at moments that nobody chose.
#[track_caller]
fn each_verb(target: &mut Target, name: &str, random: &mut Random) {
    let mut ask = |verb: &str, state: &str| {
        target.let_run(random.millis(20));
        target.ask(&format!("vm {verb} {name}"));
        target.wait_state(name, state);
    };
    ask("pause", "paused");
    ask("resume", "running");
    ask("kill", "stopped");
    ask("start", "running");
    target.line(name, "load: ");
    target.ask(&format!("vm pause {name}"));
    target.wait_state(name, "paused");
    target.ask(&format!("vm reset {name}"));
    target.line(name, "load: ");
}
