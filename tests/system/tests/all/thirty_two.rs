//! As many guests as there can be: eight on each of four cores.

use tessera_system_tests::{EMULATED, Guest, Machine, Scene, tests};

use crate::number;
use crate::shares::start;

tests! {
    EMULATED:
        thirty_two_guests_on_four_cores_answer_and_their_clocks_are_right;
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
