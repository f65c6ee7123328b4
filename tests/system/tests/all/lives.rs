//! Guests that somebody outside starts, stops and looks at, by the monitor's protocol; and ends of each kind, with their reasons.

use std::time::Duration;

use crate::{partitions, web_and_db};
use tessera_control::Value;
use tessera_system_tests::random::times;
use tessera_system_tests::{EVERY, Guest, Machine, Scene, Target, VIRT, tests};

tests! {
    EVERY:
        every_verb_does_what_it_says,
        restarts_lose_no_memory,
        a_guest_that_starts_anew_all_the_time_floods_neither_the_log_nor_the_events,
        every_end_is_told_with_its_reason_and_the_policy_decides_what_follows;
    VIRT:
        time_stands_still_for_a_guest_that_is_paused,
        guests_start_when_those_run_that_they_wait_for,
        poweroff_ends_the_board_whatever_guests_make_of_their_power_buttons;
}

/// A guest that starts quickly, says so and waits.
pub fn idle(name: &str, cpus: &[u32]) -> Guest {
    Guest::rogue(name, cpus).bootargs("rogue.only=0 rogue.end=wait")
}

#[track_caller]
fn refused(target: &mut Target, verb: &str, why: &str) {
    match target.try_ask(verb) {
        Ok(_) => target.fail(&format!("`{verb}` was granted")),
        Err(error) if error.contains(why) => {}
        Err(error) => target.fail(&format!("`{verb}` was refused for `{error}`, not `{why}`")),
    }
}

fn every_verb_does_what_it_says(machine: Machine) {
    let scene = Scene::new(machine, "verbs");
    let [web, db] = web_and_db();
    let mut target = scene.start(&[web, db], &partitions());
    target.line("web", "GUEST-READY web");
    target.line("db", "GUEST-READY db");

    let list = target.ask("vm list");
    assert_eq!(list.len(), 4, "{list:?}");
    for (cores, name) in list[2..].iter().zip(["web", "db"]) {
        let of = (&cores["record"], &cores["name"], &cores["policy"]);
        assert_eq!(of, (&"cores".into(), &name.into(), &"dedicated".into()), "{cores}");
    }
    for (vm, name) in list.iter().zip(["web", "db"]) {
        assert_eq!((&vm["name"], &vm["state"]), (&name.into(), &"running".into()), "{vm}");
        assert_eq!((&vm["vcpus"], &vm["restarts"]), (&2.into(), &0.into()), "{vm}");
        assert_eq!(vm["memory_bytes"], 128 << 20, "{vm}");
    }
    let show = target.ask("vm show web");
    let of_kind = |kind: &str| show.iter().filter(|record| record["record"] == kind).count();
    assert_eq!((of_kind("config"), of_kind("life")), (1, 1), "{show:?}");
    assert!(of_kind("range") >= 3, "{show:?}");
    let exits = target.ask("trace web");
    assert!(exits.len() >= 10, "{exits:?}");
    assert!(!target.ask("log").is_empty());
    what_interrupts_and_disks_did_is_counted(&mut target);
    memory(&mut target);

    // While it runs, and without stopping it.
    let registers = target.ask("regs web");
    assert!(registers.iter().any(|of| of["record"] == "registers"), "{registers:?}");
    target.prompt("web");
    assert_eq!(target.shell("web", "cat /mnt/marker"), "this is web");
    // What a guest took is pending no more, though no exit told so.
    let disk = |irq: &Value| irq["guest"] == "web" && irq["interrupt"] == 48;
    let irq = target.ask("irq").into_iter().find(disk).expect("the disk's interrupt is told");
    assert_eq!((&irq["enabled"], &irq["pending"]), (&true.into(), &false.into()), "{irq}");

    refused(&mut target, "vm start web", "it is running");
    refused(&mut target, "vm resume web", "it is running");
    refused(&mut target, "vm stop wbe", "did you mean `web`?");
    refused(&mut target, "vm lsit", "did you mean");
    refused(&mut target, "vm stop", "");

    // It listens to its power button, shuts down in order and stays off.
    target.ask("vm stop web");
    target.wait_state("web", "stopped");
    refused(&mut target, "vm kill web", "it is stopped");
    target.ask("vm start web");
    target.line("web", "GUEST-READY web");
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
    target.ask("vm start web");
    target.line("web", "GUEST-READY web");
    target.ask("vm reset web");
    target.line("web", "GUEST-READY web");
    assert_eq!(target.vm("web")["restarts"], 1);
    assert_eq!(target.said("db").matches("GUEST-READY").count(), 1, "nobody touched db");
}

