//! Groups of guests.

use alloc::boxed::Box;

use super::*;
use crate::stage2::Access;

/// A configuration of the guests `web`, `db` and `logger`, with phandles 1 to 3, and of these groups.
fn with_groups(groups: &[(&'static str, Vec<(&'static str, Value)>)]) -> Config {
    let guest = |name, n: u32| Guest::new(name, &[n]).with("phandle", Cells(Vec::from([n])));
    let mut nodes = Vec::from([guest("web", 1), guest("db", 2), guest("logger", 3)]);
    for (name, properties) in groups {
        nodes.push(Guest { name, properties: properties.clone(), disks: Vec::new() });
    }
    config(&nodes)
}

/// A group with what one must have, and these properties beside or instead.
fn group(more: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    let mut properties = Vec::from([
        ("compatible", Text("tessera,group")),
        ("size", Text("16M")),
        ("members", Cells(Vec::from([1, 2]))),
    ]);
    for (name, value) in more {
        properties.retain(|(other, _)| other != name);
        properties.push((name, value.clone()));
    }
    properties
}

fn refused_group(more: &[(&'static str, Value)], want: &str) {
    let config = with_groups(&[("ring", group(more))]);
    let words = words(&config.problems);
    assert!(words[0].starts_with(want), "{words:?}");
    assert!(config.groups.is_empty());
}

#[test]
fn a_group_is_read_with_its_members_in_their_order() {
    let config = with_groups(&[
        ("ring", group(&[("reader", Cells(Vec::from([3]))), ("initial", Text("data"))])),
        ("data", group(&[("members", Cells(Vec::from([2]))), ("access", Text("read-only"))])),
    ]);
    assert_eq!(words(&config.problems), [""; 0]);
    assert_eq!(config.vms.len(), 3);
    let member = |guest: &str, access| MemberConfig { guest: guest.into(), access };
    let ring = GroupConfig {
        name: "ring".into(),
        size: 16 << 20,
        members: Vec::from([
            member("web", Access::ReadWrite),
            member("db", Access::ReadWrite),
            member("logger", Access::ReadOnly),
        ]),
        initial: Some("data".into()),
    };
    assert_eq!(config.groups[0], ring);
    assert_eq!(config.groups[1].members, [member("db", Access::ReadOnly)]);
}

#[test]
fn what_is_wrong_with_a_group_is_said_and_its_members_are_left_out_with_it() {
    let cells = |cells: &[u32]| Cells(cells.to_vec());
    refused_group(&[("size", Text("16"))], "ring/size: \"16\" is not a size");
    refused_group(&[("size", Text("0K"))], "ring/size: \"0K\" is none");
    refused_group(&[("members", cells(&[1, 9]))], "ring/members: <9> is no guest");
    refused_group(&[("members", cells(&[2, 2]))], "ring/members: `db` is a member twice");
    refused_group(&[("reader", cells(&[1]))], "ring/reader: `web` is a member twice");
    refused_group(&[("access", Text("execute"))], "ring/access: ");
    refused_group(&[("memory", Text("16M"))], "ring/memory: is unknown");
    let config = with_groups(&[("ring", group(&[("size", Text("1"))]))]);
    let names: Vec<&str> = config.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["logger"]);
    assert!(words(&config.problems)[1].starts_with("web: is left out, for its group `ring` is"));
}

#[test]
fn a_guest_is_in_so_many_groups_and_no_more() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let all = names.map(|name| (name, group(&[])));
    assert_eq!(words(&with_groups(&all[..8]).problems), [""; 0]);
    let config = with_groups(&all);
    assert!(words(&config.problems)[0].starts_with("i/members: `web` is in 8 groups already"));
}

#[test]
fn a_group_without_a_member_that_is_left_out_goes_on() {
    let bad = Guest::new("bad", &[0]).without("kernel").with("phandle", Cells(Vec::from([1])));
    let good = Guest::new("good", &[1]).with("phandle", Cells(Vec::from([2])));
    let ring = Guest { name: "ring", properties: group(&[]), disks: Vec::new() };
    let config = config(&[bad, good, ring]);
    assert_eq!(config.vms.len(), 1);
    assert_eq!(config.groups[0].members.len(), 2, "indices stay");
}

#[test]
fn what_begins_a_region_must_be_there_and_fit_and_the_region_must_fit_the_board() {
    let config = with_groups(&[("ring", group(&[("initial", Text("data"))]))]);
    let about = |problems: Vec<Problem>| {
        let ours = problems.into_iter().filter(|problem| problem.guest() == "ring");
        ours.map(|problem| problem.to_string()).collect::<Vec<_>>()
    };
    let data = alloc::vec![0; (16 << 20) + 1];
    assert_eq!(about(check_files(&config, |_| Ok::<_, String>(&data[1..]))), [""; 0]);
    let long = about(check_files(&config, |_| Ok::<_, String>(&data[..])));
    assert_eq!(long, ["ring/initial: 16777217 bytes do not fit; make `size` larger"]);
    let missing = about(check_files(&config, |name| Err(alloc::format!("no {name}"))));
    assert_eq!(missing, ["ring/initial: no data"]);
    let board = BoardFacts { cpus: 4, memory: 8 << 20, partitions: None };
    let small = about(check_board(&config, &board));
    assert_eq!(
        small,
        ["ring/size: 16M is more than the 8M that this board has left; make it smaller"]
    );
    let mut rejected = config.clone();
    rejected.reject(check_files(&config, |_| Ok::<_, String>(&data[..])));
    assert!(rejected.groups.is_empty());
    assert!(rejected.vms.iter().all(|vm| vm.name == "logger"));
}

#[test]
fn two_groups_of_one_name_are_one_and_a_problem() {
    let other = group(&[("members", Cells(Vec::from([3]))), ("size", Text("1M"))]);
    let config = with_groups(&[("ring", group(&[])), ("ring", other)]);
    let words = words(&config.problems);
    assert!(words[0].starts_with("ring: is there twice"), "{words:?}");
    assert_eq!(config.groups.len(), 1);
    let names: Vec<&str> = config.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["web", "db"], "who would have had the other is left out");
}

#[test]
fn groups_behind_guests_of_which_there_are_too_many_are_read() {
    let names: Vec<&'static str> =
        (0..MAX_GUESTS + 2).map(|n| &*Box::leak(format!("g{n}").into_boxed_str())).collect();
    let guest = |(n, name): (usize, &&'static str)| {
        Guest::new(name, &[1]).with("phandle", Cells(Vec::from([1 + n as u32])))
    };
    let mut nodes: Vec<Guest> = names.iter().enumerate().map(guest).collect();
    nodes.push(Guest { name: "ring", properties: group(&[]), disks: Vec::new() });
    let config = config(&nodes);
    let many = |word: &&String| word.contains("one guest too many");
    assert_eq!(words(&config.problems).iter().filter(many).count(), 1, "said once");
    assert_eq!(config.groups.len(), 1);
}
