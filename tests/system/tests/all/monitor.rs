//! What the monitor tells of guests that share cores, held against what they are configured to get and against their own counters.

use std::collections::BTreeMap;

use tessera_system_tests::screen::MONITOR;
use tessera_system_tests::{EMULATED, Guest, Machine, Scene, Target, VIRT, Value, tests};

use crate::number;
use crate::shares::start;

tests! {
    EMULATED:
        what_guests_that_share_cores_are_to_get_and_what_they_get_is_told_as_it_is;
    VIRT:
        a_group_is_told_with_its_members_as_they_are;
}

/// The key that opens the monitor, and leaves it.
const KEY: &str = "\x1c";
/// How far what is told of a second may be from what is expected, in thousandths of a core: its ends are in the middle of turns.
const OF_A_SECOND: u64 = 10;
/// The same of the fifth of a second that `vm list` looks at.
const OF_A_GLANCE: u64 = 30;

/// A guest with one vCPU, and what is to be told of it, in thousandths of a core where there is no other unit.
struct Expected {
    name: &'static str,
    core: u32,
    /// How much of its core it has.
    cpu: u64,
    /// How much of it others have, or its cap keeps from it, while it wants it.
    steal: u64,
    /// None if it owns its core.
    shares: Option<u64>,
    cap: Option<u64>,
    reserve: Option<u64>,
}

/// Two with unequal shares; one with a cap beside one with a reserve; one that its cap keeps from what nobody else wants, beside
/// one that sleeps; and one that owns its core.
const GUESTS: [Expected; 7] = [
    Expected { cpu: 250, steal: 750, ..shared("one", 0) },
    Expected { cpu: 750, steal: 250, shares: Some(300), ..shared("three", 0) },
    Expected { cpu: 300, steal: 700, cap: Some(300), ..shared("capped", 1) },
    Expected { cpu: 700, steal: 300, reserve: Some(200), ..shared("promised", 1) },
    Expected { cpu: 400, steal: 600, cap: Some(400), ..shared("alone", 2) },
    shared("asleep", 2),
    Expected { cpu: 1000, shares: None, ..shared("own", 3) },
];

const fn shared(name: &'static str, core: u32) -> Expected {
    Expected { name, core, cpu: 0, steal: 0, shares: Some(100), cap: None, reserve: None }
}

impl Expected {
    fn guest(&self) -> Guest {
        let load = if self.cpu == 0 { "clock" } else { "hog load.seconds=3600" };
        let guest = Guest::load(self.name, &[self.core], load);
        let Some(shares) = self.shares else { return guest };
        let percent = |word: &str, permille: Option<u64>| match permille {
            Some(permille) => format!("cpu-{word} = <{}>;", permille / 10),
            None => String::new(),
        };
        let guest = guest.shared(1).with(&format!("cpu-shares = <{shares}>;"));
        guest.with(&percent("cap", self.cap)).with(&percent("reserve", self.reserve))
    }

    /// Holds a row against what the guest is to get.
    #[track_caller]
    fn is_to_get(&self, row: &Row) {
        let columns = [("shares", self.shares), ("cap", self.cap), ("reserve", self.reserve)];
        for (column, want) in columns {
            assert_eq!(row.get(column), Some(&want), "{column} of {}: {row:?}", self.name);
        }
    }

    /// Holds a row against what the guest gets.
    #[track_caller]
    fn gets(&self, row: &Row, within: u64) {
        for (column, want) in [("cpu", self.cpu), ("steal", self.steal)] {
            let told = row.get(column).copied().flatten();
            let is_so = told.is_some_and(|told| told.abs_diff(want) <= within);
            assert!(is_so, "{column} of {} should be {want}: {row:?}", self.name);
        }
    }
}

/// Numbers by the names of their columns: thousandths of a core, or shares. There are none where a program is told `null`,
/// and a person `-`.
type Row = BTreeMap<String, Option<u64>>;

/// The numbers of those records that are of this kind, for each guest.
#[track_caller]
fn records(answer: &[Value], kind: &str) -> Vec<Row> {
    let of_kind = answer.iter().filter(|record| record["record"] == kind);
    let rows: Vec<Row> = of_kind
        .zip(&GUESTS)
        .map(|(record, guest)| {
            assert_eq!(record["name"], guest.name, "{record}");
            let fields = record.as_object().into_iter().flatten();
            let number = |(name, value): (&String, &Value)| {
                let column = name.strip_suffix("_permille").unwrap_or(name).to_string();
                (value.is_null() || value.is_u64()).then(|| (column, value.as_u64()))
            };
            fields.filter_map(number).collect()
        })
        .collect();
    assert_eq!(rows.len(), GUESTS.len(), "records `{kind}` of {answer:?}");
    rows
}

