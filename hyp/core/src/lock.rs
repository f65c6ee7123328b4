//! The one kind of lock: whoever waits is served in turn, and whoever waits too long says so.
//!
//! Problem: EL2 runs with interrupts masked, so a core that waits for a lock which nobody gives back is silent for ever.
//! And a plain spin lock promises nobody a turn: a guest that has a lock taken again and again could starve a core of another
//! guest.
//!
//! Idea: as long as nobody waits this is spin's lock and one look more. Who does not get it draws a number and waits for his
//! turn, and newcomers stand behind: so a core waits for the others once each, and what each does under a lock is bounded
//! (docs/architecture.md). A core that has looked [`PATIENCE`] times in vain has found a mistake of ours, and panics: the
//! message names what the lock protects and where it was wanted, the back-trace is of the core that waits.
//!
//! Idea not taken: a deadline by the counter. This crate has no clock, and a core's own passes are the better measure: an
//! emulator that stands still, or firmware that keeps the core, does not make time pass.

use core::any::type_name;
use core::fmt;
use core::hint;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::MutexGuard;

/// Times that a core looks for its turn: some seconds on a Cortex-A72 (about five cycles each), some more on an emulator.
const PATIENCE: u32 = 1 << 30;

/// Something that one core at a time uses.
pub struct Mutex<T> {
    inner: spin::Mutex<T>,
    /// How many wait.
    waiting: AtomicU32,
    /// The number that the next one to wait draws.
    next: AtomicU32,
    /// Whose turn it is among those who wait.
    turn: AtomicU32,
}

impl<T> Mutex<T> {
    /// A lock that nobody has.
    pub const fn new(value: T) -> Self {
        Self {
            inner: spin::Mutex::new(value),
            waiting: AtomicU32::new(0),
            next: AtomicU32::new(0),
            turn: AtomicU32::new(0),
        }
    }

    /// Waits until it is this core's turn.
    ///
    /// # Panics
    ///
    /// Nobody gave the lock back for seconds.
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(guard) = self.inner.try_lock()
        {
            return guard;
        }
        self.wait(PATIENCE)
    }

    /// Takes the lock if nobody has it or waits for it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.waiting.load(Ordering::Relaxed) == 0 { self.inner.try_lock() } else { None }
    }

    /// The value, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn wait(&self, patience: u32) -> MutexGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        for _ in 0..patience {
            if self.turn.load(Ordering::Relaxed) == number
                && !self.inner.is_locked()
                && let Some(guard) = self.inner.try_lock()
            {
                self.turn.store(number.wrapping_add(1), Ordering::Relaxed);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return guard;
            }
            hint::spin_loop();
        }
        panic!("the lock of {} is not given back", type_name::<T>())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_all_get_their_turns() {
        let lock = Mutex::new(0u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut value = lock.lock();
                        let seen = *value;
                        hint::spin_loop();
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 80_000);
        assert_eq!(lock.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_waits_is_served_in_order_and_before_whoever_comes_later() {
        let lock = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let guard = lock.lock();
            for n in 0..3 {
                let lock = &lock;
                scope.spawn(move || lock.lock().push(n));
                // Each in line before the next comes.
                while lock.waiting.load(Ordering::Relaxed) <= n {
                    thread::yield_now();
                }
            }
            assert!(lock.try_lock().is_none());
            drop(guard);
            lock.lock().push(3);
        });
        assert_eq!(*lock.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn whoever_takes_it_again_and_again_starves_nobody() {
        let (lock, done) = (Mutex::new(()), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _guard = lock.lock();
                    thread::sleep(Duration::from_micros(20));
                }
            });
            for _ in 0..100 {
                drop(lock.lock());
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    #[should_panic(expected = "the lock of alloc::vec::Vec<u8> is not given back")]
    fn whoever_waits_too_long_says_for_what() {
        let lock = Mutex::new(Vec::<u8>::new());
        let _held = lock.lock();
        lock.wait(1000);
    }
}
