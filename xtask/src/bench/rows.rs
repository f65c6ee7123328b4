//! The rows: their names, which scripts rely on, where their numbers come from, and how they are shown.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::board::Board;
use super::restart;

use Target::{AtLeast, AtMost};

/// Numbers by name, as a guest or Tessera printed them.
pub type Measured = BTreeMap<String, u64>;

/// Where a row's numbers come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The guest's `BENCH name value`, on both sides.
    Guest,
    /// What Tessera adds to the guest's number of this name.
    Added(&'static str),
    /// Tessera's line about its boot or a restart, by the name that it has there; bare, what the guest says of its first instruction.
    Boot(&'static str),
    /// The size of the image.
    Image,
}

/// What was measured on one machine.
pub struct Column {
    /// The machine.
    pub board: Board,
    /// Without Tessera.
    pub native: Measured,
    /// Under it.
    pub tessera: Measured,
}

struct Row {
    name: &'static str,
    from: From,
    unit: &'static str,
    target: Option<Target>,
}

/// What a number should be.
#[derive(Clone, Copy)]
enum Target {
    AtMost(u64),
    AtLeast(u64),
}

impl Target {
    fn is_met(self, got: u64) -> bool {
        match self {
            AtMost(most) => got <= most,
            AtLeast(least) => got >= least,
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AtMost(most) => write!(f, "<= {most}"),
            AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

const fn row(name: &'static str, most: u64) -> Row {
    Row { name, from: From::Guest, unit: "instructions", target: Some(AtMost(most)) }
}

const fn plain(name: &'static str) -> Row {
    Row { name, from: From::Guest, unit: "instructions", target: None }
}

/// A number of which more is better.
const fn hundredths(name: &'static str, target: Option<Target>) -> Row {
    Row { name, from: From::Guest, unit: "hundredths", target }
}

const fn boot(
    name: &'static str,
    key: &'static str,
    unit: &'static str,
    target: Option<Target>,
) -> Row {
    Row { name, from: From::Boot(key), unit, target }
}

const ROWS: &[Row] = &[
    row("psci_version", 100),
    row("gicd_read", 180),
    row("gicd_write", 250),
    row("gicr_read", 200),
    row("uart_read", 200),
    plain("uart_byte"),
    row("sysreg_id", 150),
    row("sgi_self", 260),
    row("sgi_other", 420),
    row("sgi_other_wfi", 420),
    row("vtimer", 160),
    row("wfi_wake", 160),
    row("cpu_on", 900),
    plain("blk_4k"),
    Row {
        name: "blk_4k_el2",
        from: From::Added("blk_4k"),
        unit: "instructions",
        target: Some(AtMost(2_500)),
    },
    Row { name: "neighbour_other_core_percent", from: From::Guest, unit: "percent", target: None },
    row("doorbell_running", 420),
    row("doorbell_blocked", 1_500),
    plain("doorbell_page"),
    hundredths("ring_bytes_per_instruction", None),
    hundredths("speedup_1_core", Some(AtLeast(95))),
    hundredths("speedup_2_cores", None),
    hundredths("speedup_4_cores", Some(AtLeast(380))),
    row("wake_by_sgi", 1_500),
    row("wake_by_timer", 900),
    row("vcpu_switch", 600),
    row("vcpu_switch_fp", 800),
    Row {
        name: super::shared::GROWTH,
        from: From::Guest,
        unit: "percent",
        target: Some(AtMost(105)),
    },
    Row { name: "neighbour_same_core_percent", from: From::Guest, unit: "percent", target: None },
    plain("walk"),
    plain("compute"),
    boot("reset_to_guest", "reset_to_guest", "instructions", Some(AtMost(350_000))),
    boot("restart_256m", "stop_to_guest", "instructions", Some(AtMost(1_000_000))),
    boot("zero_guest_ram", "zero", "instructions", None),
    boot("hash_bundle", "hash", "instructions", None),
    plain(super::debian::ROW),
    Row { name: super::exchange::ROW, from: From::Guest, unit: "MiB/s", target: None },
    Row { name: "image_bytes", from: From::Image, unit: "bytes", target: Some(AtMost(256 << 10)) },
    boot("el2_bytes", "el2_bytes", "bytes", Some(AtMost(2 << 20))),
];

/// Where a GICv2's way is longer: it has no system registers, so EL2 acknowledges and writes list registers in memory. How
/// long a boot may take is said for the smallest machine only.
const GICV2_TARGETS: &[(&str, Option<Target>)] = &[
    ("sgi_self", Some(AtMost(400))),
    ("sgi_other", Some(AtMost(600))),
    ("sgi_other_wfi", Some(AtMost(600))),
    ("doorbell_running", Some(AtMost(600))),
    ("vtimer", Some(AtMost(180))),
    ("wfi_wake", Some(AtMost(180))),
    ("reset_to_guest", None),
];

/// Takes the numbers out of what was printed: `BENCH name value`, and `name=value` of the lines about the boot and a restart.
pub fn parse(printed: &[String]) -> Measured {
    let mut measured = Measured::new();
    for line in printed {
        if let Some((_, rest)) = line.split_once("BENCH ") {
            let mut words = rest.split_whitespace();
            if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
                measured.insert(name.to_string(), value);
            }
        } else if let Some((_, rest)) =
            line.split_once("| boot: ").or_else(|| line.split_once(restart::LINE))
        {
            let pairs = rest.split_whitespace().filter_map(|word| word.split_once('='));
            for (name, value) in pairs {
                if let Ok(value) = value.parse() {
                    measured.insert(format!("boot:{name}"), value);
                }
            }
        }
    }
    measured
}

impl Row {
    /// The row's numbers without Tessera and under it; nothing where there is none.
    fn values(&self, column: &Column, image: u64) -> [Option<u64>; 2] {
        let Column { native, tessera, .. } = column;
        let get = |from: &Measured, name: &str| from.get(name).copied();
        match self.from {
            From::Guest => [get(native, self.name), get(tessera, self.name)],
            From::Added(name) => {
                let both = get(native, name).zip(get(tessera, name));
                [None, both.map(|(without, with)| with.saturating_sub(without))]
            }
            From::Boot(key) => [get(native, self.name), get(tessera, &format!("boot:{key}"))],
            From::Image => [None, Some(image)],
        }
    }

    /// What it should be on this machine.
    fn target(&self, board: Board) -> Option<Target> {
        let other = GICV2_TARGETS.iter().find(|(name, _)| board.has_gicv2() && *name == self.name);
        other.map_or(self.target, |(_, target)| *target)
    }

    fn json(&self, board: Board, [native, tessera]: [Option<u64>; 2]) -> String {
        let number = |value: Option<u64>| value.map_or("null".to_string(), |n| n.to_string());
        format!(
            r#"{{"machine":"{}","name":"{}","native":{},"tessera":{},"unit":"{}"}}"#,
            board.name(),
            self.name,
            number(native),
            number(tessera),
            self.unit,
        )
    }

    /// Its part of the table that is about one machine.
    fn cells(&self, column: &Column, image: u64) -> String {
        let [native, tessera] = self.values(column, image);
        let number = |value: Option<u64>| value.map_or("-".to_string(), |n| n.to_string());
        let target = self.target(column.board).filter(|_| tessera.is_some());
        let missed = target.zip(tessera).is_some_and(|(target, got)| !target.is_met(got));
        let target = target.map_or(String::new(), |target| target.to_string());
        let mark = if missed { " !" } else { "  " };
        cells(&number(native), &number(tessera), &target) + mark
    }
}

fn cells(native: &str, tessera: &str, target: &str) -> String {
    format!(" {native:>11} {tessera:>11} {target:>11}")
}

/// What is printed: a JSON object a row and machine, or a table with the machines beside each other. What a machine does not
/// have is left out.
pub fn lines(columns: &[Column], image: u64, json: bool) -> Vec<String> {
    let has = |row: &Row, column: &Column| row.values(column, image) != [None, None];
    if json {
        let of = |column: &Column| -> Vec<String> {
            let rows = ROWS.iter().filter(|row| has(row, column));
            rows.map(|row| row.json(column.board, row.values(column, image))).collect()
        };
        return columns.iter().flat_map(of).collect();
    }
    let line = |name: &str, cells: &dyn Fn(&Column) -> String| -> String {
        format!("{name:<16}{}", columns.iter().map(cells).collect::<String>())
    };
    let boards = line("", &|column| cells("", "", column.board.name()) + "  ");
    let head = line("", &|_| cells("native", "tessera", "target") + "  ");
    let rows = ROWS.iter().filter(|row| columns.iter().any(|column| has(row, column)));
    let rows = rows.map(|row| line(row.name, &|column| row.cells(column, image)) + " " + row.unit);
    [boards, head].map(|line| line.trim_end().to_string()).into_iter().chain(rows).collect()
}
