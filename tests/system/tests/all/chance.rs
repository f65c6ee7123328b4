//! Guests that are started, stopped, paused and killed at moments that nobody chose, beside a neighbour whose work is checked.

use std::time::Duration;

use tessera_system_tests::checksums::{check_checksums, start_checksums};
use tessera_system_tests::random::{Random, times};
use tessera_system_tests::{EVERY, Guest, Machine, Scene, Target, tests};

use crate::lives::{idle, memory};
use crate::{partitions, web_and_db};

tests! {
    EVERY:
        whatever_is_asked_of_guests_at_random_a_neighbour_works_on_and_no_memory_is_lost,
        a_guest_that_is_killed_at_any_moment_disturbs_nobody;
}

fn a_guest_that_is_killed_at_any_moment_disturbs_nobody(machine: Machine) {
    let kills = times(if machine == Machine::Raspi4b { 1 } else { 3 });
    let scene = Scene::new(machine, "kills");
    let [web, db] = web_and_db();
    let writes =
        "echo WRITES; while :; do dd if=/dev/zero of=/mnt/new bs=64k count=64; done 2>/dev/null";
    let mut target = scene.start(&[web.script(writes), db], &partitions());
    start_checksums(machine, &mut target);
    let mut random = Random::new();
    for _ in 0..kills {
        // From the first instructions on.
        let latest = random.one(&[5, 50, 500, 3000]);
        kill_and_start(&mut target, random.millis(latest));
        // In the middle of disk traffic.
        target.line("web", "WRITES");
        kill_and_start(&mut target, random.millis(1000));
    }
    target.line("web", "WRITES");
    assert!(!target.said("web").contains("cannot mount"), "{}", target.said("web"));
    check_checksums(&mut target);
}

/// Kills `web` some time after it began to run, and starts it.
#[track_caller]
fn kill_and_start(target: &mut Target, after: Duration) {
    target.wait_state("web", "running");
    target.let_run(after);
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
    target.pass_over("web");
    target.ask("vm start web");
}

fn whatever_is_asked_of_guests_at_random_a_neighbour_works_on_and_no_memory_is_lost(
    machine: Machine,
) {
    let requests = times(if machine == Machine::Raspi4b { 15 } else { 60 });
    let scene = Scene::new(machine, "random");
    let guests = [
        Guest::debian("web", &[0]).disk("web"),
        idle("app", &[1]),
        Guest::debian("db", &[2, 3]).disk("db"),
    ];
    let mut target = scene.start(&guests, &partitions());
    start_checksums(machine, &mut target);
    let mut free = 0;
    let mut random = Random::new();
    for round in 0..2 {
        for (name, ready) in [("web", "GUEST-READY web"), ("app", "ROGUE-ENDS wait")] {
            start_anew(&mut target, name, ready);
        }
        // What grows to its size once has done so after the first.
        let now = memory(&mut target);
        assert!(round == 0 || now == free, "{now} bytes are free, and {free} were before");
        free = now;
        if round == 0 {
            (0..requests).for_each(|_| ask_at_random(&mut random, &mut target));
        }
    }
    check_checksums(&mut target);
}

/// Asks one of two guests for something, which may be refused for the state that it is in.
#[track_caller]
fn ask_at_random(random: &mut Random, target: &mut Target) {
    let name = random.one(&["web", "app"]);
    // What starts is asked for more often, or they would be down most of the time.
    let verb = random.one(&["start", "start", "resume", "reset", "pause", "stop", "kill"]);
    if let Err(why) = target.try_ask(&format!("vm {verb} {name}")) {
        let expected = why.starts_with(&format!("{name}: it is ")) && why.contains(": ");
        assert!(expected, "`vm {verb} {name}` was refused for `{why}`");
    }
    let latest = random.one(&[1, 20, 300, 1500]);
    target.let_run(random.millis(latest));
}

/// Ends a guest, whatever it is at, and starts it.
#[track_caller]
fn start_anew(target: &mut Target, name: &str, ready: &str) {
    // It may be down already.
    let _ = target.try_ask(&format!("vm kill {name}"));
    target.wait_vm(name, "it is down", |vm| {
        ["defined", "stopped", "crashed"].iter().any(|down| vm["state"] == *down)
    });
    target.pass_over(name);
    target.ask(&format!("vm start {name}"));
    target.line(name, ready);
}
