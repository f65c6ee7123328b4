//! From a chain of descriptors to a [`DiskRequest`]: all checks, no effect (VIRTIO 1.3 5.2.6).
//!
//! A request is a header for the device to read, data in either direction, and a status byte for it to write. How the
//! driver cut these into descriptors means nothing (VIRTIO 1.3 2.7.4), so the header is the first 16 bytes to read and
//! the status is the last byte to write, wherever that is.

use alloc::vec::Vec;

use super::config::{MAX_DISCARD, MAX_WRITE_ZEROES, SEG_MAX};
use crate::addr::Ipa;
use crate::disk::{DiskOp, DiskRequest, SECTOR_SIZE, Window};
use crate::guest_mem::GuestRam;
use crate::hw::Hw;
use crate::virtio::queue::{Buffer, Queue, QueueError};

/// Request types (VIRTIO 1.3 5.2.6).
pub(crate) mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Bytes of the header: type, a reserved word, sector (VIRTIO 1.3 5.2.6).
pub(crate) const HEADER_SIZE: usize = 16;
/// Bytes of the range that a discard carries: sector, number of sectors, flags (VIRTIO 1.3 5.2.6).
pub(crate) const RANGE_SIZE: usize = 16;
/// Flag of such a range: the sectors may be unmapped.
pub(crate) const RANGE_UNMAP: u32 = 1;
/// Bytes of the identification that GET_ID reads.
pub const ID_SIZE: usize = 20;

/// How a request ended, as its status byte tells it (VIRTIO 1.3 5.2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// Not done: a bad request, or an error of the disk.
    IoError = 1,
    /// The device does not do that.
    Unsupported = 2,
}

/// What a good request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// The disk, as the [`DiskRequest`] says.
    Disk,
    /// The device's identification.
    Identify,
}

/// A chain, sorted into header, data and status. Kept from request to request for its memory.
#[derive(Debug)]
pub(super) struct Chain {
    header: [u8; HEADER_SIZE],
    header_len: usize,
    data: Vec<Buffer>,
    too_many: bool,
    last_writable: Option<Buffer>,
    /// Where the status byte goes.
    pub status: Ipa,
    /// Bytes of data for the device to write, without the status.
    writable: u64,
    readable: u64,
}

/// Data buffers of a chain: what the driver may send, and a header or status that shares a descriptor with data.
const MAX_DATA: usize = SEG_MAX as usize + 2;

impl Chain {
    pub(super) fn new() -> Self {
        Self {
            header: [0; HEADER_SIZE],
            header_len: 0,
            data: Vec::with_capacity(MAX_DATA),
            too_many: false,
            last_writable: None,
            status: Ipa(0),
            writable: 0,
            readable: 0,
        }
    }

    /// Reads the chain at `head`. What is wrong with it is wrong with the queue: there is nowhere to put a status.
    #[inline]
    pub(super) fn load(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
        queue: &Queue,
        head: u16,
    ) -> Result<(), QueueError> {
        self.data.clear();
        self.header_len = 0;
        self.too_many = false;
        self.last_writable = None;
        (self.writable, self.readable) = (0, 0);
        queue.walk(hw, ram, head, |buffer| self.add(hw, ram, buffer))?;
        self.cut_status(ram)
    }

    #[inline]
    fn add(&mut self, hw: &impl Hw, ram: &GuestRam, mut buffer: Buffer) -> Result<(), QueueError> {
        if buffer.write {
            self.writable += u64::from(buffer.len);
        } else {
            if let Some(rest) = self.header.get_mut(self.header_len..)
                && !rest.is_empty()
            {
                let len = rest.len().min(buffer.len as usize);
                let (part, _) = rest.split_at_mut_checked(len).ok_or(QueueError::Frame)?;
                ram.read(hw, buffer.at, part)?;
                self.header_len += len;
                buffer.at = buffer.at.offset(len as u64);
                buffer.len -= len as u32;
            }
            self.readable += u64::from(buffer.len);
        }
        if buffer.len == 0 {
            return Ok(());
        }
        if buffer.write {
            self.last_writable = Some(buffer);
        }
        if self.data.len() < MAX_DATA {
            self.data.push(buffer);
        } else {
            self.too_many = true;
        }
        Ok(())
    }

    /// Takes the last byte to write away from the data.
    fn cut_status(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        let last = self.last_writable.ok_or(QueueError::Frame)?;
        if self.header_len < HEADER_SIZE {
            return Err(QueueError::Frame);
        }
        let to_last = u64::from(last.len) - 1;
        self.status = last.at.checked_add(to_last).ok_or(QueueError::Outside)?;
        self.writable -= 1;
        if !self.too_many
            && let Some(data) = self.data.last_mut()
        {
            data.len -= 1;
        }
        ram.translate(self.status, 1).map(|_| ()).ok_or(QueueError::Outside)
    }