/// Of a board on which two guests have read their disks.
#[track_caller]
fn what_interrupts_and_disks_did_is_counted(target: &mut Target) {
    let above_0 = |count: &Value| count.as_u64() > Some(0);
    let irq = target.ask("irq");
    for of in ["disk", "UART"] {
        let line = irq.iter().find(|record| record["record"] == "line" && record["of"] == of);
        assert!(
            line.is_some_and(|line| above_0(&line["count"]) && line["off"] == false),
            "{irq:?}"
        );
    }
    for of in ["virtual timer", "disk-0"] {
        let of_guest = |guest: &str, record: &Value| record["guest"] == guest && record["of"] == of;
        for guest in ["web", "db"] {
            let some = irq.iter().any(|it| of_guest(guest, it) && above_0(&it["count"]));
            assert!(some, "{guest} had no interrupt of {of}: {irq:?}");
        }
    }
    let disk = target.ask("disk");
    let of_kind = |kind: &'static str| disk.iter().filter(move |it| it["record"] == kind);
    let (board, mut read) = (of_kind("disk").next(), 0);
    assert_eq!(of_kind("guest_disk").count(), 2, "{disk:?}");
    for guest in of_kind("guest_disk") {
        assert!(above_0(&guest["requests"]) && guest["errors"] == 0, "{guest}");
        read += guest["read_bytes"].as_u64().unwrap_or(0);
    }
    let whole = board.is_some_and(|it| it["state"] == "works" && it["errors"] == 0);
    assert!(whole && read > 0 && board.is_some_and(|it| it["read_bytes"] == read), "{disk:?}");
}

/// Bytes of everything that `mem` tells, held against their sum: what is free, at the end.
#[track_caller]
pub fn memory(target: &mut Target) -> u64 {
    let records = target.ask("mem");
    let bytes = |record: &Value| record["size_bytes"].as_u64().unwrap_or(0);
    let Some((total, parts)) = records.split_last() else { target.fail("`mem` is silent") };
    let sum: u64 = parts.iter().map(bytes).sum();
    assert_eq!(sum, bytes(total), "{records:?}");
    let free = parts.iter().filter(|part| part["what"].as_str().is_some_and(|what| what == "free"));
    free.map(bytes).sum()
}

fn restarts_lose_no_memory(machine: Machine) {
    let restarts = times(if machine == Machine::Raspi4b { 20 } else { 100 });
    let scene = Scene::new(machine, "restarts");
    let mut target = scene.start(&[idle("web", &[0, 1]), idle("db", &[2, 3])], &[]);
    target.line("web", "ROGUE-ENDS wait");
    target.line("db", "ROGUE-ENDS wait");
    // What grows to its size once has done so after some.
    let mut before = Vec::new();
    for n in 0..restarts {
        if n == 10 {
            assert_eq!(target.vm("web")["restarts"], n);
            target.let_run(Duration::from_secs(1));
            before = target.ask("mem");
        }
        target.ask("vm reset web");
        target.line("web", "ROGUE-ENDS wait");
    }
    assert_eq!(target.vm("web")["restarts"], restarts);
    let sizes = |records: &[Value]| {
        let size = |record: &Value| {
            (
                record["what"].to_string(),
                record["guest"].to_string(),
                record["size_bytes"].to_string(),
            )
        };
        records.iter().map(size).collect::<Vec<_>>()
    };
    // Something may be on its way yet, such as a line about the last restart.
    let mut after = target.ask("mem");
    for _ in 0..20 {
        if sizes(&before) == sizes(&after) {
            break;
        }
        target.let_run(Duration::from_millis(500));
        after = target.ask("mem");
    }
    assert_eq!(sizes(&before), sizes(&after));
    let free = memory(&mut target);
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
    assert!(memory(&mut target) >= free + (32 << 20), "its memory is free");
    target.ask("vm start web");
    target.line("web", "ROGUE-ENDS wait");
    assert_eq!(memory(&mut target), free);
    assert_eq!(target.said("db").matches("ROGUE-ENDS").count(), 1);
}

fn every_end_is_told_with_its_reason_and_the_policy_decides_what_follows(machine: Machine) {
    let scene = Scene::new(machine, "ends");
    let ends = |name, core, how| {
        Guest::rogue(name, &[core]).bootargs(&format!("rogue.only=0 rogue.end={how}"))
    };
    let guests = [
        idle("stays", &[0]),
        ends("off", 1, "cpus-off"),
        ends("lost", 2, "lost-vectors").with("restart = \"on-crash\"; restart-limit = <1>;"),
        ends("done", 3, "off").with("restart = \"on-crash\";"),
    ];
    let mut target = scene.start(&guests, &[]);
    target.line("tessera", "opens the monitor");
    target.wait_state("off", "crashed");
    target.line("tessera", "lost starts anew in 1 s");
    target.wait_state("lost", "crashed");
    target.wait_state("done", "stopped");
    assert_eq!(target.vm("lost")["restarts"], 1);
    let failure = |target: &mut Target, name: &str| {
        let show = target.ask(&format!("vm show {name}"));
        let failure = show.iter().find(|record| record["record"] == "failure").cloned();
        let registers = show.iter().any(|record| record["record"] == "registers");
        (failure.map(|it| it["reason"].as_str().unwrap_or("").to_string()), registers)
    };
    assert_eq!(failure(&mut target, "off"), (Some("all-vcpus-off".into()), true));
    assert_eq!(failure(&mut target, "lost"), (Some("lost-vectors".into()), true));
    assert_eq!(failure(&mut target, "done"), (None, false));
    assert_eq!(target.vm("stays")["state"], "running");
    // Its registers and its last exits can still be read.
    assert!(!target.ask("trace lost").is_empty());
    assert!(!target.ask("regs lost").is_empty());
}

