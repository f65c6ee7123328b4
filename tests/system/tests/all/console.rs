//! One terminal for all.

use tessera_system_tests::{EVERY, Guest, Machine, Scene, Target, tests};

tests! {
    EVERY:
        what_is_typed_goes_to_the_focused_guest_and_the_key_moves_the_focus,
        a_long_text_is_typed_without_a_loss,
        lines_of_a_guest_without_the_focus_are_shown_whole_and_labelled;
}

fn two_echoes(scene: &Scene) -> Target {
    let echo = |name, core| Guest::probe(name, &[core]).bootargs("probe.mode=echo");
    let mut target = scene.start(&[echo("web", 0), echo("db", 1)], &[]);
    target.line("web", "ECHO-READY");
    target.line("db", "ECHO-READY");
    target
}

fn what_is_typed_goes_to_the_focused_guest_and_the_key_moves_the_focus(machine: Machine) {
    let scene = Scene::new(machine, "console");
    let mut target = two_echoes(&scene);
    target.send("one\n");
    target.line("web", "echo: one");
    target.focus("db");
    target.send("two\n");
    target.line("db", "echo: two");
    // The key alone goes round.
    target.send("\x1d");
    target.send("three\n");
    target.line("web", "echo: three");
    assert!(!target.said("db").contains("three") && !target.said("web").contains("two"));
    target.send("\x1d?");
    target.line("tessera", "Ctrl-] goes to the next guest");
    target.send("four\n");
    target.line("web", "echo: four");
}

fn a_long_text_is_typed_without_a_loss(machine: Machine) {
    let scene = Scene::new(machine, "paste");
    let mut target = two_echoes(&scene);
    for round in 0..5 {
        let text: String = (0..300).map(|n| format!("{}-{} ", round, n)).collect();
        target.send(&format!("{text}\n"));
        target.line("web", &format!("echo: {text}"));
    }
    target.send("quit\n");
    target.line("web", "ECHO-DONE");
}

fn lines_of_a_guest_without_the_focus_are_shown_whole_and_labelled(machine: Machine) {
    let scene = Scene::new(machine, "labels");
    let guests = [
        Guest::probe("web", &[0]).bootargs("probe.mode=echo"),
        Guest::probe("db", &[1]).bootargs("probe.only=ids,memory,gic"),
    ];
    let mut target = scene.start(&guests, &[]);
    // Typed all the time, so that lines of the one fall into lines of the other.
    target.line("web", "ECHO-READY");
    for n in 0..50 {
        target.send(&format!("typed {n}\n"));
        target.line("web", &format!("echo: typed {n}"));
    }
    target.line("db", "PROBE-DONE");
    let said = target.said("db");
    let known = ["ok ", "not ok ", "skip ", "# ", "probe", "PROBE-DONE"];
    for line in said.lines() {
        assert!(known.iter().any(|begin| line.starts_with(begin)), "`{line}` in {said}");
    }
}
