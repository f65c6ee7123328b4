//! The rows: their names, which scripts rely on, where their numbers come from, and how they are shown.

use std::collections::BTreeMap;

/// Numbers by name, as a guest or Tessera printed them.
pub type Measured = BTreeMap<String, u64>;

/// Where a row's numbers come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The guest's `BENCH name value`, on both sides.
    Guest,
    /// What Tessera adds to the guest's number of this name.
    Added(&'static str),
    /// Tessera's line about its boot, by the name that it has there; bare, what the guest says of its first instruction.
    Boot(&'static str),
    /// The size of the image.
    Image,
}

struct Row {
    name: &'static str,
    from: From,
    unit: &'static str,
    /// What it should be at most.
    target: Option<u64>,
}

const fn row(name: &'static str, target: u64) -> Row {
    Row { name, from: From::Guest, unit: "instructions", target: Some(target) }
}

const fn plain(name: &'static str) -> Row {
    Row { name, from: From::Guest, unit: "instructions", target: None }
}

const fn boot(
    name: &'static str,
    key: &'static str,
    unit: &'static str,
    target: Option<u64>,
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
        target: Some(2_500),
    },
    plain("walk"),
    plain("compute"),
    boot("reset_to_guest", "reset_to_guest", "instructions", Some(350_000)),
    boot("zero_guest_ram", "zero", "instructions", None),
    boot("hash_bundle", "hash", "instructions", None),
    plain(super::debian::ROW),
    Row { name: "image_bytes", from: From::Image, unit: "bytes", target: Some(256 << 10) },
    boot("el2_bytes", "el2_bytes", "bytes", Some(2 << 20)),
];

/// Takes the numbers out of what was printed: `BENCH name value`, and `name=value` of the line about the boot.
pub fn parse(printed: &[String]) -> Measured {
    let mut measured = Measured::new();
    for line in printed {
        if let Some((_, rest)) = line.split_once("BENCH ") {
            let mut words = rest.split_whitespace();
            if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
                measured.insert(name.to_string(), value);
            }
        } else if let Some((_, rest)) = line.split_once("| boot: ") {
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
    fn values(&self, native: &Measured, tessera: &Measured, image: u64) -> [Option<u64>; 2] {
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

    fn json(&self, machine: &str, [native, tessera]: [Option<u64>; 2]) -> String {
        let number = |value: Option<u64>| value.map_or("null".to_string(), |n| n.to_string());
        format!(
            r#"{{"machine":"{machine}","name":"{}","native":{},"tessera":{},"unit":"{}"}}"#,
            self.name,
            number(native),
            number(tessera),
            self.unit,
        )
    }

    fn table(&self, [native, tessera]: [Option<u64>; 2]) -> String {
        let number = |value: Option<u64>| value.map_or("-".to_string(), |n| n.to_string());
        let missed = self.target.zip(tessera).is_some_and(|(target, got)| got > target);
        let target = self.target.map_or(String::new(), |target| format!("<= {target}"));
        format!(
            "{:<16} {:>12} {:>12} {:>12}{} {}",
            self.name,
            number(native),
            number(tessera),
            target,
            if missed { " !" } else { "  " },
            self.unit,
        )
    }
}

/// What is printed: a JSON object a row, or a table.
pub fn lines(
    machine: &str,
    native: &Measured,
    tessera: &Measured,
    image: u64,
    json: bool,
) -> Vec<String> {
    let rows = ROWS.iter().filter_map(|row| {
        let values = row.values(native, tessera, image);
        // Counted only when asked for.
        let absent = row.name == super::debian::ROW && values == [None, None];
        (!absent).then(|| if json { row.json(machine, values) } else { row.table(values) })
    });
    if json {
        return rows.collect();
    }
    let head = format!("{:<16} {:>12} {:>12} {:>12}", machine, "native", "tessera", "target");
    std::iter::once(head).chain(rows).collect()
}
