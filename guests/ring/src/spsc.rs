//! A ring of words with one sender and one receiver: messages of any length that fits, in order.
//!
//! ```text
//! word 0 head   how many words were ever sent: the sender writes it
//!      8 tail   how many were ever taken: the receiver writes it
//!     16 slots  a power of two; a message is its length in words, and these
//! ```
//!
//! Each side keeps its own count in its own memory and writes it for the other. What the other's count says is believed only if
//! it leaves between nothing and a full ring.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Words before the slots: a cache line for each side.
pub const HEADER: usize = 16;
const HEAD: usize = 0;
const TAIL: usize = 8;

/// Why a message was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// There is no room now.
    Full,
    /// It does not fit into an empty ring.
    TooLong,
    /// The receiver's count cannot be.
    Corrupt,
    /// There is no such member, or it is oneself.
    Nobody,
}

/// Why nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiveError {
    /// The sender's count or the message's length cannot be: nothing comes any more until [`Receiver::skip`].
    Corrupt,
    /// The next message has so many words, more than the buffer. It stays.
    TooLong(usize),
    /// There is no such member, or it is oneself.
    Nobody,
}

/// The words of a ring.
#[derive(Clone, Copy, Debug)]
struct Ring<'a> {
    head: &'a AtomicU64,
    tail: &'a AtomicU64,
    slots: &'a [AtomicU64],
}

impl<'a> Ring<'a> {
    fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let (header, slots) = words.split_at_checked(HEADER)?;
        let ring = Self { head: header.get(HEAD)?, tail: header.get(TAIL)?, slots };
        slots.len().is_power_of_two().then_some(ring)
    }

    fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// What lies between two counts, where that can be.
    fn between(&self, head: u64, tail: u64) -> Option<u64> {
        let words = head.wrapping_sub(tail);
        (words <= self.capacity()).then_some(words)
    }

    /// The `length` slots from a count on: up to the end, and the rest from the beginning. `length` is a ring at most.
    fn run(&self, count: u64, length: usize) -> [&'a [AtomicU64]; 2] {
        let at = count as usize & (self.slots.len() - 1);
        let (before, from) = self.slots.split_at(at);
        let first = length.min(from.len());
        let rest = (length - first).min(before.len());
        [from.get(..first).unwrap_or_default(), before.get(..rest).unwrap_or_default()]
    }

    fn slot(&self, count: u64) -> Option<&'a AtomicU64> {
        self.slots.get(count as usize & (self.slots.len() - 1))
    }
}

/// The side that sends.
#[derive(Debug)]
pub struct Sender<'a> {
    ring: Ring<'a>,
    head: u64,
}

impl<'a> Sender<'a> {
    /// Goes on where the former life's last whole message ended; `None` where the slots are not a power of two.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let ring = Ring::new(words)?;
        let (head, tail) = (ring.head.load(Relaxed), ring.tail.load(Acquire));
        let head = if ring.between(head, tail).is_some() { head } else { tail };
        ring.head.store(head, Release);
        Some(Self { ring, head })
    }

    /// Sends a message whole, or nothing of it.
    pub fn send(&mut self, message: &[u64]) -> Result<(), SendError> {
        let Self { ring, head } = self;
        let needed = message.len() as u64 + 1;
        if needed > ring.capacity() {
            return Err(SendError::TooLong);
        }
        let used = ring.between(*head, ring.tail.load(Acquire)).ok_or(SendError::Corrupt)?;
        if ring.capacity() - used < needed {
            return Err(SendError::Full);
        }
        if let Some(slot) = ring.slot(*head) {
            slot.store(message.len() as u64, Relaxed);
        }
        let [first, rest] = ring.run(head.wrapping_add(1), message.len());
        let (one, other) = message.split_at(first.len());
        store(first, one);
        store(rest, other);
        *head = head.wrapping_add(needed);
        ring.head.store(*head, Release);
        Ok(())
    }
}

/// The side that receives.
#[derive(Debug)]
pub struct Receiver<'a> {
    ring: Ring<'a>,
    tail: u64,
}

impl<'a> Receiver<'a> {
    /// Takes what the former life did not; `None` where the slots are not a power of two.
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let ring = Ring::new(words)?;
        let mut receiver = Self { ring, tail: ring.tail.load(Relaxed) };
        if ring.between(ring.head.load(Acquire), receiver.tail).is_none() {
            receiver.skip();
        }
        Some(receiver)
    }

    /// Drops what is there, and whatever cannot be.
    pub fn skip(&mut self) {
        self.tail = self.ring.head.load(Acquire);
        self.ring.tail.store(self.tail, Release);
    }

    /// Takes the next message into the beginning of `buffer`, if there is one: its length in words.
    pub fn receive(&mut self, buffer: &mut [u64]) -> Result<Option<usize>, ReceiveError> {
        let Self { ring, tail } = self;
        let there = ring.between(ring.head.load(Acquire), *tail).ok_or(ReceiveError::Corrupt)?;
        if there == 0 {
            return Ok(None);
        }
        let length = ring.slot(*tail).map_or(u64::MAX, |slot| slot.load(Relaxed));
        if length >= there {
            return Err(ReceiveError::Corrupt);
        }
        let words = length as usize;
        let Some(buffer) = buffer.get_mut(..words) else {
            return Err(ReceiveError::TooLong(words));
        };
        let [first, rest] = ring.run(tail.wrapping_add(1), words);
        let (one, other) = buffer.split_at_mut(first.len());
        load(first, one);
        load(rest, other);
        *tail = tail.wrapping_add(length + 1);
        ring.tail.store(*tail, Release);
        Ok(Some(words))
    }
}

