//! A request that is too much for the disk at once, done in parts one after the other.
//!
//! Rare, so there is room for one at a time and others wait: more pieces of memory than the disk takes, a range of
//! sectors that is too long, zeroes to be written for a disk that cannot do that itself, or a write to be made durable.

use alloc::vec::Vec;

use super::Limits;
use crate::addr::{PAGE_SIZE, Pa};
use crate::disk::{DiskError, DiskOp, DiskRequest, MAX_SEGMENTS, SECTOR_SIZE, Segment, Tag};

/// What to give the disk next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub op: DiskOp,
    pub sector: u64,
    pub sectors: u64,
}

/// How far the request has come.
#[derive(Debug)]
pub(super) struct Job {
    pub active: bool,
    request: DiskRequest,
    sector: u64,
    left: u64,
    /// The piece of memory to go on with, and how much of it is done.
    piece: usize,
    done: u32,
    flush: bool,
    /// The memory of the part under way.
    pub segments: Vec<Segment>,
}

impl Job {
    pub(super) fn new() -> Self {
        Self {
            active: false,
            request: DiskRequest::new(Tag { owner: 0, request: 0 }),
            sector: 0,
            left: 0,
            piece: 0,
            done: 0,
            flush: false,
            segments: Vec::with_capacity(MAX_SEGMENTS),
        }
    }

    /// Begins a request.
    pub(super) fn begin(&mut self, request: &DiskRequest, flush: bool) {
        self.request.copy_from(request);
        (self.sector, self.left) = (request.sector, request.sectors);
        (self.piece, self.done) = (0, 0);
        (self.flush, self.active) = (flush, true);
    }

    /// The next part, its memory in `segments`; `None` where all is done.
    pub(super) fn next(
        &mut self,
        limits: &Limits,
        zeroes: Option<Pa>,
    ) -> Result<Option<Part>, DiskError> {
        self.segments.clear();
        if self.left == 0 {
            let part = Part { op: DiskOp::Flush, sector: 0, sectors: 0 };
            return Ok(core::mem::take(&mut self.flush).then_some(part));
        }
        let (op, sectors) = match (self.request.op, zeroes) {
            (DiskOp::WriteZeroes { .. }, Some(frame)) => {
                (DiskOp::Write, self.add_zeroes(limits, frame))
            }
            (op @ DiskOp::WriteZeroes { .. }, None) => (op, u64::from(limits.max_write_zeroes)),
            (op @ DiskOp::Discard, _) => (op, u64::from(limits.max_discard)),
            (op, _) => (op, self.add_memory(limits)),
        };
        let sectors = sectors.min(self.left);
        if sectors == 0 {
            // The disk takes so little at once that no whole sector fits.
            return Err(DiskError::Unsupported);
        }
        let part = Part { op, sector: self.sector, sectors };
        self.left -= sectors;
        self.sector = self.sector.saturating_add(sectors);
        Ok(Some(part))
    }

    /// The frame of zeroes as often as the disk takes it; the number of sectors.
    fn add_zeroes(&mut self, limits: &Limits, frame: Pa) -> u64 {
        let most = PAGE_SIZE.min(u64::from(limits.segment_bytes)) / SECTOR_SIZE;
        let mut sectors = 0;
        while self.segments.len() < limits.segments && sectors < self.left && most != 0 {
            let now = most.min(self.left - sectors);
            self.segments.push(Segment { at: frame, len: (now * SECTOR_SIZE) as u32 });
            sectors += now;
        }
        sectors
    }

    /// As many of the request's pieces as the disk takes, cut down to whole sectors; the number of sectors.
    fn add_memory(&mut self, limits: &Limits) -> u64 {
        let mut bytes = 0;
        while self.segments.len() < limits.segments
            && let Some(piece) = self.request.segments().get(self.piece)
        {
            let left = piece.len.saturating_sub(self.done);
            let now = left.min(limits.segment_bytes);
            if now != 0 {
                let at = piece.at.offset(u64::from(self.done));
                self.segments.push(Segment { at, len: now });
                bytes += u64::from(now);
            }
            if now == left {
                (self.piece, self.done) = (self.piece + 1, 0);
            } else {
                self.done += now;
            }
        }
        self.give_back((bytes % SECTOR_SIZE) as u32);
        bytes / SECTOR_SIZE
    }

    /// Takes the last `excess` bytes off the part again.
    fn give_back(&mut self, mut excess: u32) {
        while excess != 0
            && let Some(last) = self.segments.last_mut()
        {
            if self.done == 0 {
                // The part ends where a piece ends: go on with that piece from its end.
                self.piece = self.piece.saturating_sub(1);
                self.done = self.request.segments().get(self.piece).map_or(0, |piece| piece.len);
            }
            let now = excess.min(last.len);
            last.len -= now;
            self.done = self.done.saturating_sub(now);
            excess -= now;
            if last.len == 0 {
                self.segments.pop();
            }
        }
    }
}
