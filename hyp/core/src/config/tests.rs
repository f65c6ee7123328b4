mod groups;
mod shared;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use vm_fdt::FdtWriter;

use super::*;
use crate::life::{Policy, Restart};

/// A value as `tessera.dts` would have it.
#[derive(Clone)]
enum Value {
    Text(&'static str),
    Cells(Vec<u32>),
    List(&'static [&'static str]),
    Flag,
}

use Value::{Cells, Flag, List, Text};

/// A guest's node: properties, and disks with theirs.
#[derive(Clone)]
struct Guest {
    name: &'static str,
    properties: Vec<(&'static str, Value)>,
    disks: Vec<(&'static str, Vec<(&'static str, Value)>)>,
}

impl Guest {
    fn new(name: &'static str, cores: &[u32]) -> Self {
        let properties = Vec::from([
            ("compatible", Text("tessera,vm")),
            ("vcpus", Cells(Vec::from([cores.len() as u32]))),
            ("cpus", Cells(cores.to_vec())),
            ("memory", Text("256M")),
            ("kernel", Text("vmlinuz")),
        ]);
        Self { name, properties, disks: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.properties.retain(|(other, _)| *other != name);
        self.properties.push((name, value));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.properties.retain(|(other, _)| *other != name);
        self
    }

    fn disk(mut self, name: &'static str, properties: &[(&'static str, Value)]) -> Self {
        self.disks.push((name, properties.to_vec()));
        self
    }
}