/// Copies as many as both have. Four at a time, which is what the speed of a ring is.
fn store(slots: &[AtomicU64], words: &[u64]) {
    let ((fours, slots), (from, words)) = (slots.as_chunks(), words.as_chunks());
    for ([a, b, c, d], [w, x, y, z]) in fours.iter().zip(from) {
        a.store(*w, Relaxed);
        b.store(*x, Relaxed);
        c.store(*y, Relaxed);
        d.store(*z, Relaxed);
    }
    slots.iter().zip(words).for_each(|(slot, word)| slot.store(*word, Relaxed));
}

/// As [`store`].
fn load(slots: &[AtomicU64], words: &mut [u64]) {
    let ((fours, slots), (to, words)) = (slots.as_chunks(), words.as_chunks_mut());
    for ([a, b, c, d], four) in fours.iter().zip(to) {
        *four = [a.load(Relaxed), b.load(Relaxed), c.load(Relaxed), d.load(Relaxed)];
    }
    slots.iter().zip(words).for_each(|(slot, word)| *word = slot.load(Relaxed));
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::model::{Chance, words};

    #[test]
    fn messages_of_any_length_come_whole_and_in_order_from_another_thread() {
        let memory = words(HEADER + 64);
        let message = |n: u64| -> Vec<u64> { (0..n % 64).map(|word| n << 8 | word).collect() };
        let mut receiver = Receiver::new(&memory).unwrap();
        let mut sender = Sender::new(&memory).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 0..10_000 {
                    while sender.send(&message(n)) == Err(SendError::Full) {
                        std::thread::yield_now();
                    }
                }
            });
            let mut buffer = [0; 64];
            for n in 0..10_000 {
                let length = loop {
                    match receiver.receive(&mut buffer).unwrap() {
                        Some(length) => break length,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(buffer[..length], message(n));
            }
        });
    }

    #[test]
    fn a_ring_takes_what_fits_and_says_what_does_not() {
        let memory = words(HEADER + 8);
        let (mut sender, mut receiver) =
            (Sender::new(&memory).unwrap(), Receiver::new(&memory).unwrap());
        assert_eq!(sender.send(&[0; 8]), Err(SendError::TooLong));
        assert_eq!(sender.send(&[1; 7]), Ok(()));
        assert_eq!(sender.send(&[]), Err(SendError::Full));
        assert_eq!(receiver.receive(&mut [0; 6]), Err(ReceiveError::TooLong(7)));
        let mut buffer = [0; 9];
        assert_eq!(receiver.receive(&mut buffer), Ok(Some(7)));
        assert_eq!(buffer, [1, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(receiver.receive(&mut buffer), Ok(None));
        for bad in [0, HEADER, HEADER + 7] {
            assert!(Sender::new(&memory[..bad]).is_none());
        }
    }

    #[test]
    fn each_side_can_begin_a_new_life_while_the_other_goes_on() {
        let memory = words(HEADER + 8);
        let mut buffer = [0; 8];
        let mut sender = Sender::new(&memory).unwrap();
        let mut receiver = Receiver::new(&memory).unwrap();
        sender.send(&[1, 2]).unwrap();
        let mut sender = Sender::new(&memory).unwrap();
        sender.send(&[3]).unwrap();
        assert_eq!(receiver.receive(&mut buffer), Ok(Some(2)));
        assert_eq!(receiver.receive(&mut buffer), Ok(Some(1)));
        assert_eq!(buffer[0], 3);
        sender.send(&[4]).unwrap();
        let mut receiver = Receiver::new(&memory).unwrap();
        assert_eq!(receiver.receive(&mut buffer), Ok(Some(1)));
        sender.send(&[6]).unwrap();
        receiver.skip();
        assert_eq!(receiver.receive(&mut buffer), Ok(None));
        sender.send(&[5; 7]).unwrap();
        assert_eq!(receiver.receive(&mut buffer), Ok(Some(7)));
    }

    #[test]
    fn whatever_the_other_side_writes_is_an_error_at_most() {
        let mut chance = Chance::new(1);
        let memory = words(HEADER + 16);
        let mut sender = Sender::new(&memory).unwrap();
        let mut receiver = Receiver::new(&memory).unwrap();
        let mut corrupt = 0;
        for _ in 0..100_000 {
            let word = &memory[chance.below(memory.len() as u64) as usize];
            let near = word.load(Relaxed).wrapping_add(chance.below(40)).wrapping_sub(20);
            word.store(if chance.below(2) == 0 { near } else { chance.next() }, Relaxed);
            let mut buffer = [0; 16];
            let message = &buffer[..chance.below(16) as usize];
            corrupt += u32::from(sender.send(message) == Err(SendError::Corrupt));
            if receiver.receive(&mut buffer) == Err(ReceiveError::Corrupt) {
                corrupt += 1;
                receiver.skip();
                assert_ne!(receiver.receive(&mut buffer), Err(ReceiveError::Corrupt));
            }
            if chance.below(8) == 0 {
                sender = Sender::new(&memory).unwrap();
            }
        }
        assert!(corrupt > 1000);
    }
}
