//! Guests that share memory, ring each other, and see who of them is up.

use tessera_system_tests::{EMULATED, GICV3, Guest, Machine, Scene, Target, tests};

use crate::shares::{result, start, start_counted};
use crate::{number, promises_are_kept};

tests! {
    GICV3:
        stock_debians_with_two_vcpus_each_share_one_core_and_a_group;
    EMULATED:
        members_share_memory_and_ring_each_other_on_cores_of_their_own_and_on_shared_ones,
        members_that_attack_what_they_share_harm_nobody,
        who_stays_is_told_of_whoever_goes_and_the_memory_stays,
        thirty_two_guests_on_four_cores_compute_one_result_by_messages_and_by_shared_arrays,
        who_waits_in_a_barrier_is_told_of_a_member_that_goes_and_they_go_on_when_it_is_back,
        whoever_waits_in_a_barrier_is_told_of_a_rogue_that_leaves_it_and_goes_on_when_it_is_back,
        every_member_finds_the_file_that_a_region_begins_with_and_zeros_behind_it,
        a_storm_of_rings_leaves_who_is_rung_nine_tenths_of_its_work,
        a_stock_debian_sleeps_until_it_is_rung_and_gets_what_another_sends;
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

/// Guests that share four cores and compute one result.
fn nodes(count: usize, bootargs: &str) -> Vec<Guest> {
    let names: Vec<String> = (0..count).map(|n| format!("node{n}")).collect();
    let node =
        |name: &String| Guest::load(name, &[0, 1, 2, 3], "nodes").shared(1).bootargs(bootargs);
    let mut nodes: Vec<Guest> = names.iter().map(node).collect();
    let last = nodes.pop().expect("there is one");
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    nodes.push(last.group("all", &members, "size = \"2M\";"));
    nodes
}

/// In how many ways eleven queens stand on a board of eleven rows.
const ELEVEN_QUEENS: usize = 2680;

/// Waits until a node gives the result, having complained of nothing.
#[track_caller]
fn found(target: &mut Target, who: &str, way: &str) {
    target.line(who, &format!("LOAD nodes way={way} queens=11 found={ELEVEN_QUEENS}"));
    assert!(!target.said(who).contains("not ok "), "{who} complains");
}

fn thirty_two_guests_on_four_cores_compute_one_result_by_messages_and_by_shared_arrays(
    machine: Machine,
) {
    let scene = Scene::new(machine, "group-messages");
    let mut target = start(&scene, machine, &nodes(32, "nodes.way=messages"));
    found(&mut target, "node0", "messages");
    let ways =
        (1..32).map(|n| number(&target.line(&format!("node{n}"), "LOAD node pieces="), "found"));
    let others: usize = ways.map(|ways| ways as usize).sum();
    assert!(others > ELEVEN_QUEENS / 2 && others < ELEVEN_QUEENS, "{others}");
    drop(target);
    let scene = Scene::new(machine, "group-arrays");
    let mut target = start(&scene, machine, &nodes(32, "nodes.way=arrays"));
    (0..32).for_each(|n| found(&mut target, &format!("node{n}"), "arrays"));
}

fn who_waits_in_a_barrier_is_told_of_a_member_that_goes_and_they_go_on_when_it_is_back(
    machine: Machine,
) {
    let scene = Scene::new(machine, "group-barrier");
    let mut guests = nodes(6, "nodes.way=arrays");
    guests[4] = guests[4].clone().bootargs("nodes.ends=3");
    guests[1] = guests[1].clone().bootargs("nodes.stays=6");
    let mut target = start(&scene, machine, &guests);
    let others = ["node0", "node2", "node3", "node5"];
    // One ends while the others wait, and starts anew at once: who looks late finds it back.
    for who in others {
        target.line(who, "NODES gone=0x10 came=");
    }
    target.line("node1", "NODES stays step=6");
    target.ask("vm kill node1");
    for who in others.into_iter().chain(["node4"]) {
        target.line(who, "NODES gone=0x2 came=0x0 ");
    }
    target.ask("vm start node1");
    for who in others.into_iter().chain(["node1", "node4"]) {
        target.line(who, "NODES joined step=");
        found(&mut target, who, "arrays");
    }
}

/// How the lives of a rogue in a barrier end, one after the other: what it does itself, and what ends and starts it from outside.
const LEAVES: [(&str, Option<&str>, Option<&str>); 5] = [
    ("lost-vectors", None, None),
    ("reset", None, None),
    ("off", None, Some("vm start node0")),
    ("wait", Some("vm kill node0"), Some("vm start node0")),
    ("wait", Some("vm reset node0"), None),
];

fn whoever_waits_in_a_barrier_is_told_of_a_rogue_that_leaves_it_and_goes_on_when_it_is_back(
    machine: Machine,
) {
    let scene = Scene::new(machine, "group-leaves");
    let mut guests = nodes(5, "nodes.way=arrays nodes.first=1");
    guests[0] = Guest::rogue("node0", &[0, 1, 2, 3])
        .shared(1)
        .memory("8M")
        .bootargs("rogue.only=23")
        .with("restart = \"on-crash\";");
    let mut target = start(&scene, machine, &guests);
    let others = ["node1", "node2", "node3", "node4"];
    for (how, end, back) in LEAVES {
        target.line("node0", &format!("ROGUE-ENDS {how}"));
        end.into_iter().for_each(|end| _ = target.ask(end));
        // Whoever starts again by itself may be back before another looks.
        let came = if back.is_some() { "0x0 " } else { "" };
        for who in others {
            target.line(who, &format!("NODES gone=0x1 came={came}"));
        }
        if let Some(back) = back {
            target.wait_state("node0", "stopped");
            target.ask(back);
        }
        for who in others {
            target.line(who, "NODES joined step=");
        }
    }
    for who in others {
        found(&mut target, who, "arrays");
    }
    let done = target.line("node0", "ROGUE-DONE");
    assert_eq!((number(&done, "attacks"), number(&done, "broken")), (1, 0), "{done}");
}

fn every_member_finds_the_file_that_a_region_begins_with_and_zeros_behind_it(machine: Machine) {
    let scene = Scene::new(machine, "group-initial");
    // Longer than the largest block of the region, and no number of words.
    let bytes: Vec<u8> =
        (0..2_500_001u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let initial = format!(
        "size = \"3M\"; reader = <&{{/c}}>; initial = \"{}\";",
        scene.file("data", &bytes).display()
    );
    let look = format!("probe.mode=region probe.bytes={}", bytes.len());
    let guest = |name, core| Guest::probe(name, &[core]).memory("8M").bootargs(&look);
    let guests = [
        guest("a", 0),
        guest("b", 1).shared(1),
        guest("c", 2).group("ring", &["a", "b"], &initial),
    ];
    let mut target = scene.start(&guests, &[]);
    // FNV-1a.
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    for who in ["a", "b", "c"] {
        let line = target.line(who, "GROUP-REGION ");
        assert!(line.ends_with(&format!("sum={sum:#x} behind=0")), "{line}, not {sum:#x}");
    }
}

/// Nanoseconds of an instruction under a storm, as a power of two. Three cores never wait and have their turns, so each of them
/// has one in 3 ns.
const STORM_SHIFT: u32 = 0;
/// Interrupts a second at least for it to be a storm: all that are let through.
const STORM: u64 = 25_000;
/// Nine tenths, in millionths.
const NINE_TENTHS: u64 = 900_000;

fn a_storm_of_rings_leaves_who_is_rung_nine_tenths_of_its_work(machine: Machine) {
    let scene = Scene::new(machine, "group-storm");
    let rogue = |name| Guest::rogue(name, &[2]).shared(1).memory("8M").bootargs("rogue.rings");
    let everyone = ["one", "other", "a", "b"];
    // In two groups with them, it is interrupted no more often than in one.
    let beat = Guest::load("beat", &[3], "beat").group("ring", &everyone, "size = \"64K\";").group(
        "more",
        &everyone,
        "size = \"64K\";",
    );
    let own = ["one", "other"].map(|name| Guest::load(name, &[0], "rung load.millis=50"));
    let shared = own.clone().map(|guest| guest.shared(1));
    for [one, other] in [own, shared] {
        let guests = [one, other.cpus(&[1]), rogue("a"), rogue("b"), beat.clone()];
        let mut target = start_counted(&scene, machine, &guests, STORM_SHIFT);
        for who in ["one", "other"] {
            let line = result(&mut target, who, "rung");
            let storm = number(&line, "passed_ns") * STORM / 1_000_000_000;
            assert!(number(&line, "interrupts") >= storm, "it was stormed: {line}");
            assert!(number(&line, "kept_ppm") > NINE_TENTHS, "{line}");
        }
    }
}

/// Where three Debian guests find the doorbell's registers and a word near the end of the region's first page, which is before the
/// ring of `group send`.
const DOORBELL_PENDING: &str = "0xb000004";
const DOORBELL_CHANGED: &str = "0xb000008";
const WORD: &str = "0x4000000ff8";

fn a_stock_debian_sleeps_until_it_is_rung_and_gets_what_another_sends(machine: Machine) {
    let scene = Scene::new(machine, "group-debian");
    let debian = |name, cpu| Guest::debian(name, &[cpu]);
    let mut target = scene.start(&three([debian("a", 0), debian("b", 1), debian("c", 2)]), &[]);
    target.be_patient(2);
    for who in ["a", "b", "c"] {
        target.prompt(who);
    }
    debian_sleeps_until_it_is_rung(&mut target, "group wait");
    debian_gets_what_another_sends(&mut target);
    debian_may_only_read(&mut target);
    debian_has_the_region_as_a_disk(&mut target);
}

fn stock_debians_with_two_vcpus_each_share_one_core_and_a_group(machine: Machine) {
    let scene = Scene::new(machine, "group-debian-shared");
    let debian = |name| Guest::debian(name, &[0]).shared(2);
    let guests = [debian("a"), debian("b").group("ring", &["a", "b"], "size = \"4M\";")];
    let mut target = scene.start(&guests, &[]);
    target.be_patient(4);
    for who in ["a", "b"] {
        target.prompt(who);
    }
    // Also on the vCPU that the interrupt does not come to.
    for wait in ["group wait", "taskset 2 group wait"] {
        debian_sleeps_until_it_is_rung(&mut target, wait);
    }
    debian_gets_what_another_sends(&mut target);
}

fn debian_sleeps_until_it_is_rung(target: &mut Target, wait: &str) {
    // What has changed while they started.
    target.shell("b", &format!("devmem {DOORBELL_PENDING}; devmem {DOORBELL_CHANGED}"));
    target.shell("b", &format!("({wait} >/tmp/rung) & true"));
    let asleep = "until grep -q WAITS /tmp/rung; do sleep 1; done; pid=$(pidof group); \
        until grep -q 'State:.S' /proc/$pid/status; do sleep 1; done";
    target.shell("b", asleep);
    let ticks = "cut -d' ' -f14,15 /proc/$pid/stat";
    let interrupts = "grep 9030000.gpio /proc/interrupts";
    let before = target.shell("b", &format!("{ticks}; {interrupts}"));
    target.shell("b", "sleep 3");
    let after = target.shell("b", &format!("{ticks}; {interrupts}"));
    assert_eq!(before, after, "it does nothing while nobody rings");
    assert!(!target.shell("b", "cat /tmp/rung").contains("RUNG"));
    target.shell("a", "group ring 1");
    let rung = target.shell("b", "wait; cat /tmp/rung");
    assert!(rung.contains("GROUP-RUNG by=0x1 changed=0 slept=1"), "{rung}");
}

fn debian_gets_what_another_sends(target: &mut Target) {
    target.shell("b", "(group -n ring receive 0 >/tmp/got) & true");
    let sent = target.shell("a", "group -n ring send 1 64");
    let got = target.shell("b", "wait; cat /tmp/got");
    let sum = |line: &str| line.split("sum=").nth(1).map(|rest| rest[..18].to_string());
    assert!(sent.contains("GROUP-SENT bytes=67108864"), "{sent}");
    assert!(got.contains("GROUP-RECEIVED bytes=67108864") && sum(&got) == sum(&sent), "{got}");
}

fn debian_may_only_read(target: &mut Target) {
    target.shell("a", &format!("devmem {WORD} 64 0x123456789abcdef0"));
    assert_eq!(target.shell("c", &format!("devmem {WORD} 64")), "0x123456789ABCDEF0");
    let (status, said) = target.try_shell("c", &format!("devmem {WORD} 64 0"));
    // SIGBUS.
    assert_eq!(status, 128 + 7, "{said}");
    assert!(target.shell("c", "group state").contains("index=2 members=3 writable=0"));
    assert_eq!(target.shell("a", &format!("devmem {WORD} 64")), "0x123456789ABCDEF0");
}

/// The region in the sysfs of who may only read it.
const REGION: &str = "/sys/bus/platform/devices/4000000000.pmem";

/// What is read and written so goes past the page cache; whoever has the disk has the region no more for `/dev/mem`.
fn debian_has_the_region_as_a_disk(target: &mut Target) {
    let load = "for module in $(cat /modules/pmem); do insmod /modules/$module.ko; done";
    let wait = "until [ -b /dev/pmem0 ]; do sleep 1; done";
    let read = "dd if=/dev/pmem0 bs=4096 count=2 iflag=direct 2>/dev/null | strings";
    target.shell("a", &format!("{load}; {wait}"));
    target.shell("c", load);
    // Who may only read has the disk only on request, so that nothing writes to it before it is made read-only.
    let (status, said) = target.try_shell("c", &format!("[ -e {REGION}/driver ]"));
    assert_eq!(status, 1, "{said}");
    let ask = format!(
        "echo of_pmem >{REGION}/driver_override; echo 4000000000.pmem >/sys/bus/platform/drivers_probe; \
        until [ -e {REGION}/ndbus0/region0/read_only ]; do sleep 1; done; \
        echo 1 >{REGION}/ndbus0/region0/read_only"
    );
    target.shell("c", &format!("{ask}; {wait}"));
    for words in ["some-words", "other-words"] {
        let write = "dd of=/dev/pmem0 bs=4096 seek=1 conv=sync oflag=direct 2>/dev/null";
        target.shell("a", &format!("echo {words} | {write}"));
        let read = target.shell("c", read);
        assert!(read.lines().any(|line| line == words), "{read}");
    }
    let write = "blockdev --setrw /dev/pmem0; dd if=/dev/zero of=/dev/pmem0 count=1 2>&1";
    let (status, said) = target.try_shell("c", write);
    assert!(status != 0 && said.contains("not permitted"), "{said}");
    let (status, said) = target.try_shell("a", &format!("devmem {WORD} 64"));
    assert!(status != 0 && said.contains("not permitted"), "{said}");
}