    /// Judges the request and, where it is one for the disk, describes it in `request`.
    #[inline]
    pub(super) fn parse(
        &self,
        hw: &impl Hw,
        ram: &GuestRam,
        window: &Window,
        request: &mut DiskRequest,
    ) -> Result<Ask, Status> {
        let raw = u128::from_le_bytes(self.header);
        let (kind, sector) = (raw as u32, (raw >> 64) as u64);
        request.clear_segments();
        if self.too_many {
            return Err(Status::IoError);
        }
        match kind {
            kind::IN => self.parse_transfer(ram, window, request, DiskOp::Read, sector),
            kind::OUT => self.parse_transfer(ram, window, request, DiskOp::Write, sector),
            kind::FLUSH => {
                (request.op, request.sector, request.sectors) = (DiskOp::Flush, window.first, 0);
                Ok(Ask::Disk)
            }
            kind::GET_ID => Ok(Ask::Identify),
            kind::DISCARD | kind::WRITE_ZEROES => {
                self.parse_range(hw, ram, window, request, kind == kind::DISCARD)
            }
            _ => Err(Status::Unsupported),
        }
    }

    /// A read or a write. Data in the wrong direction does not count, so that a read without room for it, or a write
    /// without data, is an error.
    #[inline]
    fn parse_transfer(
        &self,
        ram: &GuestRam,
        window: &Window,
        request: &mut DiskRequest,
        op: DiskOp,
        sector: u64,
    ) -> Result<Ask, Status> {
        let to_guest = op == DiskOp::Read;
        let bytes = if to_guest { self.writable } else { self.readable };
        if bytes == 0 || bytes % SECTOR_SIZE != 0 || bytes >= u64::from(u32::MAX) {
            return Err(Status::IoError);
        }
        place(window, request, op, sector, bytes / SECTOR_SIZE)?;
        for buffer in self.data.iter().filter(|b| b.write == to_guest) {
            for piece in ram.pieces(buffer.at, u64::from(buffer.len)) {
                let (pa, len) = piece.map_err(|_| Status::IoError)?;
                if !request.add_segment(pa, len as u32) {
                    return Err(Status::IoError);
                }
            }
        }
        Ok(Ask::Disk)
    }

    /// A discard or write-zeroes of the one range that the configuration allows (VIRTIO 1.3 5.2.6.2).
    fn parse_range(
        &self,
        hw: &impl Hw,
        ram: &GuestRam,
        window: &Window,
        request: &mut DiskRequest,
        discard: bool,
    ) -> Result<Ask, Status> {
        if self.readable != RANGE_SIZE as u64 {
            return Err(Status::IoError);
        }
        let mut bytes = [0; RANGE_SIZE];
        let mut rest = &mut bytes[..];
        for buffer in self.data.iter().filter(|b| !b.write) {
            let len = rest.len().min(buffer.len as usize);
            let (part, later) = rest.split_at_mut_checked(len).ok_or(Status::IoError)?;
            ram.read(hw, buffer.at, part).map_err(|_| Status::IoError)?;
            rest = later;
        }
        let raw = u128::from_le_bytes(bytes);
        let (sector, sectors, flags) = (raw as u64, (raw >> 64) as u32, (raw >> 96) as u32);
        if flags & !RANGE_UNMAP != 0 || (discard && flags != 0) {
            return Err(Status::Unsupported);
        }
        let max = if discard { MAX_DISCARD } else { MAX_WRITE_ZEROES };
        if sectors == 0 || sectors > max {
            return Err(Status::IoError);
        }
        let unmap = flags & RANGE_UNMAP != 0;
        let op = if discard { DiskOp::Discard } else { DiskOp::WriteZeroes { unmap } };
        place(window, request, op, sector, u64::from(sectors))?;
        Ok(Ask::Disk)
    }

    /// Bytes that the disk writes to the guest if the request was a good read; a good one's number fits.
    pub(super) fn data_written(&self, op: DiskOp) -> u32 {
        if op == DiskOp::Read { self.writable as u32 } else { 0 }
    }

    /// Copies the identification to the guest's buffers, as much of it as they take, and gives the number of bytes.
    pub(super) fn identify(&self, hw: &impl Hw, ram: &GuestRam, id: &[u8]) -> Result<u32, Status> {
        let mut rest = id;
        for buffer in self.data.iter().filter(|b| b.write) {
            let len = rest.len().min(buffer.len as usize);
            let (part, later) = rest.split_at_checked(len).ok_or(Status::IoError)?;
            ram.write(hw, buffer.at, part).map_err(|_| Status::IoError)?;
            rest = later;
        }
        Ok((id.len() - rest.len()) as u32)
    }
}

/// Where on the board's disk the guest's sectors are: the first of two places that keep a guest inside its partition.
#[inline]
fn place(
    window: &Window,
    request: &mut DiskRequest,
    op: DiskOp,
    sector: u64,
    sectors: u64,
) -> Result<(), Status> {
    if window.read_only && op.modifies() {
        return Err(Status::IoError);
    }
    let end = sector.checked_add(sectors).ok_or(Status::IoError)?;
    if end > window.sectors {
        return Err(Status::IoError);
    }
    request.op = op;
    request.sector = window.first.checked_add(sector).ok_or(Status::IoError)?;
    request.sectors = sectors;
    Ok(())
}
