//! The guest that checks each promise, on the boards that keep it.

use tessera_system_tests::{Guest, Partition, Qemu, Scene, Target};

use crate::number;

fn all_promises_are_kept(name: &str, guest: Guest, qemu: Qemu) {
    let scene = Scene::new(name);
    let bundle = Some(scene.bundle(&[guest]));
    let (disk, _) = scene.disk(&[Partition::empty("scratch", 8)]);
    let qemu = Qemu { bundle, disk: Some(disk), ..qemu };
    let mut target = Target::start(qemu.board(), &["probe"]);
    let done = target.line("probe", "PROBE-DONE");
    let said = target.said("probe");
    let broken: Vec<&str> = said.lines().filter(|line| line.starts_with("not ok")).collect();
    if !broken.is_empty() || number(&done, "failed") != 0 {
        target.fail(&format!("promises are broken:\n{}", broken.join("\n")));
    }
    assert!(number(&done, "passed") > 100, "{done}");
}

fn probe(cpus: &[u32]) -> Guest {
    Guest::probe("probe", cpus).disk("scratch")
}

#[test]
fn every_promise_is_kept() {
    all_promises_are_kept("probe", probe(&[0, 1]), Qemu::default());
}

#[test]
fn every_promise_is_kept_on_a_core_with_everything_that_there_is() {
    let qemu = Qemu { cpu: "max".into(), ..Qemu::default() };
    all_promises_are_kept("probe-max", probe(&[2, 3]), qemu);
}

#[test]
fn every_promise_is_kept_for_a_guest_with_one_vcpu_and_for_one_with_eight() {
    all_promises_are_kept("probe-1", probe(&[3]), Qemu::default());
    let qemu = Qemu { cores: 8, ..Qemu::default() };
    all_promises_are_kept("probe-8", probe(&[7, 6, 5, 4, 3, 2, 1, 0]), qemu);
}

#[test]
fn every_promise_is_kept_on_cores_of_other_generations_and_below_firmware() {
    // Addresses of 40 bits; virtualization host extensions; scalable vectors; pointer authentication.
    for cpu in ["cortex-a53", "cortex-a76", "a64fx", "neoverse-v1"] {
        let qemu = Qemu { cpu: cpu.into(), ..Qemu::default() };
        all_promises_are_kept(&format!("probe-{cpu}"), probe(&[1, 2]), qemu);
    }
    let machine = "virtualization=on,gic-version=3,secure=on".into();
    all_promises_are_kept("probe-secure", probe(&[1, 2]), Qemu { machine, ..Qemu::default() });
}
