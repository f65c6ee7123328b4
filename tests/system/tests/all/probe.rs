//! The guest that checks each promise, on the boards that keep it.

use tessera_system_tests::{
    Board, Boot, EVERY, GICV3, Guest, Machine, Partition, Qemu, Scene, Target, VIRT, tests,
};

use crate::{number, promises_are_kept};

tests! {
    EVERY:
        every_promise_is_kept;
    VIRT:
        every_promise_is_kept_on_a_core_with_everything_that_there_is,
        every_promise_is_kept_for_a_guest_with_one_vcpu_and_for_one_with_eight;
    GICV3:
        every_promise_is_kept_on_cores_of_other_generations_and_below_firmware;
}

/// Runs it on this board as the guest's.
fn all_promises_are_kept(
    machine: Machine,
    name: &str,
    cpus: &[u32],
    board: impl Fn(&Boot) -> Box<dyn Board>,
) {
    let scene = Scene::new(machine, name);
    let bundle = Some(scene.bundle(&[Guest::probe("probe", cpus).disk("scratch")]));
    let disk = Some(scene.disk(&[Partition::empty("scratch", 8)]).0);
    let mut target = Target::start(board(&Boot { bundle, disk }), &["probe"]);
    let done = promises_are_kept(&mut target, "probe");
    assert!(number(&done, "passed") > 100, "{done}");
}

fn every_promise_is_kept(machine: Machine) {
    all_promises_are_kept(machine, "probe", &[0, 1], |boot| machine.board(boot));
}

fn every_promise_is_kept_on_a_core_with_everything_that_there_is(machine: Machine) {
    let qemu = Qemu { cpu: "max".into(), ..Qemu::new(machine) };
    all_promises_are_kept(machine, "probe-max", &[2, 3], |boot| qemu.board(boot));
}

fn every_promise_is_kept_for_a_guest_with_one_vcpu_and_for_one_with_eight(machine: Machine) {
    all_promises_are_kept(machine, "probe-1", &[3], |boot| machine.board(boot));
    let qemu = Qemu { cores: 8, ..Qemu::new(machine) };
    all_promises_are_kept(machine, "probe-8", &[7, 6, 5, 4, 3, 2, 1, 0], |boot| qemu.board(boot));
}

fn every_promise_is_kept_on_cores_of_other_generations_and_below_firmware(machine: Machine) {
    // Addresses of 40 bits; virtualization host extensions; scalable vectors; pointer authentication.
    for cpu in ["cortex-a53", "cortex-a76", "a64fx", "neoverse-v1"] {
        let qemu = Qemu { cpu: cpu.into(), ..Qemu::new(machine) };
        all_promises_are_kept(machine, &format!("probe-{cpu}"), &[1, 2], |boot| qemu.board(boot));
    }
    let mut qemu = Qemu::new(machine);
    qemu.machine.push_str(",secure=on");
    all_promises_are_kept(machine, "probe-secure", &[1, 2], |boot| qemu.board(boot));
}
