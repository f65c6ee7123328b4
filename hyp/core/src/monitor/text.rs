//! Records for people: aligned tables, sizes as MiB, times as 1h02m.
//!
//! Rows of one kind that follow each other make one table, as wide as what is in it. So some rows are held until the
//! next kind or the end comes, [`BLOCK`] at most: a longer table goes on with widths of its own.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use super::record::{Layout, Record, Value};
use crate::console::Plain;

/// Most rows that are held.
const BLOCK: usize = 32;
/// Longest list that is shown in one line.
const INLINE_MAX: usize = 60;
/// What stands between two columns.
const GAP: usize = 2;

/// A cell: its text, and whether it goes to the right side of its column.
type Cell = (String, bool);

/// Lines being made of records.
#[derive(Debug)]
pub(super) struct Text {
    kind: &'static str,
    /// Rows of cells, a header among them.
    rows: Vec<Vec<Cell>>,
    /// Of each column, how wide it is and whether it goes to the right.
    widths: Vec<(usize, bool)>,
    /// Rows that were put out.
    shown: usize,
    /// No more rows are taken until those here are out.
    full: bool,
    /// Something was put out before.
    started: bool,
}

impl Text {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            kind: "",
            rows: Vec::new(),
            widths: Vec::new(),
            shown: 0,
            full: false,
            started: false,
        }
    }

    /// Whether nothing waits to be shown.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Takes a record, or gives it back where the lines that wait have to be taken first.
    pub(super) fn push(&mut self, record: Record) -> Result<(), Record> {
        let follows = self.kind == record.kind && record.layout != Layout::Sheet;
        if self.full || !self.rows.is_empty() && !follows {
            self.full = true;
            return Err(record);
        }
        if !follows {
            self.widths.clear();
        }
        match record.layout {
            _ if follows => {}
            // A table, or what is none, stands apart from what was before.
            Layout::Row => {
                self.gap();
                let header = |(name, value): &(&str, Value)| (title(name), is_number(value));
                self.rows.push(record.fields.iter().map(header).collect());
            }
            Layout::Sheet | Layout::Line => self.gap(),
        }
        self.kind = record.kind;
        match record.layout {
            Layout::Row => self.rows.push(record.fields.iter().map(cell).collect()),
            Layout::Line => self.rows.push(Vec::from([(line(&record), false)])),
            Layout::Sheet => self.sheet(&record),
        }
        self.full = self.rows.len() >= BLOCK;
        self.measure();
        Ok(())
    }

    /// Says that nothing more comes: what is held can be taken.
    pub(super) fn finish(&mut self) {
        self.full = true;
    }

    /// Appends the next line, where one is ready.
    pub(super) fn line(&mut self, out: &mut String) -> bool {
        if !self.full {
            return false;
        }
        let Some(row) = self.rows.get(self.shown) else {
            // What follows of the same table is no narrower.
            let widths = core::mem::take(&mut self.widths);
            *self = Self { kind: self.kind, started: self.started, widths, ..Self::new() };
            return false;
        };
        self.shown += 1;
        self.started = true;
        let start = out.len();
        for ((text, _), (width, right)) in row.iter().zip(&self.widths) {
            let pad = width.saturating_sub(text.chars().count());
            let (before, after) = if *right { (pad, 0) } else { (0, pad) };
            let _ = write!(out, "{:before$}{text}{:after$}", "", "", after = after + GAP);
        }
        out.truncate(start + out.get(start..).unwrap_or("").trim_ascii_end().len());
        out.push_str("\r\n");
        true
    }

    fn gap(&mut self) {
        if self.started {
            self.rows.push(Vec::new());
        }
    }

    /// A line for each field, for two where they are registers; the entries of a long list are below each other.
    fn sheet(&mut self, record: &Record) {
        let mut registers = false;
        for field in &record.fields {
            let name = (field.0.replace('_', " "), false);
            let value = (cell(field).0, false);
            let pairs = matches!(field.1, Value::Hex(_));
            match (&field.1, self.rows.last_mut()) {
                (Value::List(list), _) if value.0.len() > INLINE_MAX => {
                    let mut name = Some(name);
                    for text in list {
                        let name = name.take().unwrap_or_default();
                        self.rows.push(Vec::from([name, (plain(text), false)]));
                    }
                }
                (_, Some(row)) if pairs && registers => row.extend([name, value]),
                _ => self.rows.push(Vec::from([name, value])),
            }
            registers = pairs && !registers;
        }
    }

    fn measure(&mut self) {
        for row in &self.rows {
            for (index, (text, right)) in row.iter().enumerate() {
                let width = text.chars().count();
                match self.widths.get_mut(index) {
                    Some(column) => *column = (width.max(column.0), *right || column.1),
                    None => self.widths.push((width, *right)),
                }
            }
        }
    }
}

/// What stands above the column of a field.
pub fn title(name: &str) -> String {
    name.bytes()
        .map(|byte| if byte == b'_' { ' ' } else { byte.to_ascii_uppercase().into() })
        .collect()
}

/// The words of a line.
fn line(record: &Record) -> String {
    let mut out = String::new();
    for (index, field) in record.fields.iter().enumerate() {
        let _ = write!(out, "{}{}", if index > 0 { ": " } else { "" }, cell(field).0);
    }
    out
}

fn is_number(value: &Value) -> bool {
    !matches!(value, Value::None | Value::Text(_) | Value::Flag(_) | Value::List(_))
}

