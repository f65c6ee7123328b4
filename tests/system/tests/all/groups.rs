//! Guests that share memory, ring each other, and see who of them is up.

use tessera_system_tests::{Guest, Machine, Scene, Target, VIRT, tests};

use crate::{number, promises_are_kept};

tests! {
    VIRT:
        members_share_memory_and_ring_each_other_on_cores_of_their_own_and_on_shared_ones,
        members_that_attack_what_they_share_harm_nobody,
        who_stays_is_told_of_whoever_goes_and_the_memory_stays;
}

/// A guest that checks what groups promise.
fn member(name: &str, cpus: &[u32]) -> Guest {
    Guest::probe(name, cpus).memory("8M").bootargs("probe.only=groups")
}

/// Three members, of which the last may only read.
fn three(guests: [Guest; 3]) -> Vec<Guest> {
    let [a, b, c] = guests;
    let reader = "size = \"4M\"; reader = <&{/c}>;";
    Vec::from([a, b, c.group("ring", &["a", "b"], reader)])
}

fn all_promises_are_kept(machine: Machine, name: &str, guests: [Guest; 3]) {
    let scene = Scene::new(machine, name);
    let mut target = scene.start(&three(guests), &[]);
    target.be_patient(2);
    for who in ["a", "b", "c"] {
        let done = promises_are_kept(&mut target, who);
        assert!(number(&done, "passed") > 20 && number(&done, "skipped") == 0, "{done}");
    }
}

fn members_share_memory_and_ring_each_other_on_cores_of_their_own_and_on_shared_ones(
    machine: Machine,
) {
    let own = [member("a", &[0]), member("b", &[1, 2]), member("c", &[3])];
    all_promises_are_kept(machine, "group-own", own);
    let shared =
        [member("a", &[0]).shared(1), member("b", &[0]).shared(1), member("c", &[0, 1]).shared(2)];
    all_promises_are_kept(machine, "group-shared", shared);
    let mixed = [member("a", &[0]), member("b", &[1]).shared(1), member("c", &[1]).shared(1)];
    all_promises_are_kept(machine, "group-mixed", mixed);
}

/// A guest that says what becomes of the others.
fn watcher(name: &str, cpus: &[u32]) -> Guest {
    Guest::probe(name, cpus).memory("8M").bootargs("probe.mode=watch")
}

fn members_that_attack_what_they_share_harm_nobody(machine: Machine) {
    let rogue =
        |name, cpus: &[u32]| Guest::rogue(name, cpus).memory("8M").bootargs("rogue.only=22");
    let scene = Scene::new(machine, "group-rogue");
    let guests = [rogue("a", &[0]).shared(1), watcher("b", &[1]), rogue("c", &[2])];
    let mut target = scene.start(&three(guests), &[]);
    target.be_patient(2);
    for who in ["a", "c"] {
        let done = target.line(who, "ROGUE-DONE");
        if (number(&done, "attacks"), number(&done, "broken")) != (1, 0) {
            target.fail(&format!("promises are broken: {done}"));
        }
    }
    target.wait_state("a", "stopped");
    target.wait_state("c", "stopped");
    told(&mut target, "b", 0, DOWN, 1);
    assert!(target.said("b").contains("GROUP-RUNG by="), "it was rung");
}

/// States of a member, as the page has them.
const DOWN: u32 = 0;
const UP: u32 = 2;
const PAUSED: u32 = 3;

/// Waits until the watcher says of another member that it is in this state, in this life.
#[track_caller]
fn told(target: &mut Target, who: &str, index: u32, state: u32, lives: u32) {
    target.line(who, &format!("GROUP-MEMBER {index} state={state} lives={lives}"));
}

fn who_stays_is_told_of_whoever_goes_and_the_memory_stays(machine: Machine) {
    let scene = Scene::new(machine, "group-lives");
    let guests = [
        watcher("a", &[0]),
        watcher("b", &[1]).shared(1).group("ring", &["a", "b"], "size = \"64K\";"),
    ];
    let mut target = scene.start(&guests, &[]);
    target.line("a", "GROUP-KEPT lives=1 mark=0");
    target.line("b", "GROUP-KEPT lives=1 mark=0");
    target.ask("vm pause b");
    told(&mut target, "a", 1, PAUSED, 1);
    target.ask("vm resume b");
    told(&mut target, "a", 1, UP, 1);
    target.ask("vm kill b");
    told(&mut target, "a", 1, DOWN, 1);
    target.ask("vm start b");
    told(&mut target, "a", 1, UP, 2);
    target.line("b", "GROUP-KEPT lives=2 mark=1");
    target.ask("vm reset a");
    told(&mut target, "b", 0, UP, 2);
    target.line("a", "GROUP-KEPT lives=2 mark=1");
}
