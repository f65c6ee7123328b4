//! What the monitor does with the board as a whole, and how busy it finds guests, by its protocol.

use tessera_system_tests::{EMULATED, EVERY, Guest, Machine, Scene, Target, tests};

use crate::{partitions, web_and_db};

tests! {
    EVERY:
        reboot_starts_the_board_anew_and_all_guests_with_it,
        a_guest_that_computes_is_busier_than_one_that_waits;
    EMULATED:
        poweroff_asks_all_guests_kills_who_does_not_listen_and_turns_the_board_off,
        poweroff_now_does_not_ask;
}

fn small(name: &str, core: u32, end: &str) -> Guest {
    Guest::rogue(name, &[core]).bootargs(&format!("rogue.only=0 rogue.end={end}"))
}

fn reboot_starts_the_board_anew_and_all_guests_with_it(machine: Machine) {
    let scene = Scene::new(machine, "reboot-board");
    let [web, _] = web_and_db();
    let mut target = scene.start(&[web, small("db", 2, "wait")], &partitions());
    target.line("web", "GUEST-READY web");
    target.prompt("web");
    target.shell("web", "echo kept >/mnt/note && sync");
    target.ask("vm reset db");
    target.wait_vm("db", "it is restarted", |vm| vm["restarts"] == 1 && vm["state"] == "running");
    target.pass_over("db");
    target.pass_over("web");
    target.ask("reboot");
    target.line("tessera", "the board starts anew");
    target.line("db", "ROGUE-ENDS wait");
    target.line("web", "GUEST-READY web");
    assert_eq!(target.vm("db")["restarts"], 0, "nothing is known of the time before");
    target.prompt("web");
    assert_eq!(target.shell("web", "cat /mnt/note"), "kept");
}

fn poweroff_asks_all_guests_kills_who_does_not_listen_and_turns_the_board_off(machine: Machine) {
    let scene = Scene::new(machine, "poweroff-all");
    let [web, _] = web_and_db();
    // It would start again, if it were not the board that goes off.
    let web = web.with("restart = \"always\";");
    let deaf = small("db", 2, "wait").with("stop-timeout = <2>;");
    let mut target = scene.start(&[web, deaf], &partitions());
    target.line("db", "ROGUE-ENDS wait");
    target.line("web", "GUEST-READY web");
    target.prompt("web");
    target.ask("poweroff");
    assert_eq!(target.end(), 0);
    let said = target.said("tessera");
    for line in [
        "the board goes off when all guests have stopped",
        "db does not listen to its power button and is killed",
        "db stopped: it was killed from outside",
        "web stopped: it switched itself off",
        "all guests have stopped; the board goes off",
    ] {
        assert_eq!(said.matches(line).count(), 1, "`{line}` in: {said}");
    }
}

fn poweroff_now_does_not_ask(machine: Machine) {
    let scene = Scene::new(machine, "poweroff-now");
    let mut target = scene.start(&[small("web", 0, "wait"), small("db", 1, "wait")], &[]);
    target.line("web", "ROGUE-ENDS wait");
    target.line("db", "ROGUE-ENDS wait");
    target.ask("poweroff now");
    assert_eq!(target.end(), 0);
    let said = target.said("tessera");
    assert!(said.contains("the board goes off") && !said.contains("stopped"), "{said}");
}

/// Thousandths of a core that each of two guests is busy, as `verb` tells.
#[track_caller]
fn shares(target: &mut Target, verb: &str) -> [Option<u64>; 2] {
    let records = target.ask(verb);
    ["web", "db"].map(|name| {
        let record = records.iter().find(|record| record["name"] == name);
        record.and_then(|record| record["cpu_permille"].as_u64())
    })
}

fn a_guest_that_computes_is_busier_than_one_that_waits(machine: Machine) {
    let scene = Scene::new(machine, "busy");
    let mut target = scene.start(&[small("web", 0, "compute"), small("db", 1, "wait")], &[]);
    target.line("web", "ROGUE-ENDS compute");
    target.line("db", "ROGUE-ENDS wait");
    for verb in ["vm list", "top"] {
        // A host that takes its time may keep one that just woke from going to sleep again for the whole of a reading, and a
        // core from taking note in time that it is to measure.
        let found = (0..20).any(|_| match shares(&mut target, verb) {
            [Some(computes), Some(waits)] => computes == 1000 && waits < computes,
            _ => false,
        });
        assert!(found, "`{verb}` never finds the one that computes busier");
    }
    target.ask("vm kill web");
    target.wait_state("web", "stopped");
    assert_eq!(shares(&mut target, "vm list")[0], Some(0), "who is down does nothing");
}
