//! Reading the disk before guests run, by waiting for it: for partition tables.

use core::fmt;

use super::gpt::BlockRead;
use super::{
    Accepted, DiskDriver, DiskError, DiskOp, DiskRequest, SECTOR_SIZE, Sector, SubmitError, Tag,
};
use crate::addr::{PAGE_SIZE, Pa};
use crate::hw::Hw;

/// Why nothing was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The disk said no.
    Disk(DiskError),
    /// The disk did not answer for [`PATIENCE_SECONDS`]; it is stopped.
    Silent,
    /// The sectors do not lie on the disk, or are too many at once.
    Range,
    /// There is no memory for the disk to write to.
    Memory,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Silent => write!(f, "the disk gave no answer for {PATIENCE_SECONDS} seconds"),
            Self::Range => f.write_str("sectors were to be read that the disk does not have"),
            Self::Memory => f.write_str("there is no memory to read from the disk"),
        }
    }
}

/// How long to wait for one read.
pub const PATIENCE_SECONDS: u64 = 5;

/// Frames that the disk writes to: 32 KiB, enough for a whole partition table at once.
const BOUNCE_ORDER: u8 = 3;
/// Sectors that they hold.
const MAX_SECTORS: u64 = (PAGE_SIZE << BOUNCE_ORDER) / SECTOR_SIZE;

/// Reads through a driver that nobody else uses meanwhile.
pub struct BootReader<'a, D: DiskDriver, H: Hw> {
    driver: &'a mut D,
    hw: &'a H,
    bounce: Pa,
    request: DiskRequest,
}

impl<'a, D: DiskDriver, H: Hw> BootReader<'a, D, H> {
    /// A reader, with frames of its own until it is dropped.
    pub fn new(driver: &'a mut D, hw: &'a H) -> Result<Self, ReadError> {
        let bounce = hw.take_frames(BOUNCE_ORDER).ok_or(ReadError::Memory)?;
        Ok(Self { driver, hw, bounce, request: DiskRequest::new(Tag { owner: 0, request: 0 }) })
    }

    fn wait(&mut self) -> Result<(), ReadError> {
        let begin = self.hw.now();
        let patience = self.hw.counter_hz().saturating_mul(PATIENCE_SECONDS);
        loop {
            self.driver.acknowledge();
            if let Some((_, result)) = self.driver.complete(self.hw) {
                // To find nothing more is what arms the interrupt for the next request.
                while self.driver.complete(self.hw).is_some() {}
                return result.map_err(ReadError::Disk);
            }
            if self.hw.now().saturating_sub(begin) > patience {
                // It may still write to the frames: they are safe only once it is stopped.
                self.driver.stop();
                while self.driver.complete(self.hw).is_some() {}
                return Err(ReadError::Silent);
            }
        }
    }
}

impl<D: DiskDriver, H: Hw> BlockRead for BootReader<'_, D, H> {
    type Error = ReadError;

    fn sectors(&self) -> u64 {
        self.driver.sectors()
    }

    fn read(&mut self, sector: u64, into: &mut [Sector]) -> Result<(), ReadError> {
        let sectors = into.len() as u64;
        let end = sector.checked_add(sectors).ok_or(ReadError::Range)?;
        if sectors > MAX_SECTORS || end > self.sectors() {
            return Err(ReadError::Range);
        }
        if sectors == 0 {
            return Ok(());
        }
        (self.request.op, self.request.sector, self.request.sectors) =
            (DiskOp::Read, sector, sectors);
        self.request.clear_segments();
        self.request.add_segment(self.bounce, (sectors * SECTOR_SIZE) as u32);
        match self.driver.submit(self.hw, &self.request) {
            Ok(Accepted::Queued) => self.wait()?,
            Ok(Accepted::Done) => {}
            Err(SubmitError::Lost) => return Err(ReadError::Disk(DiskError::Lost)),
            Err(SubmitError::Full | SubmitError::Refused) => {
                return Err(ReadError::Disk(DiskError::Failed));
            }
        }
        for (to, at) in into.iter_mut().zip((self.bounce.0..).step_by(SECTOR_SIZE as usize)) {
            self.hw.read(Pa(at), &mut to.0);
        }
        Ok(())
    }
}

impl<D: DiskDriver, H: Hw> Drop for BootReader<'_, D, H> {
    fn drop(&mut self) {
        self.hw.give_frames(self.bounce, BOUNCE_ORDER);
    }
}
