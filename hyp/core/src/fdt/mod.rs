//! Reads flattened device trees: the firmware's, the configuration's and the bundle's.
//!
//! Problem: these bytes come from firmware and from users, they are read before anything else works, and reading them
//! is a good part of what a boot costs. Idea: one structural pass in [`Fdt::new`] that looks at each token once and at
//! no byte of a value, so that a truncated or spoiled tree is refused with the offset of the damage; after it, nodes and
//! properties are slices of the blob, found by the same token reader that the pass used. That reader is checked itself,
//! so no iterator can panic or run for ever whatever the bytes are. Text is validated only where it is asked for as
//! text. Idea not taken: an index of nodes, which needs an allocator before memory is known.
//!
//! The format is chapter 5 of the Devicetree Specification (DTSpec) 0.4.

mod prop;
#[cfg(test)]
mod tests;
mod walk;
mod write;

use core::fmt;

pub use prop::{Cells, Properties, Property, Regs};
pub use walk::{Mapped, Visit, Walk};
pub use write::Writer;

/// First word of every tree (DTSpec 5.2).
pub(crate) const MAGIC: u32 = 0xd00d_feed;
/// Bytes of the header (DTSpec 5.2).
const HEADER_BYTES: usize = 40;
/// The version this reader knows; it reads all that say they are compatible with it (DTSpec 5.2).
const VERSION: u32 = 17;
/// Deepest nesting that is read. Boards and bundles use eight at most.
pub const MAX_DEPTH: usize = 16;

/// Tokens of the structure block (DTSpec 5.4.1).
pub(crate) mod token {
    pub const BEGIN_NODE: u32 = 1;
    pub const END_NODE: u32 = 2;
    pub const PROP: u32 = 3;
    pub const NOP: u32 = 4;
    pub const END: u32 = 9;
}

/// Why bytes are not a device tree. Offsets count from the first byte of the blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdtError {
    /// The first word is another.
    NoMagic,
    /// The header promises more bytes than there are.
    Truncated {
        /// Bytes the header promises, or the size of the header where not even that is there.
        promised: usize,
        /// Bytes that are there.
        present: usize,
    },
    /// A format version that this reader does not know.
    Version(u32),
    /// A block that the header places outside the tree, or at an odd place.
    Block(&'static str),
    /// A token that may not stand where it does, or is none.
    Token(usize),
    /// A property or a name that reaches beyond its block.
    Overrun(usize),
    /// A node nested more than [`MAX_DEPTH`] deep.
    TooDeep(usize),
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic => f.write_str("not a device tree: it does not begin with d00dfeed"),
            Self::Truncated { promised, present } => {
                write!(f, "truncated: {present} of {promised} bytes are there")
            }
            Self::Version(v) => write!(f, "device tree version {v} is not readable as version 17"),
            Self::Block(name) => write!(f, "the header places the {name} block outside the tree"),
            Self::Token(at) => write!(f, "a token that may not stand there at byte {at:#x}"),
            Self::Overrun(at) => write!(f, "a name or value runs over its block at byte {at:#x}"),
            Self::TooDeep(at) => write!(f, "nodes nested over {MAX_DEPTH} deep at byte {at:#x}"),
        }
    }
}

impl core::error::Error for FdtError {}

/// A device tree whose structure was checked.
#[derive(Clone, Copy)]
pub struct Fdt<'a> {
    /// From the header to the end of the tree, without what may follow it.
    blob: &'a [u8],
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: usize,
}

/// A place in the structure block, and what reading from there takes.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    /// The structure block from here on.
    rest: &'a [u8],
    strings: &'a [u8],
}

/// Why there is no token.
enum Bad {
    Overrun,
    Token,
}

/// One token with what belongs to it.
enum Token<'a> {
    Begin(&'a [u8]),
    End,
    Prop,
    Finish,
}

impl<'a> Fdt<'a> {
    /// Size that the header of a tree claims, from its first eight bytes: how much to map before [`Fdt::new`].
    pub fn total_size(head: &[u8]) -> Result<usize, FdtError> {
        let missing = FdtError::Truncated { promised: HEADER_BYTES, present: head.len() };
        if word(head, 0).ok_or(missing)? != MAGIC {
            return Err(FdtError::NoMagic);
        }
        word(head, 4).map(|size| size as usize).ok_or(missing)
    }

