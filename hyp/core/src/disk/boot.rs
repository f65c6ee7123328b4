//! Reading the disk before guests run, by waiting for it: for partition tables.
//!
//! A disk takes as long as thousands of instructions to answer. So a boot can ask for the first sectors early
//! ([`BootReader::read_ahead`]), do other things, and find them there when it wants them.

use core::fmt;

use super::partitions::BlockRead;
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

/// The owner of these requests: none that a [`super::Disk`] has.
const TAG: Tag = Tag { owner: u8::MAX, request: 0 };

/// Frames for the disk to write to, given back when it has done so.
struct Bounce<'a, H: Hw> {
    hw: &'a H,
    at: Pa,
    /// The disk may write to them.
    busy: bool,
}

impl<H: Hw> Drop for Bounce<'_, H> {
    fn drop(&mut self) {
        if !self.busy {
            self.hw.give_frames(self.at, BOUNCE_ORDER);
        }
    }
}

/// Reads through a driver that nobody else uses meanwhile.
pub struct BootReader<'a, D: DiskDriver, H: Hw> {
    driver: D,
    hw: &'a H,
    bounce: Bounce<'a, H>,
    request: DiskRequest,
    /// How many of the first sectors are under way, or in the frames.
    ahead: u64,
}

impl<'a, D: DiskDriver, H: Hw> BootReader<'a, D, H> {
    /// A reader, with frames of its own until it is dropped.
    pub fn new(driver: D, hw: &'a H) -> Result<Self, ReadError> {
        let at = hw.take_frames(BOUNCE_ORDER).ok_or(ReadError::Memory)?;
        let bounce = Bounce { hw, at, busy: false };
        Ok(Self { driver, hw, bounce, request: DiskRequest::new(TAG), ahead: 0 })
    }

    /// Begins to read the first `sectors` sectors, or as many as there are, and does not wait. It is an error if that
    /// is more than the frames hold.
    pub fn read_ahead(&mut self, sectors: u64) -> Result<(), ReadError> {
        let sectors = sectors.min(self.driver.sectors());
        self.begin(0, sectors)?;
        self.ahead = sectors;
        Ok(())
    }

    /// The driver, with nothing under way.
    pub fn into_driver(mut self) -> D {
        // What was read ahead and how that went no longer matters.
        let _ = self.wait();
        self.driver
    }

    fn begin(&mut self, sector: u64, sectors: u64) -> Result<(), ReadError> {
        let end = sector.checked_add(sectors).ok_or(ReadError::Range)?;
        if sectors > MAX_SECTORS || end > self.driver.sectors() {
            return Err(ReadError::Range);
        }
        // One at a time: there is one set of frames.
        self.wait()?;
        self.ahead = 0;
        if sectors == 0 {
            return Ok(());
        }
        let request = &mut self.request;
        (request.op, request.sector, request.sectors) = (DiskOp::Read, sector, sectors);
        request.clear_segments();
        request.add_segment(self.bounce.at, (sectors * SECTOR_SIZE) as u32);
        match self.driver.submit(self.hw, request) {
            Ok(accepted) => self.bounce.busy = accepted == Accepted::Queued,
            Err(SubmitError::Lost) => return Err(ReadError::Disk(DiskError::Lost)),
            Err(SubmitError::Full | SubmitError::Refused) => {
                return Err(ReadError::Disk(DiskError::Failed));
            }
        }
        Ok(())
    }

    /// Waits for what is under way.
    fn wait(&mut self) -> Result<(), ReadError> {
        let begin = self.hw.now();
        let patience = self.hw.counter_hz().saturating_mul(PATIENCE_SECONDS);
        while self.bounce.busy {
            self.driver.acknowledge();
            if let Some((_, result)) = self.driver.complete(self.hw) {
                self.bounce.busy = false;
                // To find nothing more is what arms the interrupt for the next request.
                while self.driver.complete(self.hw).is_some() {}
                self.driver.acknowledge();
                return result.map_err(ReadError::Disk);
            }
            if self.hw.now().saturating_sub(begin) > patience {
                // It may still write to the frames: they are safe only once it is stopped.
                self.driver.stop();
                while self.driver.complete(self.hw).is_some() {}
                self.bounce.busy = false;
                return Err(ReadError::Silent);
            }
        }
        Ok(())
    }
}

impl<D: DiskDriver, H: Hw> BlockRead for BootReader<'_, D, H> {
    type Error = ReadError;

    fn sectors(&self) -> u64 {
        self.driver.sectors()
    }

    fn read(&mut self, sector: u64, into: &mut [Sector]) -> Result<(), ReadError> {
        let sectors = into.len() as u64;
        if sector != 0 || sectors > self.ahead {
            self.begin(sector, sectors)?;
        }
        if let Err(error) = self.wait() {
            self.ahead = 0;
            return Err(error);
        }
        let places = (self.bounce.at.0..).step_by(SECTOR_SIZE as usize);
        for (to, at) in into.iter_mut().zip(places) {
            self.hw.read(Pa(at), &mut to.0);
        }
        Ok(())
    }
}
