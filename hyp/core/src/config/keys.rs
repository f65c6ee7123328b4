//! The keys of the board's terminal that no guest gets.

use alloc::format;

use super::problem::short;
use super::reader::Reader;
use crate::console::{ConsoleKeys, KeyName};

/// Longer than any key's name.
const MAX_KEY: usize = 16;

pub(super) const SWITCH: &str = "switch-key";
pub(super) const MONITOR: &str = "monitor-key";

pub(super) fn parse(reader: &mut Reader<'_, '_>) -> ConsoleKeys {
    let default = ConsoleKeys::default();
    let keys = ConsoleKeys {
        switch: parse_key(reader, SWITCH).unwrap_or(default.switch),
        monitor: parse_key(reader, MONITOR).unwrap_or(default.monitor),
    };
    if keys.switch == keys.monitor {
        let what = "is the same as `switch-key`; choose another";
        reader.problem(Some(MONITOR), what.into());
        return default;
    }
    keys
}

fn parse_key(reader: &mut Reader<'_, '_>, property: &'static str) -> Option<u8> {
    let text = reader.text(property, MAX_KEY)?;
    let key = KeyName::parse(text);
    if key.is_none() {
        let what = format!(
            "\"{}\" cannot be a key; write ^ and one of A to Z, \\, ] or _, but not ^M and ^J",
            short(text)
        );
        reader.problem(Some(property), what);
    }
    key
}