fn put(fdt: &mut FdtWriter, properties: &[(&'static str, Value)]) {
    for (name, value) in properties {
        match value {
            Text(text) => fdt.property_string(name, text).unwrap(),
            Cells(cells) => fdt.property_array_u32(name, cells).unwrap(),
            List(texts) => {
                let texts = texts.iter().map(ToString::to_string).collect();
                fdt.property_string_list(name, texts).unwrap();
            }
            Flag => fdt.property_null(name).unwrap(),
        }
    }
}

fn blob(guests: &[Guest]) -> Vec<u8> {
    blob_with(&[], guests)
}

fn blob_with(root_properties: &[(&'static str, Value)], guests: &[Guest]) -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_string("compatible", "tessera,config").unwrap();
    put(&mut fdt, root_properties);
    for guest in guests {
        let node = fdt.begin_node(guest.name).unwrap();
        put(&mut fdt, &guest.properties);
        for (name, properties) in &guest.disks {
            let disk = fdt.begin_node(name).unwrap();
            put(&mut fdt, properties);
            fdt.end_node(disk).unwrap();
        }
        fdt.end_node(node).unwrap();
    }
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

fn config(guests: &[Guest]) -> Config {
    let blob = blob(guests);
    parse(&Fdt::new(&blob).unwrap())
}

fn words(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// Asserts that `guest` is left out for one reason, which begins with `want`, and that its neighbour is not.
#[track_caller]
fn refused(guest: Guest, want: &str) {
    let config = config(&[guest, Guest::new("neighbour", &[7])]);
    let words = words(&config.problems);
    assert!(words.len() == 1 && words[0].starts_with(want), "{words:?}");
    assert_eq!(config.vms.len(), 1, "only the bad guest is left out");
    assert_eq!(config.vms[0].name, "neighbour");
}

#[test]
fn the_consoles_keys_can_be_chosen_and_wrong_ones_are_told() {
    let read = |properties: &[(&'static str, Value)]| {
        let blob = blob_with(properties, &[Guest::new("web", &[0])]);
        let config = parse(&Fdt::new(&blob).unwrap());
        assert_eq!(config.vms.len(), 1, "a guest does not suffer from a wrong key");
        (config.keys, words(&config.problems))
    };
    let default = ConsoleKeys::default();
    assert_eq!(read(&[]), (default, Vec::new()));
    let (keys, problems) = read(&[("monitor-key", Text("^T")), ("switch-key", Text("^\\"))]);
    assert_eq!((keys.monitor, keys.switch, problems.len()), (0x14, 0x1c, 0));
    let (keys, problems) = read(&[("monitor-key", Text("ctrl-t"))]);
    assert_eq!(keys, default);
    assert!(
        problems[0].starts_with("/monitor-key: \"ctrl-t\" cannot be a key; write ^ and"),
        "{problems:?}"
    );
    let (keys, problems) = read(&[("switch-key", Text("^\\"))]);
    assert_eq!(keys, default);
    assert_eq!(problems, ["/monitor-key: is the same as `switch-key`; choose another"]);
}

#[test]
fn a_guest_is_read_with_all_that_it_has() {
    let web = Guest::new("web", &[0, 1])
        .with("cpu-policy", Text("dedicated"))
        .with("ramdisk", Text("initrd.img"))
        .with("bootargs", Text("console=ttyAMA0 root=/dev/vda"))
        .with("console", Text("none"))
        .with("watchdog", Text("stop"))
        .with("control", Flag)
        .with("autostart", Text("no"))
        .with("depends-on", List(&["db", "db"]))
        .with("restart", Text("on-crash"))
        .with("restart-limit", Cells(Vec::from([3])))
        .with("stop-timeout", Cells(Vec::from([90])))
        .disk("disk", &[("partition", Text("web"))])
        .disk("disk-base", &[("partition", Text("PARTUUID=1234")), ("read-only", Flag)]);
    let config = config(&[web, Guest::new("db", &[2])]);
    assert_eq!(config.problems, []);
    let disk = |name: &str, partition: &str, read_only| DiskConfig {
        name: name.into(),
        partition: partition.into(),
        read_only,
    };
    let want = VmConfig {
        name: "web".into(),
        vcpus: 2,
        cpus: Vec::from([CpuId(0), CpuId(1)]),
        sharing: None,
        homes: Vec::from([CpuId(0), CpuId(1)]),
        memory: 256 << 20,
        kernel: "vmlinuz".into(),
        ramdisk: Some("initrd.img".into()),
        bootargs: "console=ttyAMA0 root=/dev/vda".into(),
        disks: Vec::from([disk("disk", "web", false), disk("disk-base", "PARTUUID=1234", true)]),
        console: ConsoleKind::None,
        watchdog: Some(StopReason::WatchdogStop),
        control: true,
        life: Lifecycle {
            autostart: false,
            depends_on: Vec::from(["db".into()]),
            policy: Policy { restart: Restart::OnCrash, limit: 3 },
            stop_timeout: 90,
        },
    };
    assert_eq!(config.vms[0], want);
    let db = &config.vms[1];
    assert_eq!((db.vcpus(), db.console, db.ramdisk.as_ref()), (1, ConsoleKind::Pl011, None));
    assert_eq!(db.life, Lifecycle::default());
    assert_eq!((db.watchdog, db.control), (None, false));
    assert!(db.life.autostart && db.life.policy.restart == Restart::Never);
}

#[test]
fn a_watchdog_resets_or_stops_a_guest_or_is_not_there() {
    let on_hang = |value| {
        let config = config(&[Guest::new("web", &[0]).with("watchdog", Text(value))]);
        assert_eq!(config.problems, []);
        config.vms[0].watchdog
    };
    assert_eq!(on_hang("reset"), Some(StopReason::WatchdogReset));
    assert_eq!(on_hang("stop"), Some(StopReason::WatchdogStop));
    assert_eq!(on_hang("none"), None);
    let want = "web/watchdog: \"bark\" is unknown; write \"none\", \"reset\" or \"stop\"";
    refused(Guest::new("web", &[0]).with("watchdog", Text("bark")), want);
    refused(Guest::new("web", &[0]).with("watchdog", Flag), "web/watchdog: is not");
}

#[test]
fn what_is_wrong_about_a_guests_life_is_refused() {
    let guest = || Guest::new("web", &[0]);
    let want = "web/restart: \"often\" is unknown; write \"never\", \"on-crash\" or \"always\"";
    refused(guest().with("restart", Text("often")), want);
    let want = "web/autostart: \"maybe\" is unknown; write \"yes\" or \"no\"";
    refused(guest().with("autostart", Text("maybe")), want);
    refused(guest().with("stop-timeout", Cells(Vec::from([0]))), "web/stop-timeout: is not from 1");
    refused(guest().with("restart-limit", Text("5")), "web/restart-limit: is not one number");
    let want = "web/depends-on: there is no guest `neigbour`; did you mean `neighbour`?";
    refused(guest().with("depends-on", List(&["neigbour"])), want);
    refused(guest().with("depends-on", List(&["web"])), "web/depends-on: is the guest itself");
    refused(guest().with("depends-on", Cells(Vec::from([1]))), "web/depends-on: is not a list");
    refused(guest().with("depends-on", List(&["a", ""])), "web/depends-on: is not a list");
}

#[test]
fn guests_that_wait_for_each_other_or_for_one_that_is_left_out_are_left_out() {
    let waiting = |name, core, whom: &'static [&'static str]| {
        Guest::new(name, &[core]).with("depends-on", List(whom))
    };
    let config = config(&[
        waiting("a", 0, &["b"]),
        waiting("b", 1, &["c", "free"]),
        waiting("c", 2, &["a"]),
        Guest::new("free", &[3]),
    ]);
    let said = words(&config.problems);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("a/depends-on: `b` waits for this guest in turn"), "{said:?}");
    assert_eq!(config.vms.len(), 1);

    let bad = Guest::new("bad", &[0]).without("kernel");
    let config = self::config(&[bad, waiting("next", 1, &["bad"]), waiting("last", 2, &["next"])]);
    let said = words(&config.problems);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[1].starts_with("next/depends-on: `bad`, which this guest waits for, cannot"));
    assert!(said[2].starts_with("last/depends-on: `next`, which"), "{said:?}");
    assert_eq!(config.vms, []);
}

#[test]
fn what_is_unknown_is_refused_and_a_slip_is_named() {
    let guest = || Guest::new("web", &[0]);
    refused(guest().with("memmory", Text("1G")), "web/memmory: is unknown; did you mean `memory`?");
    refused(guest().with("colour", Text("red")), "web/colour: is unknown; known are `compatible`");
    refused(guest().disk("net", &[]), "web/net: is unknown; what a guest may have");
    let disk = [("partition", Text("web")), ("readonly", Flag)];
    let want = "web/disk/readonly: is unknown; did you mean `read-only`?";
    refused(guest().disk("disk", &disk), want);
}

#[test]
fn what_is_missing_is_refused_with_an_example() {
    let guest = || Guest::new("web", &[0]);
    refused(guest().without("kernel"), "web/kernel: is missing; write for example kernel = ");
    refused(guest().without("memory"), "web/memory: is missing");
    refused(guest().without("vcpus"), "web/vcpus: is missing");
    refused(guest().without("cpus"), "web/cpus: is missing");
    refused(
        guest().without("compatible"),
        "web: is not a guest; write compatible = \"tessera,vm\"",
    );
    refused(guest().disk("disk", &[]), "web/disk/partition: is missing");
}

#[test]
fn a_value_of_another_type_is_refused() {
    let guest = || Guest::new("web", &[0]);
    refused(guest().with("memory", Cells(Vec::from([256]))), "web/memory: is not a text");
    refused(guest().with("kernel", Flag), "web/kernel: is not a text");
    refused(guest().with("vcpus", Text("2")), "web/vcpus: is not one number");
    refused(guest().with("cpus", Text("0")), "web/cpus: is not a list of numbers");
    refused(guest().with("cpus", Flag), "web/cpus: is not a list of numbers");
    let disk = [("partition", Text("web")), ("read-only", Text("yes"))];
    refused(guest().disk("disk", &disk), "web/disk/read-only: is not without a value");
    refused(guest().with("bootargs", Text("a\nb")), "web/bootargs: is not a text");
}

#[test]
fn a_value_out_of_range_is_refused() {
    let guest = || Guest::new("web", &[0]);
    refused(guest().with("vcpus", Cells(Vec::from([0]))), "web/vcpus: 0 is not from 1 to 8");
    refused(Guest::new("web", &[0, 1, 2, 3, 4, 5, 6, 8, 9]), "web/vcpus: 9 is not from 1 to 8");
    refused(guest().with("vcpus", Cells(Vec::from([2]))), "web/cpus: 1 for 2 vCPUs");
    refused(Guest::new("web", &[1, 1]), "web/cpus: core 1 is there twice");
    refused(Guest::new("web", &[256]), "web/cpus: core 256 is on no board");
    refused(guest().with("cpu-policy", Text("fair")), "web/cpu-policy: \"fair\" is unknown");
    refused(guest().with("console", Text("vga")), "web/console: \"vga\" is unknown");
    refused(guest().with("kernel", Text("")), "web/kernel: is empty");
    refused(
        guest().disk("disk", &[("partition", Text("PARTUUID="))]),
        "web/disk/partition: is empty",
    );
    refused(Guest::new("tessera", &[0]), "tessera: is the name of Tessera's own lines");
    refused(Guest::new("web,1", &[0]), "web,1: cannot be a guest's name");
}

#[test]
fn sizes_are_numbers_with_a_unit() {
    assert_eq!(parse_size("4K"), Some(4096));
    assert_eq!(parse_size("256M"), Some(256 << 20));
    assert_eq!(parse_size("16G"), Some(16 << 30));
    for wrong in
        ["", "K", "256", "-1M", "+1M", "1.5G", "256 M", "1T", "99999999999G", "256MB", "Mé"]
    {
        assert_eq!(parse_size(wrong), None, "{wrong}");
    }
    let guest = || Guest::new("web", &[0]);
    refused(guest().with("memory", Text("256")), "web/memory: \"256\" is not a size");
    refused(guest().with("memory", Text("0M")), "web/memory: \"0M\" is none");
    refused(guest().with("memory", Text("6K")), "web/memory: \"6K\" is not a multiple of 4K");
}

#[test]
fn a_core_has_one_owner_and_the_first_guest_keeps_it() {
    let config = config(&[Guest::new("web", &[0, 1]), Guest::new("db", &[1, 2])]);
    let want = "db/cpus: core 1 is claimed by `web` too; give one of them another";
    assert_eq!(words(&config.problems), [want]);
    assert_eq!(config.vms.len(), 1);
}

#[test]
fn a_partition_has_one_owner_unless_all_only_read() {
    let guest = |name, core, read_only| {
        let mut properties = Vec::from([("partition", Text("base"))]);
        properties.extend(if read_only { Some(("read-only", Flag)) } else { None });
        Guest::new(name, &[core]).disk("disk", &properties)
    };
    let problems = |a, b| config(&[guest("web", 0, a), guest("db", 1, b)]).problems;
    assert_eq!(problems(true, true), []);
    for (a, b) in [(false, false), (true, false), (false, true)] {
        let words = words(&problems(a, b));
        assert!(
            words[0].starts_with("db/disk/partition: partition \"base\" is given to `web` too")
        );
    }
    let twice = guest("web", 0, false).disk("disk-2", &[("partition", Text("base"))]);
    let words = words(&config(&[twice]).problems);
    assert!(words[0].starts_with("web/disk-2/partition: partition \"base\" is given to `web` too"));
}

#[test]
fn the_thirty_third_guest_is_one_too_many() {
    let names: Vec<String> = (0..=MAX_GUESTS).map(|n| alloc::format!("guest-{n}")).collect();
    let guest = |name: &String| shared::sharing(String::leak(name.clone()));
    let config = config(&names.iter().map(guest).collect::<Vec<_>>());
    assert_eq!(config.vms.len(), 32);
    let want = "guest-32: is one guest too many; a board has at most 32";
    assert_eq!(words(&config.problems), [want]);
}

#[test]
fn a_tree_that_is_no_configuration_says_so() {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("serial", 1).unwrap();
    fdt.end_node(root).unwrap();
    let blob = fdt.finish().unwrap();
    let words = words(&parse(&Fdt::new(&blob).unwrap()).problems);
    assert!(words[0].starts_with("/serial: is unknown"), "{words:?}");
    assert!(words[1].starts_with("/compatible: is not a configuration"), "{words:?}");
    assert!(words[2].starts_with("/: has no guest"), "{words:?}");
}

const PARTITIONS: [PartitionFacts<'static>; 4] = [
    PartitionFacts { label: "web", partuuid: "0a0a0a0a-0000-4000-8000-000000000001" },
    PartitionFacts { label: "db", partuuid: "0a0a0a0a-0000-4000-8000-000000000002" },
    PartitionFacts { label: "twin", partuuid: "0a0a0a0a-0000-4000-8000-000000000003" },
    PartitionFacts { label: "twin", partuuid: "0a0a0a0a-0000-4000-8000-000000000004" },
];

const BOARD: BoardFacts<'static> =
    BoardFacts { cpus: 4, memory: 600 << 20, partitions: Some(&PARTITIONS) };

#[test]
fn what_the_board_does_not_have_is_refused() {
    let disk = |partition| [("partition", Text(partition))];
    let mut config = config(&[
        Guest::new("a", &[0]).disk("disk", &disk("web")),
        Guest::new("b", &[4]),
        Guest::new("c", &[1]).with("memory", Text("1G")),
        Guest::new("d", &[2]).disk("disk", &disk("mail")),
        Guest::new("e", &[3]).disk("disk", &disk("PARTUUID=0A0A0A0A-0000-4000-8000-000000000001")),
        Guest::new("f", &[6]).disk("disk", &disk("twin")),
    ]);
    assert_eq!(config.problems, []);
    config.reject(check_board(&config, &BOARD));
    let words = words(&config.problems);
    let want = [
        "b/cpus: core 4 is not there; this board has cores 0 to 3",
        "c/memory: 1024M is more than the 344M that this board has left; give it less",
        "d/disk/partition: there is no partition \"mail\"; the disk has \"web\", \"db\", \"twin\", \"twin\"",
        "e/disk/partition: partition \"PARTUUID=0A0A0A0A-0000-4000-8000-000000000001\" is given to `a` too; \
         choose another, or make both `read-only`",
        "f/cpus: core 6 is not there; this board has cores 0 to 3",
        "f/disk/partition: several partitions are called \"twin\"; name one by PARTUUID=…",
    ];
    assert_eq!(words, want);
    assert_eq!(config.vms.len(), 1, "a alone has what it needs");
}

#[test]
fn a_disk_on_a_board_without_disks_is_refused() {
    let config = config(&[Guest::new("a", &[0]).disk("disk", &[("partition", Text("web"))])]);
    let board = BoardFacts { partitions: None, ..BOARD };
    let words = words(&check_board(&config, &board));
    assert!(words[0].starts_with("a/disk/partition: this board has no disk"), "{words:?}");
}

#[test]
fn partitions_of_an_mbr_are_named_by_what_they_have() {
    let mbr = ["0eabc21f-01", "0eabc21f-02"].map(|partuuid| PartitionFacts { label: "", partuuid });
    let board = BoardFacts { partitions: Some(&mbr), ..BOARD };
    let disk = |name| Guest::new("a", &[0]).disk("disk", &[("partition", Text(name))]);
    assert!(check_board(&config(&[disk("PARTUUID=0EABC21F-02")]), &board).is_empty());
    let words = words(&check_board(&config(&[disk("PARTUUID=0eabc21f-03")]), &board));
    let has = "the disk has \"PARTUUID=0eabc21f-01\", \"PARTUUID=0eabc21f-02\"";
    assert!(words[0].ends_with(has), "{words:?}");
}

#[test]
fn a_guest_whose_files_do_not_fit_or_are_none_is_refused() {
    let mut kernel = [0; 256];
    kernel[16..24].copy_from_slice(&(32u64 << 20).to_le_bytes());
    kernel[56..60].copy_from_slice(b"ARM\x64");
    let files = |name: &str| match name {
        "vmlinuz" => Ok(&kernel[..]),
        "elf" => Ok(&b"\x7fELF..."[..]),
        name => Err(alloc::format!("{name} is not in the bundle")),
    };
    let config = config(&[
        Guest::new("a", &[0]),
        Guest::new("b", &[1]).with("kernel", Text("elf")).with("ramdisk", Text("initrd")),
        Guest::new("c", &[2]).with("memory", Text("32M")),
    ]);
    let words = words(&check_files(&config, files));
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].starts_with("b/kernel: elf: an ELF file"));
    assert_eq!(words[1], "b/ramdisk: initrd is not in the bundle");
    assert!(words[2].starts_with("c/memory: kernel, ramdisk and device tree need 33 MiB"));
}

#[test]
fn problems_are_kept_up_to_a_screenful() {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    for n in 0..1000 {
        fdt.property_null(&alloc::format!("unknown-property-{n}")).unwrap();
    }
    fdt.end_node(root).unwrap();
    let blob = fdt.finish().unwrap();
    assert_eq!(parse(&Fdt::new(&blob).unwrap()).problems.len(), 64);
}
