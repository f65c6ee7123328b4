//! What an answer is made of: a kind, and fields in their order.
//!
//! Problem: a person wants an aligned table, a program an object that it need not guess at, and both must tell the same.
//! Idea: a verb says what it knows once, in units; `text` and `json` are two ways to write it down.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// What a field holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// It is not known, or there is none.
    None,
    /// Words.
    Text(Cow<'static, str>),
    /// A count.
    Number(u64),
    /// An address or a register.
    Hex(u64),
    /// An amount of memory, in bytes.
    Bytes(u64),
    /// A share, in thousandths, where it is known.
    Permille(Option<u64>),
    /// A duration, in nanoseconds, where there is one.
    Nanos(Option<u64>),
    /// Yes or no.
    Flag(bool),
    /// Several words.
    List(Vec<String>),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// How people see a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// As a row of the table that it makes with others of its kind.
    Row,
    /// As a line for each field.
    Sheet,
    /// As the words of its fields, in one line.
    Line,
}

/// One thing that an answer tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it is about: programs tell records apart by it.
    pub kind: &'static str,
    /// How people see it.
    pub layout: Layout,
    /// Names and values.
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// A record for a table.
    pub const fn row(kind: &'static str) -> Self {
        Self { kind, layout: Layout::Row, fields: Vec::new() }
    }

    /// A record with a line for each field.
    pub const fn sheet(kind: &'static str) -> Self {
        Self { kind, layout: Layout::Sheet, fields: Vec::new() }
    }

    /// A record that is a line.
    pub const fn line(kind: &'static str) -> Self {
        Self { kind, layout: Layout::Line, fields: Vec::new() }
    }

    /// The record with one more field.
    #[must_use]
    #[inline(never)]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}
