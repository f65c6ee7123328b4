//! Work that whoever comes by does, one at a time.
//!
//! Problem: the monitor has no core of its own, and a core that comes by with something for it must not wait for another that
//! is at it. Idea: who finds another at it leaves word and goes on; who was at it looks for word after letting go, and is told
//! that there is more. Whoever leaves word comes in time: either he finds that nobody is at it, or who is finds the word.
//!
//! Idea not taken: to do it again for as long as there is word. Others may leave it as fast as it is read, and the core that
//! happened to be at it would never come back to its guest.

use core::sync::atomic::{AtomicBool, Ordering, fence};

use crate::lock::Mutex;

/// The work's state, and whether there is something that whoever is at it has not seen.
#[derive(Default, Debug)]
pub struct Errand<T> {
    word: AtomicBool,
    state: Mutex<T>,
}

impl<T> Errand<T> {
    /// Work that nobody is at.
    pub const fn new(state: T) -> Self {
        Self { word: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Does `work` where nobody is at it, and leaves word otherwise. Returns what it came to and whether others left word
    /// meanwhile: then it is to be done again, soon.
    pub fn run<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<(R, bool)> {
        self.word.store(true, Ordering::Relaxed);
        // Either this core sees that nobody is at it, or who is sees the word after it let go.
        fence(Ordering::SeqCst);
        let mut state = self.state.try_lock()?;
        self.word.store(false, Ordering::Relaxed);
        let done = work(&mut state);
        drop(state);
        fence(Ordering::SeqCst);
        Some((done, self.word.load(Ordering::Relaxed)))
    }

    /// Looks at the state, where nobody is at the work.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.state.try_lock().map(|state| look(&state))
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    #[test]
    fn who_finds_another_at_it_leaves_word_once() {
        let errand = Errand::new(0);
        let (inner, word) = errand.run(|_| (errand.run(|n| *n += 1), errand.look(|n| *n))).unwrap();
        assert_eq!((inner, word), ((None, None), true));
        assert_eq!(errand.run(|n| core::mem::replace(n, 5)), Some((0, false)));
        assert_eq!(errand.look(|n| *n), Some(5));
    }

    #[test]
    fn whoever_leaves_word_all_the_time_keeps_nobody_at_it() {
        let errand = Errand::new(());
        let mut times = 0;
        for _ in 0..10 {
            let (_, word) = errand.run(|()| errand.run(|()| ())).unwrap();
            times += u32::from(word);
        }
        assert_eq!(times, 10, "each call came back, and told that there was more");
    }

    #[test]
    fn nothing_that_is_left_to_others_stays_undone() {
        const EACH: u32 = 20_000;
        let (errand, due) = (Errand::new(0), AtomicU32::new(0));
        let come_by = || {
            for _ in 0..EACH {
                due.fetch_add(1, Ordering::Relaxed);
                while errand
                    .run(|done| *done += due.swap(0, Ordering::Relaxed))
                    .is_some_and(|it| it.1)
                {}
            }
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(come_by);
            }
        });
        assert_eq!(errand.look(|done| *done), Some(3 * EACH));
        assert_eq!(due.load(Ordering::Relaxed), 0);
    }
}
