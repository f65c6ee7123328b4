//! A guest that attacks, and another that must not notice.

use tessera_system_tests::{EVERY, Guest, Machine, Scene, tests};

use crate::reboots::{check_checksums, start_checksums};
use crate::{number, partitions, web_and_db};

tests! {
    EVERY:
        one_guest_computes_undisturbed_while_the_other_attacks_in_every_way;
}

/// How many kinds `rogue` has.
const ATTACKS: u64 = 22;

fn one_guest_computes_undisturbed_while_the_other_attacks_in_every_way(machine: Machine) {
    let scene = Scene::new(machine, "rogue");
    let [_, db] = web_and_db();
    let rogue = Guest::rogue("web", &[0, 1]).disk("web");
    let mut target = scene.start(&[rogue, db], &partitions());
    target.be_patient(3);
    start_checksums(machine, &mut target);
    let done = target.line("web", "ROGUE-DONE");
    if number(&done, "broken") != 0 {
        target.fail(&format!("promises are broken: {done}"));
    }
    let survived = target.said("web").matches("survived ").count() as u64;
    if (number(&done, "attacks"), survived) != (ATTACKS, ATTACKS) {
        target.fail(&format!("{survived} attacks were survived: {done}"));
    }
    check_checksums(&mut target);
}
