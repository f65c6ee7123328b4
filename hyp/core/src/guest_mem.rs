//! The guest's RAM, as the devices that Tessera plays see it.
//!
//! A ring index, a descriptor or a sector's destination arrives as an address that the guest wrote: an allegation. The
//! only way from such an [`Ipa`] to memory is [`GuestRam`], which knows the few extents that the guest owns. It gives
//! physical pieces (for DMA) or copies bytes through [`Hw`] once; it never gives a reference, because the guest writes
//! to the same bytes meanwhile.
//!
//! Idea not taken: to translate by walking the stage 2 tables. A walk costs several loads an access, and the tables
//! say what the guest may touch *now*, which is not the same as what it owns once pages are shared or swapped. Keep
//! that difference behind this type.

use alloc::vec::Vec;
use core::fmt;

use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::hw::Hw;
use crate::sort::sort_by_key;

/// A run of guest RAM that is contiguous for the guest and on the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First address as the guest calls it.
    pub ipa: Ipa,
    /// First address on the board.
    pub pa: Pa,
    /// Bytes.
    pub len: u64,
}

/// Why extents make no RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtentError {
    /// An address or a length is no multiple of a page, or the length is 0.
    Unaligned,
    /// An extent ends beyond the last address.
    TooHigh,
    /// Two extents have a guest address in common.
    Overlap,
}

impl fmt::Display for ExtentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unaligned => "a piece of guest RAM does not consist of whole pages",
            Self::TooHigh => "a piece of guest RAM ends beyond the last address",
            Self::Overlap => "two pieces of guest RAM overlap",
        })
    }
}

/// The guest named memory that is not its RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outside;

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address lies outside the guest's RAM")
    }
}

/// What a guest has for RAM: a short list of extents, in ascending order of guest addresses.
#[derive(Debug)]
pub struct GuestRam {
    extents: Vec<Extent>,
}

impl GuestRam {
    /// RAM of these extents, given in any order.
    pub fn new(mut extents: Vec<Extent>) -> Result<Self, ExtentError> {
        sort_by_key(&mut extents, |e| e.ipa);
        let mut end = 0;
        for e in &extents {
            if e.len == 0 || (e.ipa.0 | e.pa.0 | e.len) % PAGE_SIZE != 0 {
                return Err(ExtentError::Unaligned);
            }
            if e.ipa.0 < end {
                return Err(ExtentError::Overlap);
            }
            end = e.ipa.0.checked_add(e.len).ok_or(ExtentError::TooHigh)?;
            e.pa.checked_add(e.len).ok_or(ExtentError::TooHigh)?;
        }
        Ok(Self { extents })
    }

    /// The extents, in ascending order of guest addresses.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }

    /// Where the byte at `ipa` is, and how many of `len` bytes from there on follow it contiguously on the board.
    #[inline]
    pub fn translate(&self, ipa: Ipa, len: u64) -> Option<(Pa, u64)> {
        for e in &self.extents {
            let inside = ipa.0.wrapping_sub(e.ipa.0);
            if inside < e.len {
                return Some((e.pa.offset(inside), len.min(e.len - inside)));
            }
        }
        None
    }

    /// The physical pieces of a range, in order; an [`Outside`] ends them where the range leaves RAM. There are at most
    /// as many as there are extents, whatever the length.
    #[inline]
    pub fn pieces(&self, ipa: Ipa, len: u64) -> Pieces<'_> {
        Pieces { ram: self, at: ipa, left: len }
    }

    /// Whether all of the range is RAM.
    pub fn contains(&self, ipa: Ipa, len: u64) -> bool {
        self.pieces(ipa, len).all(|piece| piece.is_ok())
    }

    /// Copies guest bytes out. On an error `into` holds nothing of use.
    #[inline]
    pub fn read(&self, hw: &impl Hw, ipa: Ipa, into: &mut [u8]) -> Result<(), Outside> {
        match self.translate(ipa, into.len() as u64) {
            Some((pa, len)) if len == into.len() as u64 => {
                hw.read(pa, into);
                Ok(())
            }
            Some(_) => self.read_pieces(hw, ipa, into),
            None => Err(Outside),
        }
    }

    /// Copies bytes to the guest: all of them, or none on an error.
    #[inline]
    pub fn write(&self, hw: &impl Hw, ipa: Ipa, from: &[u8]) -> Result<(), Outside> {
        match self.translate(ipa, from.len() as u64) {
            Some((pa, len)) if len == from.len() as u64 => {
                hw.write(pa, from);
                Ok(())
            }
            Some(_) => self.write_pieces(hw, ipa, from),
            None => Err(Outside),
        }
    }

    /// Loads a 16-bit ring index, with acquire ordering; an odd address is refused as outside.
    #[inline]
    pub fn load_u16_acquire(&self, hw: &impl Hw, ipa: Ipa) -> Result<u16, Outside> {
        self.aligned_u16(ipa).map(|pa| hw.load_u16_acquire(pa))
    }

    /// Stores a 16-bit ring index, with release ordering; an odd address is refused as outside.
    #[inline]
    pub fn store_u16_release(&self, hw: &impl Hw, ipa: Ipa, value: u16) -> Result<(), Outside> {
        self.aligned_u16(ipa).map(|pa| hw.store_u16_release(pa, value))
    }

    /// Extents are whole pages, so what is aligned for the guest is aligned on the board and in one piece.
    #[inline]
    fn aligned_u16(&self, ipa: Ipa) -> Result<Pa, Outside> {
        if !ipa.is_aligned(2) {
            return Err(Outside);
        }
        self.translate(ipa, 2).map(|(pa, _)| pa).ok_or(Outside)
    }

    #[cold]
    fn read_pieces(&self, hw: &impl Hw, ipa: Ipa, mut into: &mut [u8]) -> Result<(), Outside> {
        for piece in self.pieces(ipa, into.len() as u64) {
            let (pa, len) = piece?;
            let (now, later) = into.split_at_mut_checked(len as usize).ok_or(Outside)?;
            hw.read(pa, now);
            into = later;
        }
        Ok(())
    }

    #[cold]
    fn write_pieces(&self, hw: &impl Hw, ipa: Ipa, mut from: &[u8]) -> Result<(), Outside> {
        if !self.contains(ipa, from.len() as u64) {
            return Err(Outside);
        }
        for piece in self.pieces(ipa, from.len() as u64) {
            let (pa, len) = piece?;
            let (now, later) = from.split_at_checked(len as usize).ok_or(Outside)?;
            hw.write(pa, now);
            from = later;
        }
        Ok(())
    }
}

