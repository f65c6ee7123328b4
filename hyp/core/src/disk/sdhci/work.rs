//! The request under way: which part of it, and its memory, block by block or as a table for DMA.
//!
//! A request is done in parts of at most half a mebibyte, so that a part's table fits into half a frame, and an error
//! costs no more than a part.

use alloc::vec::Vec;

use super::host::Host;
use super::reg::{self, adma};
use crate::addr::{PAGE_SIZE, Pa};
use crate::board::DmaWindow;
use crate::disk::{DiskOp, DiskRequest, Registers, SECTOR_SIZE, Segment, Tag};
use crate::hw::Hw;

/// Most sectors of a part.
pub(super) const MAX_PART: u64 = 1024;
/// Most bytes of a descriptor: its length field has 16 bits, of which 0 means different things to different hardware.
const MAX_PIECE: u32 = 0x8000;
/// Half of the frame is the table, half are zeroes to write.
const HALF: u64 = PAGE_SIZE / 2;
/// ADMA2 takes whole words (1.13.4).
const WORD: u64 = 4;
/// Where the caches do not see the DMA, what is read must not share a line with anything: of no core is it longer.
const LINE: u64 = 64;

/// A place in a request's memory.
#[derive(Clone, Copy, Default, Debug)]
struct Cursor {
    piece: usize,
    done: u32,
}

impl Cursor {
    /// The next piece, of at most `max` bytes.
    fn next(&mut self, segments: &[Segment], max: u32) -> Option<Segment> {
        let piece = segments.get(self.piece)?;
        let left = piece.len.saturating_sub(self.done);
        let at = piece.at.offset(u64::from(self.done));
        if left > max {
            self.done += max;
        } else {
            *self = Self { piece: self.piece + 1, done: 0 };
        }
        Some(Segment { at, len: left.min(max) })
    }
}

/// The request.
#[derive(Debug)]
pub(super) struct Work {
    request: DiskRequest,
    /// The part: its first sector, and how many it has.
    pub sector: u64,
    pub part: u32,
    /// Sectors to do, with the part.
    left: u64,
    /// Blocks of the part that were moved without DMA.
    pub moved: u32,
    /// Where the part's memory begins, and where to go on.
    from: Cursor,
    at: Cursor,
}

impl Work {
    pub(super) fn new() -> Self {
        let request = DiskRequest::new(Tag { owner: 0, request: 0 });
        let (from, at) = (Cursor::default(), Cursor::default());
        Self { request, sector: 0, part: 0, left: 0, moved: 0, from, at }
    }

    pub(super) fn tag(&self) -> Tag {
        self.request.tag
    }

    pub(super) fn is_read(&self) -> bool {
        self.request.op == DiskOp::Read
    }

    /// Begins a request.
    pub(super) fn begin(&mut self, request: &DiskRequest) {
        self.request.copy_from(request);
        (self.sector, self.left) = (request.sector, request.sectors);
        self.at = Cursor::default();
        self.set_part();
    }

    /// Goes on to the next part; whether there is one.
    pub(super) fn next_part(&mut self) -> bool {
        self.left = self.left.saturating_sub(u64::from(self.part));
        self.sector = self.sector.saturating_add(u64::from(self.part));
        self.set_part();
        self.left != 0
    }

    fn set_part(&mut self) {
        self.part = self.left.min(MAX_PART) as u32;
        self.from = self.at;
        self.moved = 0;
    }

    /// Begins the part anew.
    pub(super) fn rewind(&mut self) {
        self.at = self.from;
        self.moved = 0;
    }

    fn is_zeroes(&self) -> bool {
        matches!(self.request.op, DiskOp::WriteZeroes { .. })
    }

