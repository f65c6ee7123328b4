//! All to all: a ring from each member to each other.

use core::sync::atomic::AtomicU64;

use crate::{HEADER, MAX_MEMBERS, Peers, ReceiveError, Receiver, SendError, Sender};

/// Words of the region that rings of `slots` words between so many members take.
pub const fn mesh_words(members: usize, slots: usize) -> usize {
    members * members * (HEADER + slots)
}

/// A member's ends of the rings to and from all others.
#[derive(Debug)]
pub struct Mesh<'a> {
    to: [Option<Sender<'a>>; MAX_MEMBERS],
    from: [Option<Receiver<'a>>; MAX_MEMBERS],
    members: usize,
    /// Whose turn it is to be heard.
    next: usize,
}

impl<'a> Mesh<'a> {
    /// The rings at the beginning of `words`, of `slots` words each; `None` where these do not fit or are not a power of two.
    pub fn new(words: &'a [AtomicU64], slots: usize, peers: &impl Peers) -> Option<Self> {
        let (me, members) = (peers.me(), peers.members());
        if me >= members || members > MAX_MEMBERS || !slots.is_power_of_two() {
            return None;
        }
        let length = slots.checked_add(HEADER)?;
        let words = words.get(..length.checked_mul(members * members)?)?;
        let ring = |from: usize, to: usize| {
            let is_one = from != to && from < members && to < members;
            words.chunks_exact(length).nth(from * members + to).filter(|_| is_one)
        };
        Some(Self {
            to: core::array::from_fn(|to| ring(me, to).and_then(Sender::new)),
            from: core::array::from_fn(|from| ring(from, me).and_then(Receiver::new)),
            members,
            next: 0,
        })
    }

    /// Sends a message to a member. Who sleeps is to be rung then.
    pub fn send(&mut self, to: usize, message: &[u64]) -> Result<(), SendError> {
        let ring = self.to.get_mut(to).and_then(Option::as_mut);
        ring.ok_or(SendError::Nobody)?.send(message)
    }

    /// Takes the next message of a member, if there is one: its length.
    pub fn receive_from(
        &mut self,
        from: usize,
        buffer: &mut [u64],
    ) -> Result<Option<usize>, ReceiveError> {
        let ring = self.from.get_mut(from).and_then(Option::as_mut);
        ring.ok_or(ReceiveError::Nobody)?.receive(buffer)
    }

    /// Takes a message of anybody, in turn: from whom, and its length. An error names whose ring it is about, and the others'
    /// turns come before that one's next.
    pub fn receive(
        &mut self,
        buffer: &mut [u64],
    ) -> Result<Option<(usize, usize)>, (usize, ReceiveError)> {
        for _ in 0..self.members {
            let from = self.next;
            self.next = (from + 1) % self.members;
            let ring = self.from.get_mut(from).and_then(Option::as_mut);
            match ring.map(|ring| ring.receive(buffer)) {
                Some(Ok(Some(length))) => return Ok(Some((from, length))),
                Some(Err(error)) => return Err((from, error)),
                None | Some(Ok(None)) => {}
            }
        }
        Ok(None)
    }

    /// Drops what there is of a member, and whatever cannot be.
    pub fn skip(&mut self, from: usize) {
        if let Some(ring) = self.from.get_mut(from).and_then(Option::as_mut) {
            ring.skip();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::model::{Group, words};

    #[test]
    fn each_member_hears_each_other_and_in_order() {
        const MEMBERS: usize = 8;
        const MESSAGES: u64 = 200;
        let memory = words(mesh_words(MEMBERS, 16));
        let group = Group::up(MEMBERS);
        let meet = std::sync::Barrier::new(MEMBERS);
        std::thread::scope(|scope| {
            for me in 0..MEMBERS {
                let (memory, group, meet) = (&memory, &group, &meet);
                scope.spawn(move || {
                    let mut mesh = Mesh::new(memory, 16, &group.member(me)).unwrap();
                    meet.wait();
                    let (mut sent, mut heard) = ([0; MEMBERS], [0; MEMBERS]);
                    sent[me] = MESSAGES;
                    heard[me] = MESSAGES;
                    while sent.iter().chain(&heard).any(|count| *count < MESSAGES) {
                        for (to, sent) in sent.iter_mut().enumerate() {
                            if *sent < MESSAGES && mesh.send(to, &[*sent, me as u64]) == Ok(()) {
                                *sent += 1;
                            }
                        }
                        let mut buffer = [0; 2];
                        while let Some((from, 2)) = mesh.receive(&mut buffer).unwrap() {
                            assert_eq!(buffer, [heard[from], from as u64]);
                            heard[from] += 1;
                        }
                        std::thread::yield_now();
                    }
                });
            }
        });
    }

    #[test]
    fn a_ring_that_lies_keeps_nobody_else_from_being_heard() {
        let memory = words(mesh_words(3, 8));
        let group = Group::up(3);
        let [mut zero, mut two] =
            [0, 2].map(|me| Mesh::new(&memory, 8, &group.member(me)).unwrap());
        // The head of the ring from 1 to 0.
        memory[3 * (HEADER + 8)].store(77, Relaxed);
        two.send(0, &[5]).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(zero.receive(&mut buffer), Err((1, ReceiveError::Corrupt)));
        assert_eq!(zero.receive(&mut buffer), Ok(Some((2, 1))));
        zero.skip(1);
        assert_eq!(zero.receive(&mut buffer), Ok(None));
        assert_eq!(zero.send(0, &[]), Err(SendError::Nobody));
        assert_eq!(zero.send(3, &[]), Err(SendError::Nobody));
        assert_eq!(zero.receive_from(99, &mut buffer), Err(ReceiveError::Nobody));
        assert!(Mesh::new(&memory[1..], 8, &group.member(0)).is_none());
        assert!(Mesh::new(&memory, 7, &group.member(0)).is_none());
    }
}
