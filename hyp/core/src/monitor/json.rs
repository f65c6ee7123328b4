//! Records for programs: one JSON object a line (RFC 8259).
//!
//! Numbers are in base units, and a field's name says which: `memory_bytes`, `up_ns`, `cpu_permille`. Addresses and
//! registers are text, `"0x4000"`, as not every reader of JSON has 64-bit integers. All is ASCII: other characters are
//! escaped, so that no text of a guest or a disk can drive a terminal or pass for a frame.

use alloc::string::String;
use core::fmt::Write;

use super::record::{Record, Value};

/// An object being written.
pub(super) struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut String) -> Self {
        put(out, '{');
        Self { out, first: true }
    }

    fn name(&mut self, name: &str, unit: &str) {
        if !core::mem::replace(&mut self.first, false) {
            put(self.out, ',');
        }
        let _ = write!(self.out, "\"{name}{unit}\":");
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name, "");
        quote(text, self.out);
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name, "");
        self.out.push_str(if flag { "true" } else { "false" });
    }

    /// A number, or null.
    pub(super) fn number(&mut self, name: &str, unit: &str, number: Option<u64>) {
        self.name(name, unit);
        let _ = match number {
            Some(number) => write!(self.out, "{number}"),
            None => self.out.write_str("null"),
        };
    }

    pub(super) fn record(&mut self, record: &Record) {
        self.text("record", record.kind);
        for (name, value) in &record.fields {
            self.value(name, value);
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::None => self.number(name, "", None),
            Value::Text(text) => self.text(name, text),
            Value::Number(number) => self.number(name, "", Some(*number)),
            Value::Hex(number) => {
                self.name(name, "");
                let _ = write!(self.out, "\"{number:#x}\"");
            }
            Value::Bytes(bytes) => self.number(name, "_bytes", Some(*bytes)),
            Value::Permille(share) => self.number(name, "_permille", *share),
            Value::Nanos(time) => self.number(name, "_ns", *time),
            Value::Flag(flag) => self.flag(name, *flag),
            Value::List(list) => {
                self.name(name, "");
                put(self.out, '[');
                for (index, text) in list.iter().enumerate() {
                    if index > 0 {
                        put(self.out, ',');
                    }
                    quote(text, self.out);
                }
                put(self.out, ']');
            }
        }
    }

    /// An object of this one text.
    pub(super) fn note(mut self, name: &str, text: &str) {
        self.text(name, text);
        self.end();
    }

    pub(super) fn end(self) {
        put(self.out, '}');
    }
}

/// One copy of it, for all the marks here.
#[inline(never)]
fn put(out: &mut String, mark: char) {
    out.push(mark);
}

fn quote(text: &str, out: &mut String) {
    put(out, '"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                put(out, '\\');
                put(out, c);
            }
            ' '..='~' => put(out, c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    put(out, '"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_record_is_one_object_in_the_order_of_its_fields() {
        let record = Record::row("vm")
            .with("name", "web")
            .with("vcpus", 2)
            .with("memory", Value::Bytes(256 << 20))
            .with("cpu", Value::Permille(Some(123)))
            .with("up", Value::Nanos(Some(1_500_000_000)))
            .with("entry", Value::Hex(u64::MAX))
            .with("reason", Value::None)
            .with("read_only", Value::Flag(true))
            .with("cores", Value::List(Vec::from(["0".into(), "1".into()])));
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.number("id", "", Some(7));
        object.record(&record);
        object.end();
        let want = concat!(
            r#"{"id":7,"record":"vm","name":"web","vcpus":2,"memory_bytes":268435456,"#,
            r#""cpu_permille":123,"up_ns":1500000000,"entry":"0xffffffffffffffff","#,
            r#""reason":null,"read_only":true,"cores":["0","1"]}"#
        );
        assert_eq!(out, want);
    }

    #[test]
    fn no_text_leaves_its_quotes_or_drives_the_terminal() {
        let mut out = String::new();
        quote("a\"b\\c\n\x1b[2J\x1e\x7f\u{9b}é\u{1f980}", &mut out);
        let want = r#""a\"b\\c\u000a\u001b[2J\u001e\u007f\u009b\u00e9\ud83e\udd80""#;
        assert_eq!(out, want);
    }
}
