//! For tests and fuzz targets: a disk of which only some sectors were ever written to.

use alloc::vec::Vec;

use super::Sector;
use super::partitions::{BlockRead, SECTOR};

/// The disk. What was not written to reads as zeroes.
pub(crate) struct SparseDisk {
    pub sectors: u64,
    pub written: Vec<(u64, Sector)>,
    /// How often it was read.
    pub reads: u32,
}

impl SparseDisk {
    pub(crate) fn new(sectors: u64) -> Self {
        Self { sectors, written: Vec::new(), reads: 0 }
    }

    pub(crate) fn sector(&mut self, at: u64) -> &mut [u8; SECTOR] {
        let place = self.written.iter().position(|(place, _)| *place == at);
        let place = place.unwrap_or_else(|| {
            self.written.push((at, Sector::default()));
            self.written.len() - 1
        });
        &mut self.written[place].1.0
    }
}

impl BlockRead for SparseDisk {
    type Error = &'static str;

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, sector: u64, into: &mut [Sector]) -> Result<(), Self::Error> {
        self.reads += 1;
        for (at, to) in (sector..).zip(into) {
            assert!(at < self.sectors, "sector {at} of {}", self.sectors);
            let found = self.written.iter().find(|(place, _)| *place == at);
            *to = found.map_or_else(Sector::default, |(_, sector)| *sector);
        }
        Ok(())
    }
}
