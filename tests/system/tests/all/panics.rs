//! Tessera itself fails, on purpose: it says what it knows, stops all cores and tells the caller.

use std::time::Duration;

use tessera_system_tests::{Boot, GICV3, Guest, Machine, Qemu, Scene, Target, tests};

tests! {
    GICV3:
        a_panic_says_its_message_and_place_and_ends_the_board_with_a_failure,
        wild_accesses_of_the_hypervisor_fault_and_show_its_registers,
        the_guard_pages_of_every_stack_end_an_overflow,
        who_waits_for_a_lock_in_vain_says_which,
        a_core_that_is_stuck_is_found_by_another,
        who_asks_how_guests_are_finds_a_core_that_is_stuck,
        a_panic_traces_back_to_the_beginning;
}

/// Provokes a failure of this kind and returns all that was said about it.
fn panic(machine: Machine, kind: &str) -> String {
    panic_on(machine, 0, kind)
}

/// As [`panic`], on one of the cores.
fn panic_on(machine: Machine, core: u32, kind: &str) -> String {
    let command_line = format!("tessera.panic={kind}:{core}");
    let qemu = Qemu { command_line, semihosting: true, ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&Boot::default()), &[]);
    target.let_panic();
    target.line("tessera", &format!("TESSERA PANIC on core {core}"));
    target.line("tessera", "The other cores are stopped");
    assert_eq!(target.end(), 1, "the exit status tells of no failure");
    target.said("tessera")
}

fn a_panic_says_its_message_and_place_and_ends_the_board_with_a_failure(machine: Machine) {
    let said = panic(machine, "message");
    assert!(said.contains("provoked by tessera.panic=message"), "{said}");
    assert!(said.contains("provoke.rs:"), "{said}");
}

/// The exception class and the fault status, without level, of a data abort or instruction abort.
fn class_and_status(said: &str) -> (u64, u64) {
    let esr = said.split("ESR 0x").nth(1).and_then(|rest| rest.split(' ').next());
    let esr = esr.unwrap_or_else(|| panic!("no syndrome in {said}"));
    let esr = u64::from_str_radix(esr, 16).unwrap_or_else(|_| panic!("`{esr}` is no number"));
    (esr >> 26, esr & 0x3c)
}

fn wild_accesses_of_the_hypervisor_fault_and_show_its_registers(machine: Machine) {
    // Translation faults (4) where nothing is mapped, permission faults (12) where something is.
    for (kind, class, status) in [
        ("abort", 0x25, 4),
        ("write", 0x25, 12),
        ("execute", 0x21, 12),
        ("execute-stack", 0x21, 12),
    ] {
        let said = panic(machine, kind);
        assert_eq!(class_and_status(&said), (class, status), "{kind}: {said}");
        for part in ["FAR", "ELR", "SPSR", "x0 ", "x30 ", "#0 "] {
            assert!(said.contains(part), "{kind}: no {part} in {said}");
        }
    }
}

fn a_panic_traces_back_to_the_beginning(machine: Machine) {
    let said = panic(machine, "message");
    let frames = said.lines().filter(|line| line.trim_start().starts_with('#')).count();
    assert!(frames >= 2, "{said}");
}

fn the_guard_pages_of_every_stack_end_an_overflow(machine: Machine) {
    for core in [0, 1, 3] {
        for kind in ["stack", "panic-stack"] {
            let said = panic_on(machine, core, kind);
            assert_eq!(class_and_status(&said), (0x25, 4), "{kind} of core {core}: {said}");
            let number = |name: &str| {
                let text = said.split(name).nth(1).and_then(|rest| rest.split_whitespace().next());
                let text = text.unwrap_or_else(|| panic!("no {name} in {said}"));
                u64::from_str_radix(text, 16).unwrap_or_else(|_| panic!("`{text}` is no number"))
            };
            // The access was in the guard page, right below the stack that the core was on.
            let (far, sp) = (number("FAR 0x"), number("SP 0x"));
            assert!(sp.abs_diff(far) < 4096, "{kind} of core {core}: {said}");
        }
    }
}

fn who_waits_for_a_lock_in_vain_says_which(machine: Machine) {
    for core in [0, 1] {
        let said = panic_on(machine, core, "lock");
        assert!(said.contains("frames::Frames> is not given back"), "{said}");
        assert!(said.contains("at hyp/el2/src/provoke.rs:"), "no place of the lock: {said}");
        assert!(said.contains("#1 0x"), "no back-trace: {said}");
    }
}

fn a_core_that_is_stuck_is_found_by_another(machine: Machine) {
    let scene = Scene::new(machine, "stuck");
    let guests = [Guest::probe("web", &[1]).bootargs("probe.only=ids"), Guest::debian("db", &[0])];
    let bundle = Some(scene.bundle(&guests));
    let command_line = "tessera.panic=stuck:1".into();
    let qemu = Qemu { command_line, semihosting: true, ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&Boot { bundle, disk: None }), &["web", "db"]);
    target.let_panic();
    // It comes without a label, so it counts as said by whoever has the focus. The other guest's core is not named: it answers.
    target.line("web", "TESSERA PANIC on core");
    target.line("web", "core 1 is stuck in EL2: it has not answered for 1");
    target.line("web", "#0 0x");
    target.line("web", "#1 0x");
    assert_eq!(target.end(), 1, "the exit status tells of no failure");
}

fn who_asks_how_guests_are_finds_a_core_that_is_stuck(machine: Machine) {
    let scene = Scene::new(machine, "wonder");
    // Each core has a guest, so none looks by itself.
    let guests = [Guest::debian("web", &[0]), Guest::probe("db", &[1]).bootargs("probe.only=ids")];
    let bundle = Some(scene.bundle(&guests));
    let command_line = "tessera.panic=stuck:1".into();
    let qemu = Qemu { command_line, semihosting: true, cores: 2, ..Qemu::new(machine) };
    let mut target = Target::start(qemu.board(&Boot { bundle, disk: None }), &["web", "db"]);
    target.prompt("web");
    target.let_panic();
    // Ten quiet seconds, and somebody who wonders.
    target.let_run(Duration::from_secs(12));
    assert!(!target.said("web").contains("TESSERA PANIC"), "nobody was to look");
    target.ask("vm list");
    target.line("web", "core 1 is stuck in EL2: it has not answered for 1");
    assert_eq!(target.end(), 1, "the exit status tells of no failure");
}
