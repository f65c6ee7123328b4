//! Changes of a guest's state, until somebody tells them.
//!
//! Problem: a guest that starts anew again and again makes two of them each time, as often as it likes: a line to a program that
//! wants to know all, on a line that answers and the others' changes need too. Idea: they are paid for from a bucket of the
//! guest. While it is empty, only where the guest is by now is kept, and told when there is something in the bucket again, with
//! how many were left out: so whoever listens is never more than a second or so behind.

use alloc::collections::VecDeque;

use super::{State, StopReason};
use crate::bucket::{Bucket, Rate};

/// A change of a guest's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where it is since.
    pub state: State,
    /// Why its life ends or ended, where it does.
    pub reason: Option<StopReason>,
    /// When, on the board's counter.
    pub at: u64,
    /// Changes before this one that were left out since one was told.
    pub left_out: u64,
}

/// What there is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Telling {
    /// Nothing.
    Nothing,
    /// This.
    Now(Change),
    /// Something at this time, on the board's counter.
    Later(u64),
}

/// Changes that are told.
const TOLD: Rate = Rate { burst: 16, seconds: 1 };
/// Changes that are kept for whoever tells them, should that one be slow.
pub(super) const CHANGES_MAX: usize = 16;

/// The changes that were not told yet.
#[derive(Debug)]
pub(super) struct Changes {
    /// The oldest first.
    waiting: VecDeque<Change>,
    bucket: Bucket,
    left_out: u64,
}

impl Changes {
    pub(super) const fn new() -> Self {
        Self { waiting: VecDeque::new(), bucket: Bucket::new(), left_out: 0 }
    }

    pub(super) fn note(&mut self, change: Change) {
        self.keep_last(CHANGES_MAX - 1);
        self.waiting.push_back(change);
    }

    /// Takes the oldest, if it may be told at `now`, on a counter of `hz`.
    pub(super) fn take(&mut self, now: u64, hz: u64) -> Telling {
        if self.waiting.is_empty() {
            return Telling::Nothing;
        }
        if let Err(again) = self.bucket.take(now, hz, TOLD) {
            self.keep_last(1);
            return Telling::Later(again);
        }
        let left_out = core::mem::take(&mut self.left_out);
        let change = self.waiting.pop_front().map(|change| Change { left_out, ..change });
        change.map_or(Telling::Nothing, Telling::Now)
    }

    fn keep_last(&mut self, count: usize) {
        while self.waiting.len() > count {
            self.waiting.pop_front();
            self.left_out += 1;
        }
    }
}
