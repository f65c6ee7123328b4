//! What guests that share a core are told of the time that others had it.

use tessera_system_tests::{Guest, Machine, Scene, Target, VIRT, tests};

use crate::{number, promises_are_kept};

tests! {
    VIRT:
        guests_that_share_a_core_have_a_record_of_what_others_took_and_can_only_read_it,
        linux_accounts_for_the_time_that_others_had_its_core;
}

fn guests_that_share_a_core_have_a_record_of_what_others_took_and_can_only_read_it(
    machine: Machine,
) {
    let scene = Scene::new(machine, "steal");
    let probe = |name| Guest::probe(name, &[1]).shared(1).bootargs("probe.only=steal");
    let mut target = scene.start(&[probe("web"), probe("db")], &[]);
    for who in ["web", "db"] {
        let done = promises_are_kept(&mut target, who);
        assert!(number(&done, "passed") > 10, "{done}");
    }
}

/// What Linux has counted of its time, in hundredths of a second: all, and that which was stolen.
#[track_caller]
fn accounts(target: &mut Target, who: &str) -> (u64, u64) {
    let line = target.shell(who, "head -n 1 /proc/stat");
    let counts: Vec<u64> = line.split_whitespace().filter_map(|count| count.parse().ok()).collect();
    (counts.iter().take(8).sum(), counts[7])
}

fn linux_accounts_for_the_time_that_others_had_its_core(machine: Machine) {
    let scene = Scene::new(machine, "steal-linux");
    let guest = |name| Guest::debian(name, &[0]).shared(1);
    let mut target = scene.start(&[guest("web"), guest("db")], &[]);
    for who in ["web", "db"] {
        target.line(who, &format!("GUEST-READY {who}"));
        target.prompt(who);
        target.shell(who, "(while :; do :; done) & true");
    }
    let (before, stolen_before) = accounts(&mut target, "web");
    let (passed, stolen) = loop {
        let (now, stolen) = accounts(&mut target, "web");
        if now - before >= 500 {
            break (now - before, stolen - stolen_before);
        }
    };
    assert!((300..700).contains(&(stolen * 1000 / passed)), "{stolen} of {passed}");
    target.wait_vm("db", "about half of the core is another's", |vm| {
        vm["steal_permille"].as_u64().is_some_and(|steal| (300..700).contains(&steal))
    });
}