    /// Moves a block between the controller's buffer and memory; pieces may meet within it.
    pub(super) fn move_block(&mut self, hw: &impl Hw, host: &Host<impl Registers>) {
        let mut block = [0; SECTOR_SIZE as usize];
        let read = self.is_read();
        if read {
            for word in block.as_chunks_mut().0 {
                *word = host.read(reg::DATA).to_le_bytes();
            }
        }
        let mut rest = &mut block[..];
        while !rest.is_empty()
            && let Some(piece) = self.at.next(self.request.segments(), rest.len() as u32)
            && let Some((now, then)) = rest.split_at_mut_checked(piece.len as usize)
        {
            if read {
                hw.write(piece.at, now);
            } else {
                hw.read(piece.at, now);
            }
            rest = then;
        }
        if !read {
            for word in block.as_chunks().0 {
                host.write(hw, reg::DATA, u32::from_le_bytes(*word));
            }
        }
        self.moved += 1;
    }
}

/// What DMA needs.
#[derive(Debug)]
pub(super) struct Dma {
    frame: Pa,
    windows: Vec<DmaWindow>,
    coherent: bool,
}

impl Dma {
    /// DMA through `windows`; `None` where there is no frame that it reaches.
    pub(super) fn new(hw: &impl Hw, windows: Vec<DmaWindow>, coherent: bool) -> Option<Self> {
        let frame = hw.take_frames(0)?;
        let dma = Self { frame, windows, coherent };
        if dma.bus(frame, PAGE_SIZE).is_none() {
            hw.give_frames(frame, 0);
            return None;
        }
        dma.sync(hw, Segment { at: frame, len: PAGE_SIZE as u32 });
        Some(dma)
    }

    /// Where the controller sees memory, if it does.
    fn bus(&self, at: Pa, len: u64) -> Option<u32> {
        self.windows.iter().find_map(|window| {
            let inside = at.0.checked_sub(window.cpu.0)?;
            let bus = window.bus.checked_add(inside)?;
            let fits = inside.checked_add(len)? <= window.len
                && bus.checked_add(len)? <= u64::from(u32::MAX) + 1;
            fits.then_some(bus as u32)
        })
    }

    /// Lets the controller see memory, and the cores what it wrote there.
    fn sync(&self, hw: &impl Hw, piece: Segment) {
        if !self.coherent {
            hw.dma_sync(piece.at, u64::from(piece.len));
        }
    }

    /// Makes the table of the work's part; where the controller finds it. `None` where DMA does not reach all of the
    /// memory.
    pub(super) fn prepare(&self, hw: &impl Hw, work: &mut Work) -> Option<u32> {
        let read = work.is_read();
        let align = if read && !self.coherent { LINE } else { WORD };
        let zeroes = self.frame.offset(HALF);
        let mut left = work.part * SECTOR_SIZE as u32;
        let mut table = (self.frame.0..self.frame.0 + HALF).step_by(adma::SIZE);
        while left != 0 {
            let piece = if work.is_zeroes() {
                Segment { at: zeroes, len: left.min(HALF as u32) }
            } else {
                work.at.next(work.request.segments(), left.min(MAX_PIECE))?
            };
            let len = u64::from(piece.len);
            if !piece.at.is_aligned(align) || !len.is_multiple_of(align) {
                return None;
            }
            let bus = self.bus(piece.at, len)?;
            left -= piece.len;
            let end = if left == 0 { adma::END } else { 0 };
            let descriptor = adma::VALID
                | adma::TRANSFER
                | end
                | len << adma::LENGTH_SHIFT
                | u64::from(bus) << adma::ADDRESS_SHIFT;
            hw.write(Pa(table.next()?), &descriptor.to_le_bytes());
            // Of what is to be read too: a dirty line must not be written back over what arrives.
            if piece.at != zeroes {
                self.sync(hw, piece);
            }
        }
        self.sync(hw, Segment { at: self.frame, len: HALF as u32 });
        self.bus(self.frame, HALF)
    }

    /// Makes the cores see what was read into the work's part.
    pub(super) fn finish(&self, hw: &impl Hw, work: &Work) {
        if !work.is_read() {
            return;
        }
        // A core may have fetched lines ahead of time while the old content was in memory.
        let (mut at, mut left) = (work.from, work.part * SECTOR_SIZE as u32);
        while left != 0
            && let Some(piece) = at.next(work.request.segments(), left)
        {
            self.sync(hw, piece);
            left -= piece.len;
        }
    }
}
