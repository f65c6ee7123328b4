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
