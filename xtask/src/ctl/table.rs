//! Answers of the monitor as its own prompt shows them: amounts and times in units that people read.

use std::fmt::{self, Display, Formatter};

use tessera_control::Value;
use tessera_core::monitor::{Size, Time, title};

/// Records of one kind, as aligned text.
#[derive(Default)]
pub struct Table {
    kind: String,
    names: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Tables before this one.
    printed: bool,
}

/// What a field says, and whether it goes to the right side of its column.
type Cell = (String, bool);

impl Table {
    /// A single record with more fields than that is shown a line a field.
    const WIDE: usize = 10;

    /// Takes a record. One of another kind has what was there before printed.
    pub fn add(&mut self, record: &Value) {
        let Some(fields) = record.as_object() else { return };
        let kind = fields.get("record").and_then(Value::as_str).unwrap_or_default().to_string();
        let fields =
            || fields.iter().filter(|(name, _)| !["id", "record"].contains(&name.as_str()));
        let names: Vec<String> = fields().map(|(name, _)| name.clone()).collect();
        if (&self.kind, &self.names) != (&kind, &names) {
            print!("{self}");
            *self = Self { kind, names, rows: Vec::new(), printed: !self.is_empty() };
        }
        self.rows.push(fields().map(|(name, value)| shown(name, value)).collect());
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        if self.printed {
            writeln!(f)?;
        }
        let names = self.names.iter().map(|name| field(name).0);
        let mut rows = self.rows.clone();
        if let [row] = self.rows.as_slice()
            && row.len() > Self::WIDE
        {
            let lines = names.zip(row);
            let line = |(name, (text, _)): (&str, &Cell)| {
                Vec::from([(name.replace('_', " "), false), (text.clone(), false)])
            };
            rows = lines.map(line).collect();
        } else {
            rows.insert(0, names.map(|name| (title(name), false)).collect());
        }
        let column = |n: usize| {
            let cells = rows.iter().filter_map(move |row| row.get(n));
            cells.fold((0, false), |(width, right), cell| {
                (width.max(cell.0.chars().count()), right || cell.1)
            })
        };
        let columns: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(column).collect();
        for row in &rows {
            let cells = row.iter().zip(&columns).map(|((text, _), &(width, right))| match right {
                true => format!("{text:>width$}"),
                false => format!("{text:width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A unit of the protocol's numbers.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Nanoseconds,
    Permille,
}

/// A field's name and what its number counts, from its name in the protocol.
fn field(name: &str) -> (&str, Option<Unit>) {
    let units =
        [("_bytes", Unit::Bytes), ("_ns", Unit::Nanoseconds), ("_permille", Unit::Permille)];
    let unit = units.into_iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, unit)));
    unit.map_or((name, None), |(name, unit)| (name, Some(unit)))
}

/// A value as the monitor shows it to people.
fn shown(name: &str, value: &Value) -> Cell {
    let text = match value {
        Value::Null => "-".into(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            list.iter().map(|value| shown("", value).0).collect::<Vec<_>>().join(" ")
        }
        other => match (field(name).1, other.as_u64()) {
            (Some(Unit::Bytes), Some(size)) => Size(size).to_string(),
            (Some(Unit::Nanoseconds), Some(time)) => Time(time).to_string(),
            (Some(Unit::Permille), Some(share)) => format!("{}.{}%", share / 10, share % 10),
            _ => other.to_string(),
        },
    };
    (text, value.is_number())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(records: &[&str]) -> String {
        let mut table = Table::default();
        records.iter().for_each(|record| table.add(&record.parse().expect("a record is JSON")));
        table.to_string()
    }

    #[test]
    fn records_are_a_table_in_units_that_people_read() {
        let text = table(&[
            r#"{"id":1,"record":"vm","name":"web","cpu_permille":5,"memory_bytes":268435456,"up_ns":null,"on":true}"#,
            r#"{"id":1,"record":"vm","name":"db","cpu_permille":1000,"memory_bytes":65536,"up_ns":61000000000,"on":false}"#,
        ]);
        let want = "NAME     CPU   MEMORY     UP  ON\n\
                    web     0.5%  256 MiB      -  yes\n\
                    db    100.0%   64 KiB  1m01s  no\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_record_of_many_fields_has_a_line_for_each() {
        let fields: Vec<String> = (0..11).map(|n| format!("\"is_{n}\":[\"a\",\"b\"]")).collect();
        let text = table(&[&format!("{{\"id\":1,\"record\":\"config\",{}}}", fields.join(","))]);
        assert_eq!(text.lines().count(), 11, "{text}");
        assert!(text.starts_with("is 0   a b\n"), "{text}");
    }

    #[test]
    fn nothing_is_shown_of_no_records() {
        assert_eq!(table(&[]), "");
    }
}
