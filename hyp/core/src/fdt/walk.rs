//! All nodes in one pass, with what a node cannot know alone: its parents' cell sizes and address translation.

use super::{Cells, Cursor, MAX_DEPTH, Node, Property, Regs, Token, prop};

/// A node met on a walk.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// The node.
    pub node: Node<'a>,
    /// 0 for the root.
    pub depth: usize,
    /// Cell sizes of the parent, by which `reg` is read.
    pub cells: Cells,
}

impl<'a> Visit<'a> {
    /// The pairs of `reg`, as the parent bus counts addresses (see [`Walk::translate`]).
    pub fn reg(&self) -> Regs<'a> {
        self.node.reg(self.cells)
    }
}

/// What is known of a node on the way down.
#[derive(Clone, Copy)]
struct Bus<'a> {
    /// For its children.
    cells: Cells,
    /// Where its children's addresses are in its parent's; no property, no place.
    ranges: Option<Property<'a>>,
    /// The same for addresses that its children give out, by DMA; no property, the same addresses.
    dma_ranges: Option<Property<'a>>,
}

/// A range of a bus and where it is, by its `ranges` or `dma-ranges` (DTSpec 2.3.8, 2.3.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// First address as the bus's children know it.
    pub child: u64,
    /// The same as the bus's parent knows it.
    pub parent: u64,
    /// Bytes.
    pub len: u64,
}

/// Depth-first walk, parents before children.
#[derive(Clone)]
pub struct Walk<'a> {
    cursor: Cursor<'a>,
    /// Nodes that are open, the one given out last included.
    open: usize,
    buses: [Bus<'a>; MAX_DEPTH],
}

impl<'a> Walk<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self { cursor, open: 0, buses: [Bus::ROOT; MAX_DEPTH] }
    }

    /// Where the core sees `address`, which the node given out last has in its `reg`: through the `ranges` of each
    /// parent up to the root (DTSpec 2.3.8). `None` where a parent has none for it, as under `/cpus`.
    pub fn translate(&self, address: u64) -> Option<u64> {
        let mut address = address;
        let parents = self.buses.get(..self.open.checked_sub(1)?)?;
        // Not through the root itself: its children's addresses are the core's.
        for pair in parents.windows(2).rev() {
            let [above, bus] = pair else { return None };
            address = bus.translate(bus.ranges?, above.cells, address)?;
        }
        Some(address)
    }

    /// Where DMA of the node given out last reaches memory: the `dma-ranges` of its bus, as the cores see them.
    pub fn dma_ranges(&self) -> impl Iterator<Item = Mapped> + '_ {
        let parents = self.open.checked_sub(1).and_then(|open| self.buses.get(..open));
        let (bus, above) = parents.and_then(|all| all.split_last()).unwrap_or((&Bus::ROOT, &[]));
        let cells = above.last().map_or(Cells::DEFAULT, |bus| bus.cells);
        let ranges = bus.dma_ranges.filter(|ranges| !ranges.value().is_empty());
        // No property, or an empty one: the same addresses.
        let same = Mapped { child: 0, parent: 0, len: u64::MAX };
        let same = ranges.is_none().then_some(same);
        let entries = ranges.map(|ranges| bus.entries(ranges, cells)).into_iter().flatten();
        same.into_iter().chain(entries).filter_map(move |mut range| {
            for pair in above.windows(2).rev() {
                let [over, bus] = pair else { return None };
                if let Some(ranges) = bus.dma_ranges {
                    range.parent = bus.translate(ranges, over.cells, range.parent)?;
                }
            }
            Some(range)
        })
    }

    /// The next node, and its properties one by one to `each`: for who wants several, in the pass that is made anyway.
    #[inline(always)]
    pub fn next_with(&mut self, mut each: impl FnMut(Property<'a>)) -> Option<Visit<'a>> {
        let visit = self.next_node()?;
        // The properties come first, so all are seen. What follows stays for the next call.
        while let Some(property) = self.cursor.next_property() {
            self.note(property);
            each(property);
        }
        Some(visit)
    }

    fn next_node(&mut self) -> Option<Visit<'a>> {
        loop {
            match self.cursor.next() {
                Ok(Token::Begin(name)) => return self.open_node(name),
                Ok(Token::End) => self.open = self.open.checked_sub(1)?,
                Ok(Token::Prop | Token::Finish) | Err(_) => {
                    self.cursor.rest = &[];
                    return None;
                }
            }
        }
    }

    fn open_node(&mut self, name: &'a [u8]) -> Option<Visit<'a>> {
        let depth = self.open;
        let cells =
            depth.checked_sub(1).and_then(|parent| self.buses.get(parent)).map(|bus| bus.cells);
        let bus = self.buses.get_mut(depth)?;
        // One by one: a copy of the whole is longer.
        bus.cells = Cells::DEFAULT;
        bus.ranges = None;
        bus.dma_ranges = None;
        self.open += 1;
        let node = Node { name, inside: self.cursor };
        Some(Visit { node, depth, cells: cells.unwrap_or(Cells::DEFAULT) })
    }

    #[inline(always)]
    fn note(&mut self, property: Property<'a>) {
        let Some(bus) = self.open.checked_sub(1).and_then(|here| self.buses.get_mut(here)) else {
            return;
        };
        match property.initial() {
            Some(b'#') => bus.cells = bus.cells.updated(&property),
            Some(b'r') if property.is("ranges") => bus.ranges = Some(property),
            Some(b'd') if property.is("dma-ranges") => bus.dma_ranges = Some(property),
            _ => {}
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Visit<'a>;

    fn next(&mut self) -> Option<Visit<'a>> {
        self.next_with(|_| {})
    }
}

impl<'a> Bus<'a> {
    const ROOT: Self = Self { cells: Cells::DEFAULT, ranges: None, dma_ranges: None };

    /// From an address of the children to one of the parent, which has `above` cells.
    fn translate(&self, ranges: Property<'a>, above: Cells, address: u64) -> Option<u64> {
        // Empty: the same addresses.
        if ranges.value().is_empty() {
            return Some(address);
        }
        self.entries(ranges, above).find_map(|range| {
            let offset = address.checked_sub(range.child).filter(|&offset| offset < range.len)?;
            range.parent.checked_add(offset)
        })
    }

    /// The entries of `ranges` or `dma-ranges`.
    fn entries(
        &self,
        ranges: Property<'a>,
        above: Cells,
    ) -> impl Iterator<Item = Mapped> + use<'a> {
        let (child, parent) = (usize::from(self.cells.address), usize::from(above.address));
        let size = usize::from(self.cells.size);
        let entries = ranges.value().chunks_exact(((child + parent + size) * 4).max(4));
        entries.map(move |entry| Mapped {
            child: prop::number(entry, 0, child),
            parent: prop::number(entry, child * 4, parent),
            len: prop::number(entry, (child + parent) * 4, size),
        })
    }
}
