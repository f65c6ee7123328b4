//! Bytes to and from the buffers of a chain, for devices whose data is copied because it is little.

use super::queue::{Queue, QueueError};
use crate::guest_mem::GuestRam;
use crate::hw::Hw;

/// Writes `bytes` to the buffers of the chain at `head`: how many of them had room.
pub fn fill(
    queue: &Queue,
    hw: &impl Hw,
    ram: &GuestRam,
    head: u16,
    bytes: &[u8],
) -> Result<u32, QueueError> {
    let mut rest = bytes;
    queue.walk(hw, ram, head, |buffer| {
        let room = rest.len().min(buffer.len as usize);
        if let Some((now, later)) = rest.split_at_checked(room).filter(|_| buffer.write) {
            if !now.is_empty() {
                ram.write(hw, buffer.at, now)?;
            }
            rest = later;
        }
        Ok(())
    })?;
    Ok((bytes.len() - rest.len()) as u32)
}

/// Copies what the chain at `head` has behind its first `skip` bytes for the device to read into `into`: how many bytes
/// that were, and whether they were the last of the chain.
pub fn copy(
    queue: &Queue,
    hw: &impl Hw,
    ram: &GuestRam,
    head: u16,
    skip: u64,
    into: &mut [u8],
) -> Result<(usize, bool), QueueError> {
    let (mut skip, mut copied, mut all) = (skip, 0, true);
    queue.walk(hw, ram, head, |buffer| {
        let len = if buffer.write { 0 } else { u64::from(buffer.len) };
        let skipped = skip.min(len);
        skip -= skipped;
        let rest = into.get_mut(copied..).unwrap_or(&mut []);
        let wanted = len - skipped;
        let now = wanted.min(rest.len() as u64);
        all &= now == wanted;
        if let Some(part) = rest.get_mut(..now as usize).filter(|part| !part.is_empty()) {
            let at = buffer.at.checked_add(skipped).ok_or(QueueError::Outside)?;
            ram.read(hw, at, part)?;
            copied += part.len();
        }
        Ok(())
    })?;
    Ok((copied, all))
}
