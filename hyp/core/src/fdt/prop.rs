//! Properties and the types that their values have (DTSpec 2.2.4).

use super::{Cursor, token};

/// A property of a node.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    /// The strings block from the property's name on.
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Property<'a> {
    #[inline]
    pub(super) fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name, value }
    }

    /// The name; `"?"` where it is not text.
    pub fn name(&self) -> &'a str {
        let name = self.name.split(|&byte| byte == 0).next().unwrap_or(&[]);
        core::str::from_utf8(name).unwrap_or("?")
    }

    /// Whether this is the property `name`.
    #[inline(always)]
    pub fn is(&self, name: &str) -> bool {
        matches!(self.name.strip_prefix(name.as_bytes()), Some([0, ..]))
    }

    /// The first byte of the name, by which most names can be told from another at once.
    #[inline(always)]
    pub(crate) fn initial(&self) -> Option<u8> {
        self.name.first().copied()
    }

    /// The bytes of the value.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        self.value
    }

    /// A value of one cell.
    pub fn u32(&self) -> Option<u32> {
        <[u8; 4]>::try_from(self.value).ok().map(u32::from_be_bytes)
    }

    /// A number of one or two cells, as firmware writes addresses under `/chosen`.
    pub fn u64(&self) -> Option<u64> {
        match self.value.len() {
            4 | 8 => Some(number(self.value, 0, self.value.len() / 4)),
            _ => None,
        }
    }

    /// The cells of a value; bytes behind the last whole one are left out.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        self.value.chunks_exact(4).map(|cell| number(cell, 0, 1) as u32)
    }

    /// A value that is exactly one string.
    pub fn str(&self) -> Option<&'a str> {
        let text = self.value.strip_suffix(&[0])?;
        let text = core::str::from_utf8(text).ok()?;
        (!text.contains('\0')).then_some(text)
    }

    /// The strings of a list; it ends early at the first that is not text.
    pub fn strs(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.byte_strs().map_while(|text| core::str::from_utf8(text).ok())
    }

    /// The strings of a list as bytes.
    pub fn byte_strs(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.value;
        core::iter::from_fn(move || {
            let end = rest.iter().position(|&byte| byte == 0)?;
            let text = rest.get(..end)?;
            rest = rest.get(end + 1..)?;
            Some(text)
        })
    }

    /// The value as pairs of address and size.
    pub fn regs(&self, cells: Cells) -> Regs<'a> {
        Regs { rest: self.value, cells }
    }
}

impl<'a> Cursor<'a> {
    /// The property here, which the cursor moves behind; stays where none is.
    #[inline(always)]
    pub(super) fn next_property(&mut self) -> Option<Property<'a>> {
        loop {
            let (token, rest) = self.rest.split_first_chunk()?;
            match u32::from_be_bytes(*token) {
                token::PROP => return self.prop(rest),
                token::NOP => self.rest = rest,
                _ => return None,
            }
        }
    }
}

/// The properties of a node.
#[derive(Clone)]
pub struct Properties<'a> {
    pub(super) cursor: Cursor<'a>,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    #[inline]
    fn next(&mut self) -> Option<Property<'a>> {
        // Anything else is not stepped over, so that the iterator stays at its end.
        self.cursor.next_property()
    }
}

/// How many cells an address and a size have below a node (DTSpec 2.3.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cells {
    /// `#address-cells`.
    pub address: u8,
    /// `#size-cells`.
    pub size: u8,
}

impl Cells {
    /// What holds where a node does not say (DTSpec 2.3.5).
    pub const DEFAULT: Self = Self { address: 2, size: 1 };
    /// Most cells that are read: PCI addresses have three, and the low two are the number.
    const MOST: u32 = 4;

    /// These cells, or what `property` says instead.
    #[inline(always)]
    pub(super) fn updated(self, property: &Property<'_>) -> Self {
        if property.initial() == Some(b'#') { self.counted(property) } else { self }
    }

    fn counted(mut self, property: &Property<'_>) -> Self {
        let count = property.u32().unwrap_or(u32::MAX);
        // A count that cannot be read makes every `reg` below unreadable: no cell at all says so.
        let count = if count <= Self::MOST { count as u8 } else { 0 };
        if property.is("#address-cells") {
            self.address = count;
        } else if property.is("#size-cells") {
            self.size = count;
        }
        self
    }

    fn bytes(self) -> usize {
        (usize::from(self.address) + usize::from(self.size)) * 4
    }
}

/// Pairs of address and size. A pair that is not whole ends them.
#[derive(Clone)]
pub struct Regs<'a> {
    rest: &'a [u8],
    cells: Cells,
}

impl Regs<'_> {
    pub(super) const EMPTY: Self = Self { rest: &[], cells: Cells::DEFAULT };
}

impl Iterator for Regs<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let bytes = self.cells.bytes();
        if bytes == 0 || self.rest.len() < bytes {
            return None;
        }
        let (address, size) = (usize::from(self.cells.address), usize::from(self.cells.size));
        let pair = (number(self.rest, 0, address), number(self.rest, address * 4, size));
        self.rest = self.rest.get(bytes..)?;
        Some(pair)
    }
}

/// The number in `cells` cells from `at` on, modulo 2^64; cells that are not there count as none.
#[inline]
pub(super) fn number(bytes: &[u8], at: usize, cells: usize) -> u64 {
    let tail = bytes.get(at..).unwrap_or(&[]);
    tail.chunks_exact(4)
        .take(cells)
        .fold(0, |number, cell| number << 32 | u64::from(super::word(cell, 0).unwrap_or(0)))
}