fn cell((_, value): &(&'static str, Value)) -> Cell {
    let mut text = String::new();
    let _ = match value {
        Value::None | Value::Permille(None) | Value::Nanos(None) => text.write_str("-"),
        Value::Text(words) => text.write_str(&plain(words)),
        Value::Number(number) => write!(text, "{number}"),
        Value::Hex(number) => write!(text, "{number:#x}"),
        Value::Bytes(bytes) => write!(text, "{}", Size(*bytes)),
        Value::Permille(Some(share)) => write!(text, "{}.{}%", share / 10, share % 10),
        Value::Nanos(Some(time)) => write!(text, "{}", Time(*time)),
        Value::Flag(flag) => text.write_str(if *flag { "yes" } else { "no" }),
        Value::List(list) => list.iter().enumerate().try_for_each(|(index, word)| {
            write!(text, "{}{}", if index > 0 { " " } else { "" }, plain(word))
        }),
    };
    (text, is_number(value))
}

/// Words without what could drive a terminal.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    Plain::default().filter(text.as_bytes(), &mut |byte| bytes.push(byte));
    String::from_utf8(bytes).unwrap_or_default()
}

/// An amount of memory as people read it.
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0x10_0000.. => (1 << 20, "MiB"),
            0x400.. => (1 << 10, "KiB"),
            _ => (1, "B"),
        };
        let (whole, part) = (self.0 / unit, self.0 % unit);
        match part {
            0 => write!(f, "{whole} {name}"),
            _ => write!(f, "{whole}.{} {name}", part * 10 / unit),
        }
    }
}

/// A duration in nanoseconds as people read it, with two units.
pub struct Time(pub u64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match seconds {
            86400.. => write!(f, "{}d{:02}h", hours / 24, hours % 24),
            3600.. => write!(f, "{hours}h{:02}m", minutes % 60),
            60.. => write!(f, "{minutes}m{:02}s", seconds % 60),
            1.. => write!(f, "{seconds}.{}s", self.0 / 100_000_000 % 10),
            0 => match self.0 {
                1_000_000.. => write!(f, "{}ms", self.0 / 1_000_000),
                1_000.. => write!(f, "{}us", self.0 / 1_000),
                rest => write!(f, "{rest}ns"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    fn shown(records: &[Record]) -> String {
        let (mut text, mut out) = (Text::new(), String::new());
        for record in records {
            let mut held = record.clone();
            while let Err(back) = text.push(held) {
                while text.line(&mut out) {}
                held = back;
            }
        }
        text.finish();
        while text.line(&mut out) {}
        out.replace("\r\n", "\n")
    }

    #[test]
    fn rows_of_a_kind_are_a_table_with_numbers_on_the_right() {
        let row = |name: &'static str, share, memory| {
            let row =
                Record::row("vm").with("name", name).with("cpu", Value::Permille(Some(share)));
            row.with("memory", Value::Bytes(memory)).with("last_stop", Value::None)
        };
        let text = shown(&[row("web", 5, 256 << 20), row("database", 1000, 64 << 20)]);
        let want = "NAME         CPU   MEMORY  LAST STOP\n\
                    web         0.5%  256 MiB  -\n\
                    database  100.0%   64 MiB  -\n";
        assert_eq!(text, want);
    }

    #[test]
    fn tables_of_two_kinds_and_sheets_stand_apart() {
        let sheet = Record::sheet("vm")
            .with("name", "web")
            .with("entry_point", Value::Hex(0x4000_0000))
            .with("pc", Value::Hex(4))
            .with("disks", Value::List(Vec::from(["a".into(), "b".into()])));
        let rows = [sheet, Record::row("irq").with("n", 1), Record::row("disk").with("n", 2)];
        let want = "name         web\nentry point  0x40000000  pc  0x4\ndisks        a b\n\n\
                    N\n1\n\nN\n2\n";
        assert_eq!(shown(&rows), want);
    }

    #[test]
    fn lines_follow_each_other_and_a_long_table_is_shown_in_parts() {
        let lines = ["one", "two"].map(|text| Record::line("log").with("text", text));
        assert_eq!(shown(&lines), "one\ntwo\n");
        let many: Vec<_> = (0..100).map(|n| Record::row("trace").with("n", 1050 - n)).collect();
        let text = shown(&many);
        assert_eq!(text.lines().count(), 101, "one header: {text}");
        assert!(text.lines().all(|line| line.len() == 4), "columns stay where they are: {text}");
    }

    #[test]
    fn words_of_guests_and_disks_cannot_drive_the_terminal() {
        let text = shown(&[Record::line("log").with("text", "\x1b[2Ja\rb\u{202e}c".to_string())]);
        assert_eq!(text, "a^Mbc\n");
    }

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 512, 4096, 1536, 1 << 20, (1 << 20) + (1 << 19), 8 << 30];
        let sizes = sizes.map(|size| format!("{}", Size(size)));
        assert_eq!(sizes, ["0 B", "512 B", "4 KiB", "1.5 KiB", "1 MiB", "1.5 MiB", "8192 MiB"]);
        let second = 1_000_000_000;
        let times =
            [5, 5_000, 250_000_000, second * 123 / 10, second * 61, second * 3720, 90_061 * second];
        let times = times.map(|time| format!("{}", Time(time)));
        assert_eq!(times, ["5ns", "5us", "250ms", "12.3s", "1m01s", "1h02m", "1d01h"]);
    }
}
