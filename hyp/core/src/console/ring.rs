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
    /// Bytes before `first` that were taken and are still there.
    kept: usize,
}

impl Ring {
    /// An empty queue for `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), capacity, first: 0, len: 0, kept: 0 }
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
        (self.first, self.len, self.kept) = (0, 0, 0);
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
        self.kept = self.kept.min(self.room());
        true
    }

    /// Appends `bytes`, as many as there is room for.
    pub(super) fn push_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes.get(..self.room()).unwrap_or(bytes);
        // At most twice: up to the end of the memory, and on from its start.
        while !rest.is_empty() {
            let at = self.wrap(self.first + self.len);
            let Some((now, later)) = rest.split_at_checked(rest.len().min(self.capacity - at))
            else {
                break;
            };
            match self.bytes.get_mut(at..at + now.len()) {
                Some(places) => places.copy_from_slice(now),
                None => {
                    // Up to places that were not used yet: they are taken in order.
                    self.bytes.truncate(at);
                    self.bytes.extend_from_slice(now);
                }
            }
            self.len += now.len();
            rest = later;
        }
        self.kept = self.kept.min(self.room());
    }

    /// Takes the oldest byte.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u8> {
        let byte = self.peek(0)?;
        self.first = self.wrap(self.first + 1);
        self.len -= 1;
        self.kept += 1;
        Some(byte)
    }

    /// Takes the oldest `count` bytes without a look at them.
    pub(super) fn skip(&mut self, count: usize) {
        let count = count.min(self.len);
        self.first = self.wrap(self.first + count);
        self.len -= count;
        self.kept += count;
    }

    /// The bytes that wait, oldest first: up to the end of the memory, and from its start.
    pub(super) fn waiting(&self) -> [&[u8]; 2] {
        let end = self.first + self.len;
        let first = self.bytes.get(self.first..end.min(self.bytes.len()));
        let second = self.bytes.get(..end.saturating_sub(self.capacity));
        [first.unwrap_or_default(), second.unwrap_or_default()]
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
            self.kept += taken;
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

    /// How many bytes that were taken are still there.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// The byte that was taken `back` takes ago; 1 is the last one.
    pub(super) fn look_back(&self, back: usize) -> Option<u8> {
        if back == 0 || back > self.kept {
            return None;
        }
        self.bytes.get(self.wrap(self.first + self.capacity - back)).copied()
    }

    /// Forgets the last `count` of the bytes that were taken.
    pub(super) fn forget(&mut self, count: usize) {
        // The place behind the last byte that waits must not move, so this is for a ring in which none waits.
        let count = if self.is_empty() { count.min(self.kept) } else { 0 };
        self.first = self.wrap(self.first + self.capacity - count);
        self.kept -= count;
    }

    /// Takes back the `count` bytes that were appended last.
    pub(super) fn retract(&mut self, count: usize) {
        self.len -= count.min(self.len);
    }

    /// Both summands are below the capacity, so one subtraction does for a division.
    fn wrap(&self, at: usize) -> usize {
        if at >= self.capacity { at - self.capacity } else { at }
    }
}

/// Text is cut off where the ring is full.
impl fmt::Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_all(text.as_bytes());
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
            for back in 1..=ring.kept() {
                assert_eq!(ring.look_back(back), Some(next_out.wrapping_sub(back as u8)));
            }
            assert_eq!(ring.look_back(ring.kept() + 1), None);
            assert_eq!(ring.look_back(0), None);
            assert_eq!(ring.len() + ring.room(), 5);
        }
    }

    #[test]
    fn many_bytes_at_once_are_as_many_one_by_one() {
        let (mut one, mut all) = (Ring::new(7), Ring::new(7));
        let mut byte = 0u8;
        for step in 0..1000usize {
            let bytes: Vec<u8> = (0..step % 10).map(|n| byte.wrapping_add(n as u8)).collect();
            byte = byte.wrapping_add(step as u8);
            bytes.iter().for_each(|&byte| _ = one.push(byte));
            all.push_all(&bytes);
            assert_eq!(all.waiting().concat(), one.waiting().concat());
            let waiting: Vec<u8> = (0..).map_while(|index| one.peek(index)).collect();
            assert_eq!(all.waiting().concat(), waiting);
            if step % 11 == 0 {
                one.retract(2);
                all.retract(2);
            }
            let count = step % 6;
            (0..count).for_each(|_| _ = one.pop());
            all.skip(count);
            assert_eq!((all.len(), all.kept()), (one.len(), one.kept()));
            if step % 13 == 0 {
                one.forget(2);
                all.forget(2);
            }
            if step % 101 == 0 {
                one.clear();
                all.clear();
            }
            for back in 1..=one.kept() {
                assert_eq!(all.look_back(back), one.look_back(back));
            }
        }
    }

    #[test]
    fn what_was_appended_or_taken_last_can_be_forgotten() {
        let mut ring = Ring::new(4);
        b"abcdef".iter().for_each(|&byte| {
            ring.push(byte);
            ring.pop();
        });
        assert_eq!((ring.kept(), ring.look_back(4)), (4, Some(b'c')));
        ring.forget(2);
        assert_eq!((ring.kept(), ring.look_back(1)), (2, Some(b'd')));
        b"xyz".iter().for_each(|&byte| assert!(ring.push(byte)));
        assert_eq!((ring.kept(), ring.look_back(1)), (1, Some(b'd')));
        ring.retract(2);
        assert_eq!((ring.pop(), ring.pop(), ring.look_back(2)), (Some(b'x'), None, Some(b'd')));
    }

    #[test]
    fn a_ring_for_nothing_takes_nothing() {
        let mut ring = Ring::new(0);
        assert!(!ring.push(1));
        assert_eq!(ring.pop(), None);
    }
}
