//! A reader of flattened device trees (Devicetree Specification 0.4, chapter 5), as small as a guest needs.

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;

/// A device tree in memory.
#[derive(Clone, Copy)]
pub struct Fdt<'a> {
    blob: &'a [u8],
}

/// One step of a walk through the tree.
pub enum Item<'a> {
    /// A node begins; its name with its unit address.
    Node(&'a str),
    /// A property of the node that began last and has not ended.
    Prop(&'a str, &'a [u8]),
    /// The innermost node ends.
    End,
}

impl<'a> Fdt<'a> {
    /// The tree at the start of `blob`, where it has the magic number.
    pub fn new(blob: &'a [u8]) -> Option<Self> {
        (word(blob, 0)? == 0xd00d_feed).then_some(Self { blob })
    }

    /// Everything in the tree, in its order.
    pub fn items(&self) -> impl Iterator<Item = Item<'a>> + use<'a> {
        let blob = self.blob;
        let structure = word(blob, 8).unwrap_or(0) as usize;
        let strings = word(blob, 12).unwrap_or(0) as usize;
        let mut at = structure;
        core::iter::from_fn(move || next(blob, strings, &mut at))
    }
}

fn next<'a>(blob: &'a [u8], strings: usize, at: &mut usize) -> Option<Item<'a>> {
    loop {
        let token = word(blob, *at)?;
        *at += 4;
        match token {
            NOP => {}
            BEGIN_NODE => {
                let name = string(blob, *at)?;
                *at = (*at + name.len() + 1).next_multiple_of(4);
                return Some(Item::Node(name));
            }
            END_NODE => return Some(Item::End),
            PROP => {
                let length = word(blob, *at)? as usize;
                let name = string(blob, strings + word(blob, *at + 4)? as usize)?;
                let value = blob.get(*at + 8..*at + 8 + length)?;
                *at = (*at + 8 + length).next_multiple_of(4);
                return Some(Item::Prop(name, value));
            }
            _ => return None,
        }
    }
}

/// The big-endian 32-bit word at byte `at`.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number of `cells` words at word `at` of a property.
pub fn number(value: &[u8], at: usize, cells: usize) -> Option<u64> {
    (at..at + cells)
        .try_fold(0u64, |high, cell| Some(high << 32 | u64::from(word(value, cell * 4)?)))
}

/// The first string of a property.
pub fn text(value: &[u8]) -> &str {
    string(value, 0).unwrap_or("")
}

/// Whether a list of strings has `wanted`.
pub fn has(value: &[u8], wanted: &str) -> bool {
    value.split(|b| *b == 0).any(|one| one == wanted.as_bytes())
}

fn string(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|b| *b == 0)?;
    core::str::from_utf8(rest.get(..end)?).ok()
}
