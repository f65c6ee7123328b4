//! As many guests as there can be: eight on each of four cores.

use std::time::Duration;

use tessera_system_tests::{
    Boot, EMULATED, GICV3, Guest, Machine, Qemu, Scene, Target, Value, tests,
};

use crate::number;
use crate::shares::start;

tests! {
    EMULATED:
        thirty_two_guests_on_four_cores_answer_and_their_clocks_are_right;
    GICV3:
        all_debian_guests_of_the_sample_of_thirty_two_answer_and_their_clocks_are_right;
}

fn thirty_two_guests_on_four_cores_answer_and_their_clocks_are_right(machine: Machine) {
    let scene = Scene::new(machine, "thirty-two");
    let names: Vec<String> = (0..32).map(|n| format!("guest{n}")).collect();
    let guests: Vec<Guest> =
        names.iter().map(|name| Guest::load(name, &[], "clock").shared(1)).collect();
    let mut target = start(&scene, machine, &guests);
    for name in &names {
        let line = target.line(name, "LOAD clock seconds=60 ");
        assert!((60_000..60_010).contains(&number(&line, "passed_ms")), "{name}: {line}");
        assert!(!target.said(name).contains("not ok "), "{name}");
    }
    let mut before = 0;
    for name in &names {
        target.focus(name);
        target.send(&format!("is {name} there\r"));
        let answer = target.line(name, &format!("answer is {name} there at_ms="));
        // They were started one after the other, and nobody's clock stands.
        let at = number(&answer, "at_ms");
        assert!(at + 1000 >= before, "{name} has {at} ms, another had {before} before");
        before = at;
    }
}

/// How finely Linux tells its uptime, in milliseconds.
const UPTIME_STEP_MS: u64 = 10;

/// What a guest's clock said, and the board's before and after, in milliseconds.
struct Reading {
    before: u64,
    guest: u64,
    after: u64,
}

impl Reading {
    #[track_caller]
    fn of(target: &mut Target, name: &str) -> Self {
        let before = lived(target, name);
        let uptime = target.shell(name, "cat /proc/uptime");
        let seconds = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok());
        let Some(seconds): Option<f64> = seconds else {
            target.fail(&format!("no uptime of {name}: {uptime}"))
        };
        Self { before, guest: (seconds * 1000.0).round() as u64, after: lived(target, name) }
    }
}

/// How long a guest runs by the board's clock, in milliseconds.
#[track_caller]
fn lived(target: &mut Target, name: &str) -> u64 {
    let show = target.ask(&format!("vm show {name}"));
    let life =
        show.iter().find(|record| record["record"] == "life" && record["state"] == "running");
    match life.and_then(|life: &Value| life["state_since_ns"].as_u64()) {
        Some(ns) => ns / 1_000_000,
        None => target.fail(&format!("{name} does not run: {show:?}")),
    }
}

fn all_debian_guests_of_the_sample_of_thirty_two_answer_and_their_clocks_are_right(
    machine: Machine,
) {
    let scene = Scene::new(machine, "thirty-two-debian");
    let sample = machine.sample().with_file_name("tessera-32.dts");
    let boot = Boot { bundle: Some(scene.bundle_of(&sample)), disk: None };
    let qemu = Qemu { memory: "4G".into(), ..Qemu::new(machine) };
    let names: Vec<String> = (1..=32).map(|n| format!("n{n:02}")).collect();
    let running: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut target = Target::start(qemu.board(&boot), &running);
    // All of them start at once.
    target.be_patient(8);
    for name in &names {
        let ready = target.line(name, "GUEST-READY");
        assert!(ready.contains(&format!("GUEST-READY {name} cpus=1 ")), "{ready}");
    }
    let read = |target: &mut Target, name: &String| {
        assert_eq!(target.shell(name, "hostname"), *name);
        Reading::of(target, name)
    };
    let first = names.iter().map(|name| {
        target.prompt(name);
        read(&mut target, name)
    });
    let first: Vec<Reading> = first.collect();
    for (name, first) in names.iter().zip(&first) {
        while lived(&mut target, name) < first.after + 60_000 {
            target.let_run(Duration::from_millis(500));
        }
        let second = read(&mut target, name);
        let passed = second.guest - first.guest;
        let (least, most) = (second.before - first.after, second.after - first.before);
        let right = least - UPTIME_STEP_MS..=most + UPTIME_STEP_MS;
        assert!(
            right.contains(&passed),
            "{name}: {passed} ms passed, and {least} to {most} on the board"
        );
    }
}