    /// Checks the structure of the tree at the start of `bytes`; bytes behind it are ignored.
    pub fn new(bytes: &'a [u8]) -> Result<Self, FdtError> {
        let total = Self::total_size(bytes)?;
        let truncated = FdtError::Truncated { promised: total, present: bytes.len() };
        let blob = bytes.get(..total).ok_or(truncated)?;
        if total < HEADER_BYTES {
            return Err(FdtError::Truncated { promised: HEADER_BYTES, present: total });
        }
        let field = |at| word(blob, at).unwrap_or(0);
        if field(20) < VERSION || field(24) > VERSION {
            return Err(FdtError::Version(field(20)));
        }
        let block = |name, offset, size| {
            let start = field(offset) as usize;
            let end = start.checked_add(field(size) as usize);
            end.and_then(|end| blob.get(start..end)).ok_or(FdtError::Block(name))
        };
        let structure = block("structure", 8, 36)?;
        let strings = block("strings", 12, 32)?;
        let base = field(8) as usize;
        if !base.is_multiple_of(4) {
            return Err(FdtError::Block("structure"));
        }
        // With a NUL at the end of the block, every property's name has an end.
        if strings.last().is_some_and(|&last| last != 0) {
            return Err(FdtError::Block("strings"));
        }
        Cursor { rest: structure, strings }.check(base)?;
        Ok(Self { blob, structure, strings, reservations: field(16) as usize })
    }

    /// The bytes of the tree itself.
    pub fn bytes(&self) -> &'a [u8] {
        self.blob
    }

    /// The root node.
    pub fn root(&self) -> Node<'a> {
        let mut cursor = self.cursor();
        match cursor.next() {
            Ok(Token::Begin(name)) => Node { name, inside: cursor },
            // Not reached: the pass in `new` saw it. An empty node rather than a panic.
            _ => Node { name: &[], inside: Cursor { rest: &[], ..cursor } },
        }
    }

    /// The node at `path`, such as `/cpus/cpu@0`. A part without `@` also finds a node with a unit address.
    pub fn find(&self, path: &str) -> Option<Node<'a>> {
        let parts = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty());
        parts.into_iter().try_fold(self.root(), |node, part| node.child(part))
    }

    /// The node that `name` means as `stdout-path` has it: a path or an alias, and options behind a colon
    /// (DTSpec 3.6).
    pub fn resolve(&self, name: &str) -> Option<Node<'a>> {
        let name = name.split(':').next()?;
        if name.starts_with('/') {
            return self.find(name);
        }
        self.find(self.find("/aliases")?.property(name)?.str()?)
    }

    /// All nodes, parents before children, each with its depth and its parent's cell sizes.
    pub fn walk(&self) -> Walk<'a> {
        Walk::new(self.cursor())
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor { rest: self.structure, strings: self.strings }
    }

    /// The memory reservation block: address and size of what the firmware keeps (DTSpec 5.3).
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let entries = self.blob.get(self.reservations..).unwrap_or(&[]).chunks_exact(16);
        let pair = |entry: &'a [u8]| (prop::number(entry, 0, 2), prop::number(entry, 8, 2));
        entries.map(pair).take_while(|&entry| entry != (0, 0))
    }
}

/// A node of a tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    name: &'a [u8],
    /// Behind the name.
    inside: Cursor<'a>,
}

impl<'a> Node<'a> {
    /// Name with unit address; empty for the root, `"?"` where it is not text.
    pub fn name(&self) -> &'a str {
        core::str::from_utf8(self.name).unwrap_or("?")
    }

    /// Whether the node is called `name`, its unit address left aside where `name` has none.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.as_bytes();
        match self.name.strip_prefix(name) {
            Some([]) => true,
            Some([b'@', ..]) => !name.contains(&b'@'),
            _ => false,
        }
    }

    /// The properties in the order of the tree.
    pub fn properties(&self) -> Properties<'a> {
        Properties { cursor: self.inside }
    }

    /// The property `name`.
    #[inline(never)]
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        let initial = name.bytes().next();
        self.properties().find(|property| property.initial() == initial && property.is(name))
    }

    /// The nodes right below.
    pub fn children(&self) -> Children<'a> {
        Children { cursor: self.inside, below: false }
    }

    /// The first child called `name` (see [`Node::is_called`]).
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.is_called(name))
    }

    /// The strings of `compatible`, as bytes so that they are compared and not validated.
    pub fn compatible(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.property("compatible").into_iter().flat_map(|property| property.byte_strs())
    }

    /// Whether `compatible` has `name` among its strings.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatible().any(|entry| entry == name.as_bytes())
    }

    /// Whether `status` is missing or says that the device may be used (DTSpec 2.3.4).
    pub fn is_okay(&self) -> bool {
        self.property("status").is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"))
    }

    /// `#address-cells` and `#size-cells` for the children of this node (DTSpec 2.3.5).
    pub fn cells(&self) -> Cells {
        self.properties().fold(Cells::DEFAULT, |cells, property| cells.updated(&property))
    }

    /// The pairs of `reg`, read with the cell sizes of the parent.
    pub fn reg(&self, cells: Cells) -> Regs<'a> {
        self.property("reg").map_or(Regs::EMPTY, |property| property.regs(cells))
    }
}

