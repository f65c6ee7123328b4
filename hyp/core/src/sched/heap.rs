//! Tasks in the order of a key: a binary heap that knows where each of them is, so that any can be taken out.
//!
//! Keys are times, virtual or the counter's, and compared like a clock's hands: those in one heap are less than 2^63 apart, and
//! may run over the end of 64 bits.

use alloc::boxed::Box;

use super::{TASKS, TaskId};

/// Whether time `a` comes before `b`.
#[inline]
pub(super) fn is_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// A task and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub key: u64,
    pub id: TaskId,
}

/// Each task at most once.
#[derive(Debug)]
pub(super) struct Heap {
    items: Box<[Item; TASKS]>,
    len: usize,
    /// Where in `items` each task is, if it is the one there.
    at: Box<[u8; TASKS]>,
}

impl Heap {
    /// Empty, and with room for all tasks.
    pub fn new() -> Self {
        let nothing = Item { key: 0, id: TaskId(0) };
        Self { items: Box::new([nothing; TASKS]), len: 0, at: Box::new([0; TASKS]) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The earliest.
    #[inline]
    pub fn peek(&self) -> Option<Item> {
        self.item(0)
    }

    /// All, the earliest first and the others in no order.
    pub fn iter(&self) -> impl Iterator<Item = Item> {
        self.items.iter().copied().take(self.len)
    }

    /// Puts `id`, which is not in it, where `key` belongs.
    pub fn insert(&mut self, id: TaskId, key: u64) {
        self.len += 1;
        self.rise(self.len - 1, Item { key, id });
    }

    /// Takes `id` out; whether it was in it.
    pub fn remove(&mut self, id: TaskId) -> bool {
        let at = usize::from(self.at[id.index()]);
        if self.item(at).is_none_or(|item| item.id != id) {
            return false;
        }
        self.len -= 1;
        if at < self.len {
            let last = self.items[self.len % TASKS];
            let at = self.sink(at, last);
            self.rise(at, last);
        }
        true
    }

    /// Takes the earliest out, if there is one.
    #[inline]
    pub fn remove_first(&mut self) {
        let Some(left) = self.len.checked_sub(1) else { return };
        self.len = left;
        if left > 0 {
            let last = self.items[left % TASKS];
            let at = self.sink(0, last);
            self.put(at, last);
        }
    }

    /// What is at a place that is in use.
    #[inline]
    fn item(&self, at: usize) -> Option<Item> {
        (at < self.len).then(|| self.items[at % TASKS])
    }

    /// Moves the hole at `at` towards the root until `item` may fill it.
    fn rise(&mut self, mut at: usize, item: Item) {
        while at > 0
            && let above = self.items[(at - 1) / 2 % TASKS]
            && is_before(item.key, above.key)
        {
            self.put(at, above);
            at = (at - 1) / 2;
        }
        self.put(at, item);
    }

    /// Moves the hole at `at` away from the root until `item` may be in it; where it is then.
    fn sink(&mut self, mut at: usize, item: Item) -> usize {
        while let Some(left) = self.item(2 * at + 1) {
            let (mut child, mut below) = (2 * at + 1, left);
            if let Some(right) = self.item(child + 1)
                && is_before(right.key, left.key)
            {
                (child, below) = (child + 1, right);
            }
            if !is_before(below.key, item.key) {
                break;
            }
            self.put(at, below);
            at = child;
        }
        at
    }

    fn put(&mut self, at: usize, item: Item) {
        self.items[at % TASKS] = item;
        self.at[item.id.index()] = at as u8;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::{BTreeMap, Entry};

    use super::*;
    use crate::fuzz::Random;

    #[test]
    fn tasks_come_out_in_the_order_of_their_keys_whatever_was_taken_out_between() {
        let mut random = Random(0x4ea9);
        let (mut heap, mut model) = (Heap::new(), BTreeMap::new());
        // Around the end of 64 bits.
        let origin = u64::MAX - 500;
        for _ in 0..20_000 {
            let id = TaskId(random.next() as u8);
            if random.below(2) == 0 {
                assert_eq!(heap.remove(id), model.remove(&id).is_some());
                if let Some(first) = heap.peek().filter(|_| random.below(4) == 0) {
                    heap.remove_first();
                    model.remove(&first.id);
                }
            } else if let Entry::Vacant(place) = model.entry(id) {
                let after = *place.insert(random.below(1000));
                heap.insert(id, origin.wrapping_add(after));
            }
            assert_eq!((heap.len(), heap.is_empty()), (model.len(), model.is_empty()));
            let first = heap.peek().map(|item| item.key.wrapping_sub(origin));
            assert_eq!(first, model.values().min().copied());
            let of = |item: &Item| model.get(&item.id).map(|after| origin.wrapping_add(*after));
            assert!(heap.iter().all(|item| of(&item) == Some(item.key)));
        }
        while let Some(item) = heap.peek() {
            let least = model.values().min().copied();
            assert_eq!(Some(item.key.wrapping_sub(origin)), least);
            assert!(heap.remove(item.id) && !heap.remove(item.id));
            model.remove(&item.id);
        }
        assert!(model.is_empty());
    }

    #[test]
    fn all_tasks_of_a_board_fit_without_more_memory() {
        let mut heap = Heap::new();
        (0..=u8::MAX).for_each(|id| heap.insert(TaskId(id), u64::from(id ^ 0x55)));
        assert_eq!(heap.len(), TASKS);
        assert_eq!(heap.peek(), Some(Item { key: 0, id: TaskId(0x55) }));
    }
}
