//! Where kernel, ramdisk and device tree go in a guest's memory.

use super::{ImageError, Kernel};
use crate::addr::Ipa;

/// Kernels want to be `text_offset` behind a multiple of this (booting.rst).
const KERNEL_ALIGN: u64 = 2 << 20;
/// Ramdisk and device tree begin at a page, so that either can be mapped or given away alone.
const PAGE: u64 = crate::addr::PAGE_SIZE;
/// A device tree may not be longer (booting.rst).
pub const MAX_TREE_BYTES: u64 = 2 << 20;

/// Where the parts of a guest are before it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The kernel's first byte, which is its first instruction.
    pub kernel: Ipa,
    /// The ramdisk's first byte.
    pub ramdisk: Ipa,
    /// The device tree's first byte.
    pub tree: Ipa,
}

/// Places `kernel`, a ramdisk and a device tree of these sizes in `size` bytes of memory from `base` on.
///
/// The kernel is as low as it may be, since kernels of old cannot use memory below them. Behind all that it takes come
/// the device tree and the ramdisk; so the rest of the memory is in one piece, and all lies within the 1 GiB window that
/// booting.rst asks for whenever it can.
pub fn place(
    base: Ipa,
    size: u64,
    kernel: &Kernel<'_>,
    ramdisk_bytes: u64,
    tree_bytes: u64,
) -> Result<Placement, ImageError> {
    let align_up = |at: u64| at.checked_next_multiple_of(PAGE);
    let places = || {
        let kernel_at = base
            .0
            .checked_next_multiple_of(KERNEL_ALIGN)?
            .checked_add(kernel.header.text_offset)?;
        let tree = align_up(kernel_at.checked_add(kernel.memory_bytes())?)?;
        let ramdisk = align_up(tree.checked_add(tree_bytes.max(PAGE))?)?;
        let end = ramdisk.checked_add(ramdisk_bytes)?;
        let need = end.checked_sub(base.0)?;
        Some((Placement { kernel: Ipa(kernel_at), ramdisk: Ipa(ramdisk), tree: Ipa(tree) }, need))
    };
    match places() {
        Some((placement, need)) if need <= size && tree_bytes <= MAX_TREE_BYTES => Ok(placement),
        Some((_, need)) => Err(ImageError::NoRoom { need, have: size }),
        None => Err(ImageError::NoRoom { need: u64::MAX, have: size }),
    }
}
