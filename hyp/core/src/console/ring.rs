//! A bounded queue of bytes, allocated once.

use alloc::vec::Vec;
use core::fmt;

/// First in, first out; holds at most what it was made for.
#[derive(Debug)]
pub(super) struct Ring {
    /// As long as the places that were ever used: memory that nobody reads yet is not cleared at boot.
    bytes: Vec<u8>,
    capacity: usize,
    first: usize,
    len: usize,
}

impl Ring {
    /// An empty queue for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), capacity, first: 0, len: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn room(&self) -> usize {
        self.capacity - self.len
    }

    pub(super) fn clear(&mut self) {
        (self.first, self.len) = (0, 0);
    }

    /// Appends `byte`; says whether there was room.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) -> bool {
        if self.room() == 0 {
            return false;
        }
        let at = self.wrap(self.first + self.len);
        match self.bytes.get_mut(at) {
            Some(place) => *place = byte,
            // The first place that was not used yet: they are taken in order.
            None => self.bytes.push(byte),
        }
        self.len += 1;
        true
    }

    /// Takes the oldest byte.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u8> {
        let byte = self.peek(0)?;
        self.first = self.wrap(self.first + 1);
        self.len -= 1;
        Some(byte)
    }

    /// Takes the oldest bytes, as many as `into` holds: how many there were.
    pub(super) fn take(&mut self, into: &mut [u8]) -> usize {
        let mut count = 0;
        // At most twice: up to the end of the memory, and on from its start.
        while let Some(to) = into.get_mut(count..).filter(|to| !to.is_empty() && self.len > 0) {
            let end = self.bytes.len().min(self.first + self.len);
            let stored = self.bytes.get(self.first..end).unwrap_or_default();
            let mut taken = 0;
            for (to, from) in to.iter_mut().zip(stored) {
                *to = *from;
                taken += 1;
            }
            if taken == 0 {
                break;
            }
            self.first = self.wrap(self.first + taken);
            self.len -= taken;
            count += taken;
        }
        count
    }

    /// The byte `index` places behind the oldest.
    pub(super) fn peek(&self, index: usize) -> Option<u8> {
        if index >= self.len {
            return None;
        }
        self.bytes.get(self.wrap(self.first + index)).copied()
    }

    /// Both summands are below the capacity, so one subtraction does for a division.
    fn wrap(&self, at: usize) -> usize {
        if at >= self.capacity { at - self.capacity } else { at }
    }
}

/// Text is cut off where the ring is full.
impl fmt::Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.push(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_however_often_the_ring_wraps() {
        let mut ring = Ring::new(5);
        let (mut next_in, mut next_out) = (0u8, 0u8);
        for step in 0..1000 {
            for _ in 0..step % 7 {
                if ring.push(next_in) {
                    next_in = next_in.wrapping_add(1);
                } else {
                    assert_eq!(ring.len(), 5);
                }
            }
            for _ in 0..step % 4 {
                if let Some(byte) = ring.pop() {
                    assert_eq!(byte, next_out);
                    next_out = next_out.wrapping_add(1);
                } else {
                    assert!(ring.is_empty());
                }
            }
            let mut several = [0; 3];
            let (waiting, wanted) = (ring.len(), step % 4);
            let count = ring.take(&mut several[..wanted]);
            assert_eq!(count, waiting.min(wanted));
            for byte in &several[..count] {
                assert_eq!(*byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
            assert_eq!(ring.peek(0).is_none(), ring.is_empty());
            assert_eq!(ring.len() + ring.room(), 5);
        }
    }

    #[test]
    fn a_ring_for_nothing_takes_nothing() {
        let mut ring = Ring::new(0);
        assert!(!ring.push(1));
        assert_eq!(ring.pop(), None);
    }
}