fn a_guest_that_starts_anew_all_the_time_floods_neither_the_log_nor_the_events(machine: Machine) {
    let restarts = if machine == Machine::Raspi4b { 20 } else { 60 };
    let scene = Scene::new(machine, "flood");
    let again = Guest::rogue("web", &[0]).bootargs("rogue.only=0 rogue.end=reset");
    let mut target = scene.start(&[again, idle("db", &[1])], &[]);
    target.line("db", "ROGUE-ENDS wait");
    let restarted = |vm: &Value| vm["restarts"].as_u64().unwrap_or(0);
    let before = restarted(&target.vm("web"));
    target.ask("events on");
    let wanted = before + restarts;
    let what = format!("{wanted} restarts");
    let after = restarted(&target.wait_vm("web", &what, |vm| restarted(vm) >= wanted));
    // What becomes of others is told all the same, and where it is in the end.
    target.ask("vm pause db");
    target.wait_event("db", "paused");
    target.ask("vm resume db");
    target.wait_event("db", "running");
    target.ask("vm kill web");
    target.wait_event("web", "stopped");
    let events = target.events();
    assert!(events.iter().all(|event| event["event"] == "state"), "some are lost: {events:?}");
    let of_web: Vec<_> = events.iter().filter(|event| event["name"] == "web").collect();
    let left_out: u64 = of_web.iter().filter_map(|event| event["left_out"].as_u64()).sum();
    // All that happened is told or counted.
    let told = of_web.len() as u64;
    assert!(told + left_out >= 2 * (after - before), "{told} and {left_out}: {events:?}");
    let seconds = of_web.iter().filter_map(|event| event["at_ns"].as_u64()).max().unwrap_or(0);
    let seconds = seconds / 1_000_000_000 + 2;
    assert!(told <= 16 + seconds, "{told} events in {seconds} s");
    let lines = target.said("tessera").matches("web starts anew").count() as u64;
    assert!(lines <= 8 + seconds / 4, "{lines} lines in {seconds} s");
}

fn time_stands_still_for_a_guest_that_is_paused(machine: Machine) {
    let scene = Scene::new(machine, "pause");
    let mut target = scene.start(&web_and_db(), &partitions());
    target.line("web", "GUEST-READY web");
    target.prompt("web");
    let uptime = |target: &mut Target| -> f64 {
        let text = target.shell("web", "cat /proc/uptime");
        text.split(' ').next().and_then(|up| up.parse().ok()).unwrap_or(0.0)
    };
    let before = uptime(&mut target);
    target.ask("vm pause web");
    target.wait_state("web", "paused");
    refused(&mut target, "vm stop web", "resume it first");
    // Not known while a core has yet to take note that somebody looks.
    let share = (0..20).find_map(|_| target.vm("web")["cpu_permille"].as_u64());
    assert_eq!(share, Some(0), "its cores only wait");
    let began = std::time::Instant::now();
    target.let_run(Duration::from_secs(20));
    target.ask("vm resume web");
    let paused = began.elapsed().as_secs_f64();
    let after = uptime(&mut target);
    assert!(after - before < paused, "{before} to {after} s although it stood for {paused} s");
    target.shell("web", "sleep 1");
    // Paused and killed: nothing of it is left.
    target.ask("vm pause web");
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
    target.prompt("db");
    assert_eq!(target.shell("db", "cat /mnt/marker"), "this is db");
}

fn guests_start_when_those_run_that_they_wait_for(machine: Machine) {
    let scene = Scene::new(machine, "waits");
    let guests = [
        idle("last", &[0]).with("depends-on = \"first\", \"later\";"),
        idle("first", &[1]),
        idle("later", &[2]).with("autostart = \"no\";"),
    ];
    let mut target = scene.start(&guests, &[]);
    target.line("tessera", "opens the monitor");
    target.wait_state("first", "running");
    assert_eq!(target.vm("later")["state"], "defined");
    assert_eq!(target.vm("last")["state"], "defined");
    target.ask("vm start later");
    target.wait_state("last", "running");
    refused(&mut target, "vm start last", "it is running");
}

fn poweroff_ends_the_board_whatever_guests_make_of_their_power_buttons(machine: Machine) {
    let scene = Scene::new(machine, "poweroff-all");
    let again = Guest::rogue("again", &[0]).bootargs("rogue.only=0 rogue.end=reset");
    let deaf = idle("deaf", &[1]).with("stop-timeout = <1>;");
    let debian = Guest::debian("debian", &[2]).with("restart = \"always\";");
    let mut target = scene.start(&[again, deaf, debian], &[]);
    target.line("debian", "GUEST-READY debian");
    target.line("tessera", "again starts anew");
    target.ask("poweroff");
    target.line("tessera", "deaf does not listen to its power button and is killed");
    target.line("tessera", "all guests have stopped; the board goes off");
    assert_eq!(target.end(), 0);
}