/// Iterator of [`GuestRam::pieces`].
pub struct Pieces<'a> {
    ram: &'a GuestRam,
    at: Ipa,
    left: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Result<(Pa, u64), Outside>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some((pa, len)) = self.ram.translate(self.at, self.left) else {
            self.left = 0;
            return Some(Err(Outside));
        };
        self.left -= len;
        // The end of an extent fits 64 bits, so this sum does.
        self.at = self.at.offset(len);
        Some(Ok((pa, len)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::hw::fake::FakeHw;

    fn extent(ipa: u64, pa: u64, len: u64) -> Extent {
        Extent { ipa: Ipa(ipa), pa: Pa(pa), len }
    }

    /// Two pages that follow each other for the guest only, and one further off.
    fn ram() -> GuestRam {
        let extents = vec![
            extent(0x4000_1000, 0x8000_5000, 0x1000),
            extent(0x4000_0000, 0x8000_2000, 0x1000),
            extent(0x5000_0000, 0x8000_0000, 0x1000),
        ];
        GuestRam::new(extents).unwrap()
    }

    #[test]
    fn an_address_is_translated_with_what_follows_contiguously() {
        let ram = ram();
        assert_eq!(ram.translate(Ipa(0x4000_0ff0), 0x100), Some((Pa(0x8000_2ff0), 0x10)));
        assert_eq!(ram.translate(Ipa(0x5000_0ff0), 0x100), Some((Pa(0x8000_0ff0), 0x10)));
        assert_eq!(ram.translate(Ipa(0x4000_2000), 1), None);
        assert_eq!(ram.translate(Ipa(0x3fff_ffff), 1), None);
        assert_eq!(ram.size(), 0x3000);
    }

    #[test]
    fn a_range_over_two_extents_has_two_pieces_and_one_that_leaves_ram_an_error() {
        let ram = ram();
        let pieces: Vec<_> = ram.pieces(Ipa(0x4000_0800), 0x1000).collect();
        assert_eq!(pieces, [Ok((Pa(0x8000_2800), 0x800)), Ok((Pa(0x8000_5000), 0x800))]);
        let pieces: Vec<_> = ram.pieces(Ipa(0x4000_1800), u64::MAX).collect();
        assert_eq!(pieces, [Ok((Pa(0x8000_5800), 0x800)), Err(Outside)]);
    }

    #[test]
    fn bytes_are_copied_across_extents_and_a_write_that_leaves_ram_writes_nothing() {
        let (ram, hw) = (ram(), FakeHw::new(Pa(0x8000_0000), 0x10000));
        ram.write(&hw, Ipa(0x4000_0ffe), &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 4];
        ram.read(&hw, Ipa(0x4000_0ffe), &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
        assert_eq!(hw.memory.borrow()[0x2ffe..0x3000], [1, 2]);
        assert_eq!(hw.memory.borrow()[0x5000..0x5002], [3, 4]);

        assert_eq!(ram.write(&hw, Ipa(0x4000_1ffe), &[9; 4]), Err(Outside));
        assert_eq!(hw.memory.borrow()[0x5ffe..0x6000], [0, 0]);
        assert_eq!(ram.read(&hw, Ipa(u64::MAX), &mut back), Err(Outside));
    }

    #[test]
    fn an_odd_ring_index_is_refused() {
        let (ram, hw) = (ram(), FakeHw::new(Pa(0x8000_0000), 0x10000));
        ram.store_u16_release(&hw, Ipa(0x4000_0ffe), 0x1234).unwrap();
        assert_eq!(ram.load_u16_acquire(&hw, Ipa(0x4000_0ffe)), Ok(0x1234));
        assert_eq!(ram.load_u16_acquire(&hw, Ipa(0x4000_0fff)), Err(Outside));
        assert_eq!(ram.load_u16_acquire(&hw, Ipa(0x6000_0000)), Err(Outside));
    }

    #[test]
    fn extents_that_make_no_ram_are_refused() {
        let new = |extents: &[Extent]| GuestRam::new(extents.to_vec()).err();
        assert_eq!(new(&[extent(0, 0, 0)]), Some(ExtentError::Unaligned));
        assert_eq!(new(&[extent(0x800, 0, 0x1000)]), Some(ExtentError::Unaligned));
        let top = u64::MAX - 0xfff;
        assert_eq!(new(&[extent(top, 0, 0x1000)]), Some(ExtentError::TooHigh));
        assert_eq!(new(&[extent(0, top, 0x1000)]), Some(ExtentError::TooHigh));
        let twice = [extent(0x1000, 0, 0x1000), extent(0, 0x4000, 0x2000)];
        assert_eq!(new(&twice), Some(ExtentError::Overlap));
        assert_eq!(new(&[]), None);
    }
}
