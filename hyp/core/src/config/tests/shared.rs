//! Guests that share cores.

use super::*;

/// A guest with one vCPU that shares whatever nobody owns.
pub(super) fn sharing(name: &'static str) -> Guest {
    Guest::new(name, &[0]).without("cpus").with("cpu-policy", Text("shared"))
}

/// One that shares these cores.
fn sharing_on(name: &'static str, cores: &[u32]) -> Guest {
    sharing(name).with("cpus", Cells(cores.to_vec()))
}

fn number(value: u32) -> Value {
    Cells(Vec::from([value]))
}

/// The configuration of a board with four cores.
fn resolved(guests: &[Guest]) -> Config {
    let mut config = config(guests);
    config.reject(check_board(&config, &BoardFacts { memory: 1 << 40, ..BOARD }));
    config.resolve(BOARD.cpus);
    config
}

fn homes(config: &Config) -> Vec<Vec<u8>> {
    config.vms.iter().map(|vm| vm.homes.iter().map(|core| core.0).collect()).collect()
}

fn cores(vm: &VmConfig) -> Vec<u8> {
    vm.cpus.iter().map(|core| core.0).collect()
}

#[test]
fn a_guest_that_shares_cores_is_read_with_all_that_it_says_of_them() {
    let web = sharing_on("web", &[2, 1])
        .with("vcpus", number(3))
        .with("cpu-shares", number(300))
        .with("cpu-cap", number(40))
        .with("cpu-reserve", number(20));
    let config = config(&[web, sharing("db")]);
    assert_eq!(config.problems, []);
    let [web, db] = &config.vms[..] else { panic!("{:?}", config.vms) };
    assert_eq!((web.vcpus(), cores(web)), (3, Vec::from([2, 1])));
    assert_eq!(web.sharing, Some(Sharing { shares: 300, cap: Some(40), reserve: Some(20) }));
    assert_eq!((db.vcpus(), db.cpus.len()), (1, 0), "which it has is the board's to say");
    assert_eq!(db.sharing, Some(Sharing { shares: 100, cap: None, reserve: None }));
}

#[test]
fn what_is_wrong_about_shared_cores_is_refused() {
    let with = |property, value| sharing("web").with(property, number(value));
    refused(with("vcpus", 9), "web/vcpus: 9 is not from 1 to 8");
    refused(with("vcpus", 0), "web/vcpus: 0 is not from 1 to 8");
    refused(with("cpu-shares", 0), "web/cpu-shares: 0 is not from 1 to 10000");
    refused(with("cpu-shares", 10_001), "web/cpu-shares: 10001 is not from 1 to 10000");
    refused(with("cpu-cap", 101), "web/cpu-cap: 101 is not from 1 to 100 percent of a core");
    refused(with("cpu-reserve", 0), "web/cpu-reserve: 0 is not from 1 to 100 percent of a core");
    refused(sharing("web").with("cpu-cap", Text("40")), "web/cpu-cap: is not one number");
    refused(sharing("web").with("cpus", Flag), "web/cpus: is not a list of numbers");
    refused(sharing_on("web", &[1, 1]), "web/cpus: core 1 is there twice; keep one");
    refused(sharing_on("web", &[256]), "web/cpus: core 256 is on no board");
    let want = "web/cpu-cap: 20 % is below the 30 % of `cpu-reserve`";
    refused(with("cpu-cap", 20).with("cpu-reserve", number(30)), want);
    let want = "web/cpu-policy: \"fair\" is unknown; write \"dedicated\" or \"shared\"";
    refused(Guest::new("web", &[0]).with("cpu-policy", Text("fair")), want);
}

#[test]
fn shares_caps_and_reserves_are_not_for_who_owns_its_cores() {
    for property in ["cpu-shares", "cpu-cap", "cpu-reserve"] {
        let want = alloc::format!("web/{property}: is for guests that share cores; take it out");
        refused(Guest::new("web", &[0]).with(property, number(50)), &want);
    }
}

#[test]
fn a_core_is_owned_or_shared_and_the_first_guest_of_the_file_says_which() {
    let config = config(&[Guest::new("rt", &[0, 1]), sharing_on("web", &[1, 2])]);
    let want = "web/cpus: core 1 is `rt`'s alone; take it out, or have `rt` share it";
    assert_eq!(words(&config.problems), [want]);
    assert_eq!(config.vms[0].name, "rt");

    let config = super::config(&[sharing_on("web", &[1, 2]), Guest::new("rt", &[0, 1])]);
    let want =
        "rt/cpus: core 1 is shared by `web`; choose another, or take it out of `web`'s `cpus`";
    assert_eq!(words(&config.problems), [want]);
    assert_eq!(config.vms[0].name, "web");

    let config = super::config(&[sharing_on("web", &[1, 2]), sharing_on("db", &[2, 1])]);
    assert_eq!(config.problems, [], "many can share one");
}

#[test]
fn without_cpus_a_guest_shares_what_nobody_owns() {
    let config = resolved(&[sharing("web"), Guest::new("rt", &[1, 3]), sharing("db")]);
    assert_eq!(config.problems, []);
    assert_eq!(cores(&config.vms[0]), [0, 2]);
    assert_eq!(homes(&config), [Vec::from([0]), Vec::from([1, 3]), Vec::from([2])]);
}