/// The nodes right below a node.
#[derive(Clone)]
pub struct Children<'a> {
    cursor: Cursor<'a>,
    /// The cursor is in a child that was given out already.
    below: bool,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        let mut depth = usize::from(self.below);
        loop {
            match self.cursor.next() {
                Ok(Token::Begin(name)) if depth == 0 => {
                    self.below = true;
                    return Some(Node { name, inside: self.cursor });
                }
                Ok(Token::Begin(_)) => depth += 1,
                Ok(Token::End) if depth > 0 => depth -= 1,
                Ok(Token::Prop) => {}
                Ok(Token::End | Token::Finish) | Err(_) => {
                    (self.cursor.rest, self.below) = (&[], false);
                    return None;
                }
            }
        }
    }
}

impl<'a> Cursor<'a> {
    /// The structural pass: tokens in order, names and values inside their blocks, nodes closed. `base` is where the
    /// structure block begins.
    fn check(mut self, base: usize) -> Result<(), FdtError> {
        let all = self.rest.len();
        let (mut depth, mut nodes, mut properties_may_follow) = (0, 0usize, false);
        loop {
            let here = base + (all - self.rest.len());
            let misplaced = Err(FdtError::Token(here));
            let token = self.next().map_err(|bad| match bad {
                Bad::Overrun => FdtError::Overrun(here),
                Bad::Token => FdtError::Token(here),
            });
            match token? {
                Token::Prop if properties_may_follow => {}
                Token::Begin(_) if depth == 0 && nodes > 0 => return misplaced,
                Token::Begin(_) if depth == MAX_DEPTH => return Err(FdtError::TooDeep(here)),
                Token::Begin(_) => {
                    (depth, nodes, properties_may_follow) = (depth + 1, nodes + 1, true);
                }
                Token::End if depth > 0 => (depth, properties_may_follow) = (depth - 1, false),
                Token::Finish if depth == 0 && nodes > 0 => return Ok(()),
                Token::Prop | Token::End | Token::Finish => return misplaced,
            }
        }
    }

    /// The token here, which the cursor moves behind, by four bytes at least: nobody can loop for ever on this.
    /// Inlined into its callers, for it is most of what reading a tree costs.
    #[inline(always)]
    fn next(&mut self) -> Result<Token<'a>, Bad> {
        loop {
            let (token, rest) = self.rest.split_first_chunk().ok_or(Bad::Overrun)?;
            match u32::from_be_bytes(*token) {
                token::PROP => return self.prop(rest).map(|_| Token::Prop).ok_or(Bad::Overrun),
                token::BEGIN_NODE => {
                    let name = terminated(rest).ok_or(Bad::Overrun)?;
                    let behind = rest.get((name.len() + 4) & !3..);
                    self.rest = behind.ok_or(Bad::Overrun)?;
                    return Ok(Token::Begin(name));
                }
                token::END_NODE => {
                    self.rest = rest;
                    return Ok(Token::End);
                }
                token::NOP => self.rest = rest,
                token::END => {
                    self.rest = rest;
                    return Ok(Token::Finish);
                }
                _ => return Err(Bad::Token),
            }
        }
    }

    #[inline(always)]
    fn prop(&mut self, rest: &'a [u8]) -> Option<Property<'a>> {
        let (len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let len = u32::from_be_bytes(*len) as usize;
        let name = self.strings.get(u32::from_be_bytes(*name) as usize..)?;
        // Padded to whole cells. The padding is there: another token follows, and is missed where it is not.
        self.rest = rest.get(len.checked_add(3)? & !3..)?;
        Some(Property::new(name, rest.get(..len)?))
    }
}

/// The big-endian word at `at`.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The bytes up to the first NUL. Four at a time, as names begin and end at multiples of four.
#[inline(always)]
fn terminated(bytes: &[u8]) -> Option<&[u8]> {
    let (words, _) = bytes.as_chunks::<4>();
    for (index, word) in words.iter().enumerate() {
        let word = u32::from_le_bytes(*word);
        // Bit 7 of each byte that is zero; exact up to the first of them, which is the one that counts.
        let zeros = word.wrapping_sub(0x0101_0101) & !word & 0x8080_8080;
        if zeros != 0 {
            return bytes.get(..index * 4 + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    None
}
