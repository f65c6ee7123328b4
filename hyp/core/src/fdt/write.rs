//! Writes flattened device trees: a guest's, and on a host the bundle.
//!
//! Nodes are closures, so that a tree cannot be left open or closed twice, and there is nothing that could fail.

use alloc::vec::Vec;

use super::{HEADER_BYTES, MAGIC, VERSION, token};

/// The oldest version that readers of what is written must know (DTSpec 5.2).
const LAST_COMPATIBLE: u32 = 16;
/// The empty memory reservation block: its end mark alone (DTSpec 5.3).
const RESERVATION_BYTES: usize = 16;

/// A tree being written.
pub struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Names of properties that are in `strings` already, and where.
    names: Vec<(&'static str, u32)>,
}

impl Writer {
    /// A tree, and the nodes and properties that `root` writes. `capacity` is about how many bytes it will have; the
    /// tree must stay below 4 GiB.
    pub fn tree(capacity: usize, root: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut structure = Vec::with_capacity(capacity);
        structure.resize(HEADER_BYTES + RESERVATION_BYTES, 0);
        let mut writer =
            Self { structure, strings: Vec::with_capacity(512), names: Vec::with_capacity(32) };
        writer.node("", root);
        writer.word(token::END);
        writer.finish()
    }

    /// A node and what `body` writes into it, properties first.
    pub fn node(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.word(token::BEGIN_NODE);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(0);
        self.align();
        body(self);
        self.word(token::END_NODE);
    }

    /// A node with a unit address.
    pub fn node_at(&mut self, name: &str, address: u64, body: impl FnOnce(&mut Self)) {
        self.word(token::BEGIN_NODE);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(b'@');
        let digits = (64 - address.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = (address >> (4 * digit) & 15) as u8;
            self.structure.push(if value < 10 { b'0' + value } else { b'a' + value - 10 });
        }
        self.structure.push(0);
        self.align();
        body(self);
        self.word(token::END_NODE);
    }

    /// A property with these bytes.
    pub fn property(&mut self, name: &'static str, value: &[u8]) {
        self.begin_property(name, value.len());
        self.structure.extend_from_slice(value);
        self.align();
    }

    /// A property without a value.
    pub fn flag(&mut self, name: &'static str) {
        self.begin_property(name, 0);
    }

    /// A list of cells.
    pub fn cells(&mut self, name: &'static str, cells: &[u32]) {
        self.begin_property(name, cells.len() * 4);
        for &cell in cells {
            self.word(cell);
        }
    }

    /// A list of numbers of two cells.
    pub fn pairs(&mut self, name: &'static str, numbers: &[u64]) {
        self.begin_property(name, numbers.len() * 8);
        for &number in numbers {
            self.structure.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// A string. What lies behind a NUL in it is left out, since no reader could see it.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.texts(name, &[text]);
    }

    /// A list of strings.
    pub fn texts(&mut self, name: &'static str, texts: &[&str]) {
        let visible = |text: &&str| text.bytes().position(|byte| byte == 0).unwrap_or(text.len());
        let bytes = texts.iter().map(|text| visible(text) + 1).sum();
        self.begin_property(name, bytes);
        for text in texts {
            self.structure.extend_from_slice(text.as_bytes().get(..visible(text)).unwrap_or(&[]));
            self.structure.push(0);
        }
        self.align();
    }

    fn begin_property(&mut self, name: &'static str, bytes: usize) {
        let known = self.names.iter().find(|&&(other, _)| other == name).map(|&(_, at)| at);
        let at = known.unwrap_or_else(|| self.intern(name));
        self.word(token::PROP);
        self.word(bytes as u32);
        self.word(at);
    }

    fn intern(&mut self, name: &'static str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.push((name, at));
        at
    }

    #[inline]
    fn word(&mut self, word: u32) {
        self.structure.extend_from_slice(&word.to_be_bytes());
    }

    fn align(&mut self) {
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
    }

    /// Puts the strings behind the structure and the header before it (DTSpec 5.2).
    fn finish(self) -> Vec<u8> {
        let mut blob = self.structure;
        let (start, end) = (HEADER_BYTES + RESERVATION_BYTES, blob.len());
        blob.extend_from_slice(&self.strings);
        let header = [
            MAGIC,
            blob.len() as u32,
            start as u32,
            end as u32,
            HEADER_BYTES as u32,
            VERSION,
            LAST_COMPATIBLE,
            0,
            self.strings.len() as u32,
            (end - start) as u32,
        ];
        for (place, word) in blob.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        blob
    }
}