#[test]
fn a_guest_for_which_no_core_is_left_is_left_out() {
    let config = resolved(&[sharing("web"), Guest::new("rt", &[0, 1, 2, 3])]);
    let want =
        "web/cpu-policy: no core is left, for others have all 4 to themselves; have one share";
    assert_eq!(words(&config.problems), [want]);
    assert_eq!(config.vms.len(), 1);
}

#[test]
fn who_is_left_out_keeps_no_core_from_the_others() {
    let greedy = Guest::new("greedy", &[0, 1, 2, 3]).with("depends-on", List(&["bad"]));
    let bad = sharing_on("bad", &[7]);
    let config = resolved(&[sharing("web"), greedy, bad]);
    let words = words(&config.problems);
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(words[0].starts_with("bad/cpus: core 7 is not there"), "{words:?}");
    assert!(words[1].starts_with("greedy/depends-on: `bad`, which"), "{words:?}");
    assert_eq!(cores(&config.vms[0]), [0, 1, 2, 3]);
}

#[test]
fn thirty_two_guests_are_at_home_eight_on_a_core() {
    let names: Vec<String> = (0..32).map(|n| alloc::format!("guest-{n}")).collect();
    let guests: Vec<_> = names.iter().map(|name| sharing(String::leak(name.clone()))).collect();
    let config = resolved(&guests);
    assert_eq!((config.vms.len(), &*config.problems), (32, &[][..]));
    for core in 0..4 {
        assert_eq!(homes(&config).iter().filter(|home| **home == [core]).count(), 8);
    }
}

#[test]
fn vcpus_are_spread_by_their_shares_and_a_guests_own_over_different_cores() {
    let config = resolved(&[
        sharing("heavy").with("cpu-shares", number(1000)),
        sharing("twins").with("vcpus", number(2)),
        sharing_on("tight", &[1]).with("vcpus", number(2)),
        sharing("wide").with("vcpus", number(6)),
    ]);
    assert_eq!(config.problems, []);
    let homes = homes(&config);
    assert_eq!(homes[2], [1, 1], "it has no other");
    assert_eq!(homes[0], [0]);
    assert_eq!(homes[1], [2, 3], "where little is");
    assert_eq!(homes[3][..4], [2, 3, 1, 0], "each on another first");
    assert_eq!(homes[3][4..], [2, 3], "then where least is");
}

#[test]
fn reserves_are_placed_so_that_they_fit() {
    let reserve = |guest: Guest, percent| guest.with("cpu-reserve", number(percent));
    let config = resolved(&[
        sharing_on("free", &[0, 1]),
        reserve(sharing_on("half", &[0, 1]), 50),
        reserve(sharing_on("other", &[0, 1]), 50),
        reserve(sharing_on("whole", &[0, 1]), 100),
        reserve(sharing("any").with("vcpus", number(2)), 90),
        reserve(sharing_on("picky", &[2]), 10),
    ]);
    assert_eq!(config.problems, []);
    let want: [&[u8]; 6] = [&[0], &[1], &[1], &[0], &[3, 2], &[2]];
    assert_eq!(homes(&config), want);
}

#[test]
fn who_promises_more_than_there_is_of_a_core_is_told_with_whom() {
    let reserve = |guest: Guest, percent| guest.with("cpu-reserve", number(percent));
    let guests = [
        reserve(sharing_on("web", &[0]), 60),
        reserve(sharing_on("mail", &[1]), 60),
        reserve(sharing_on("db", &[0]), 50),
        reserve(sharing_on("log", &[0]), 40),
        reserve(sharing_on("alone", &[2]).with("vcpus", number(2)), 51),
    ];
    let config = config(&guests);
    let want = [
        "db/cpu-reserve: 50 % of a core for each of its vCPUs does not fit on core 0 beside the reserves of `web`, \
         for a core has 100 %; lower a reserve, or choose other `cpus`",
        "alone/cpu-reserve: 51 % of a core for each of its vCPUs does not fit on core 2, \
         for a core has 100 %; lower a reserve, or choose other `cpus`",
    ];
    assert_eq!(words(&config.problems), want, "without the board");
    assert_eq!(config.vms.len(), 3);

    let config = resolved(&[
        Guest::new("rt", &[0, 1]),
        reserve(sharing("web").with("vcpus", number(2)), 60),
        reserve(sharing("db"), 50),
    ]);
    let words = words(&config.problems);
    let want = "db/cpu-reserve: 50 % of a core for each of its vCPUs does not fit on core 2, core 3 beside";
    assert!(words.len() == 1 && words[0].starts_with(want), "{words:?}");
}

#[test]
fn the_wake_up_latency_can_be_chosen_and_a_wrong_one_is_told() {
    let read = |value| {
        let blob = blob_with(&[("wake-latency", value)], &[sharing("web")]);
        let config = parse(&Fdt::new(&blob).unwrap());
        assert_eq!(config.vms.len(), 1, "a guest does not suffer from it");
        (config.wake_latency_us, words(&config.problems))
    };
    assert_eq!(config(&[sharing("web")]).wake_latency_us, 1000);
    assert_eq!(read(number(250)), (250, Vec::new()));
    let (latency, words) = read(number(99));
    assert_eq!(latency, 1000);
    assert_eq!(words, ["/wake-latency: 99 is not from 100 to 100000 microseconds"]);
}