/// The numbers of the next table at the monitor's prompt that has this column, for each guest.
#[track_caller]
fn table(target: &mut Target, column: &str) -> Vec<Row> {
    let header = loop {
        let header = target.line(MONITOR, "NAME ");
        if header.contains(column) {
            break header;
        }
    };
    GUESTS
        .iter()
        .map(|guest| {
            let line = target.line(MONITOR, guest.name);
            let cells = header_and_cells(&header, &line);
            cells.into_iter().map(|(title, cell)| (title, shown(&cell))).collect()
        })
        .collect()
}

/// Each cell of a row with its column's title. Columns stand apart by two blanks at least, and no cell is empty.
fn header_and_cells(header: &str, line: &str) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> {
        line.split("  ")
            .map(|cell| cell.trim().to_lowercase())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    cells(header).into_iter().zip(cells(line)).collect()
}

/// The number that a person is shown.
fn shown(cell: &str) -> Option<u64> {
    match cell.strip_suffix('%') {
        Some(percent) => percent.parse().ok().map(|percent: f64| (percent * 10.0).round() as u64),
        None => cell.parse().ok(),
    }
}

fn what_guests_that_share_cores_are_to_get_and_what_they_get_is_told_as_it_is(machine: Machine) {
    let scene = Scene::new(machine, "told");
    let guests: Vec<Guest> = GUESTS.iter().map(Expected::guest).collect();
    let mut target = start(&scene, machine, &guests);
    target.line("asleep", "LOAD clock ready");
    // From their second second on all have come up, and each says what it had of one.
    for guest in GUESTS.iter().filter(|guest| guest.cpu > 0) {
        let line = target.line(guest.name, "HOG 2 ");
        let given = number(&line, "given_ppm") / 1000;
        assert!(given.abs_diff(guest.cpu) <= OF_A_SECOND, "{}: {line}", guest.name);
    }

    let list = target.ask("vm list");
    let top = target.ask("top");
    for (n, guest) in GUESTS.iter().enumerate() {
        guest.is_to_get(&records(&list, "cores")[n]);
        guest.gets(&records(&list, "vm")[n], OF_A_GLANCE);
        guest.gets(&records(&top, "load")[n], OF_A_SECOND);
        let vcpu = &records(&top, "vcpu")[n];
        guest.gets(vcpu, OF_A_SECOND);
        guest.is_to_get(vcpu);
        assert_eq!(vcpu.get("home"), Some(&Some(guest.core.into())), "{vcpu:?}");
    }

    target.send(&format!("{KEY}vm list\r"));
    let (load, cores) = (table(&mut target, "STEAL"), table(&mut target, "SHARES"));
    target.send("top\r");
    let (top, vcpus) = (table(&mut target, "STEAL"), table(&mut target, "VCPU "));
    for (n, guest) in GUESTS.iter().enumerate() {
        guest.gets(&load[n], OF_A_GLANCE);
        guest.is_to_get(&cores[n]);
        guest.gets(&top[n], OF_A_SECOND);
        guest.gets(&vcpus[n], OF_A_SECOND);
        guest.is_to_get(&vcpus[n]);
    }
    // Any key ends the rounds, and the guest has the terminal again.
    target.send(&format!("q{KEY}"));
    target.focus("asleep");
    target.send("anybody\r");
    target.line("asleep", "answer anybody at_ms=");
}

fn a_group_is_told_with_its_members_as_they_are(machine: Machine) {
    let watcher =
        |name, core| Guest::probe(name, &[core]).memory("8M").bootargs("probe.mode=watch");
    let group = watcher("b", 1).group("ring", &["a", "b"], "size = \"64K\";");
    let scene = Scene::new(machine, "group-told");
    let mut target = scene.start(&[watcher("a", 0), group], &[]);
    for guest in ["a", "b"] {
        target.line(guest, "GROUP-KEPT");
    }
    target.ask("vm kill a");
    target.wait_state("a", "stopped");
    target.line("b", "GROUP-MEMBER 0 state=0 lives=1");
    let list = target.ask("group list");
    let groups: Vec<_> =
        list.iter().map(|group| (&group["members"], &group["members_up"])).collect();
    assert_eq!(groups, [(&Value::from(2), &Value::from(1))], "{list:?}");
    assert_eq!(list[0]["size_bytes"], 64 << 10);
    let name = list[0]["name"].as_str().expect("it has a name").to_string();
    let told: Vec<_> = target.ask(&format!("group show {name}")).iter().map(words).collect();
    assert_eq!(told, ["0 a read-write down 1", "1 b read-write up 1"]);

    target.send(&format!("{KEY}group sh\t{name}\r"));
    let rows = ["a", "b"].map(|guest| target.line(MONITOR, &format!("  {guest}      read-")));
    assert!(rows[0].contains("down") && rows[1].contains("up"), "{rows:?}");
    let refused = target.try_ask("group show rong").expect_err("there is none");
    assert!(refused.contains(&name), "{refused}");
}

/// What is told of a member and does not depend on when it looks at its doorbell.
fn words(member: &Value) -> String {
    let word = |field: &str| member[field].to_string().trim_matches('"').to_string();
    ["index", "guest", "access", "state", "lives"].map(word).join(" ")
}
