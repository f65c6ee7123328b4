//! The one kind of lock: whoever waits long is served in turn, and whoever waits too long says so.
//!
//! Problem: EL2 runs with interrupts masked, so a core that waits for a lock which nobody gives back is silent for ever.
//! And a plain spin lock promises nobody a turn: a guest that has a lock taken again and again could starve a core of another
//! guest.
//!
//! Idea: at first everybody competes, as with a plain spin lock. Who has looked [`STARVING`] times in vain draws a number and
//! stands in line, and while somebody does newcomers stand behind: so a core waits that long, and then for the others once
//! each, and what each does under a lock is bounded (docs/architecture.md). Nobody waits for a turn that is not taken: where
//! the lock stays free, whoever is in line takes it, and those who were passed over are in turn whenever they come. A core
//! that has looked [`PATIENCE`] times in vain has found a mistake of ours, and panics: the message names what the lock
//! protects and where it was wanted, the back-trace is of the core that waits.
//!
//! Ideas not taken: turns from the first look on, kept to strictly. Where an emulator has fewer cores than the board, the
//! core whose turn it is may not run for milliseconds: eight guests that print took more than a minute instead of two
//! seconds. And a deadline by the counter: this crate has no clock, and a core's own passes are the better measure. An
//! emulator that stands still, or firmware that keeps the core, does not make time pass.

use core::any::type_name;
use core::fmt;
use core::hint;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::MutexGuard;

/// Times that a core looks for its turn: some seconds on a Cortex-A72 (about five cycles each), some more on an emulator.
const PATIENCE: u32 = 1 << 30;

/// Times that a core looks before it stands in line: about a tenth of a millisecond on a Cortex-A72.
const STARVING: u32 = 1 << 14;

/// Times that a core in line finds the lock free before it takes it out of turn: many times what a core needs to see that its
/// own turn has come.
const ABSENT: u32 = 64;

/// Something that one core at a time uses.
pub struct Mutex<T> {
    inner: spin::Mutex<T>,
    line: Line,
}

/// Those who stand in line for a lock.
struct Line {
    /// How many there are.
    waiting: AtomicU32,
    /// The number that the next one draws.
    next: AtomicU32,
    /// The number whose turn it is; lower ones were passed over and are in turn, too. Changed only by who has the lock.
    turn: AtomicU32,
}

/// A core that waits.
struct Waiter {
    /// Looks until it stands in line.
    early: u32,
    /// The number that it drew then.
    number: Option<u32>,
    /// Looks that are left to it.
    patience: u32,
    /// How often in a row the lock was free, and how often that has to be before it takes it out of turn.
    free: u32,
    absent: u32,
}

impl<T> Mutex<T> {
    /// A lock that nobody has.
    pub const fn new(value: T) -> Self {
        let line =
            Line { waiting: AtomicU32::new(0), next: AtomicU32::new(0), turn: AtomicU32::new(0) };
        Self { inner: spin::Mutex::new(value), line }
    }

    /// Waits until nobody else has it, and takes it.
    ///
    /// # Panics
    ///
    /// Nobody gave the lock back for seconds.
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if self.line.waiting.load(Ordering::Relaxed) == 0
            && let Some(guard) = self.inner.try_lock()
        {
            return guard;
        }
        self.wait()
    }

    /// Takes the lock if nobody has it or stands in line for it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.line.waiting.load(Ordering::Relaxed) == 0 { self.inner.try_lock() } else { None }
    }

    /// The value, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn wait(&self) -> MutexGuard<'_, T> {
        self.wait_as(Waiter::new(STARVING, PATIENCE, ABSENT))
    }

    #[track_caller]
    fn wait_as(&self, mut waiter: Waiter) -> MutexGuard<'_, T> {
        loop {
            waiter.look(&self.line, &|| self.inner.is_locked(), type_name::<T>());
            if let Some(guard) = self.inner.try_lock() {
                waiter.leave(&self.line);
                return guard;
            }
        }
    }
}

impl Waiter {
    const fn new(early: u32, patience: u32, absent: u32) -> Self {
        Self { early, number: None, patience, free: 0, absent }
    }

    /// Returns when the lock can be tried. There is one copy of it, whatever the lock protects: most of waiting is here.
    #[inline(never)]
    #[track_caller]
    fn look(&mut self, line: &Line, is_locked: &dyn Fn() -> bool, what: &str) {
        while self.early > 0 && line.waiting.load(Ordering::Relaxed) == 0 {
            self.early -= 1;
            if !is_locked() {
                return;
            }
            hint::spin_loop();
        }
        self.early = 0;
        let number = *self.number.get_or_insert_with(|| line.draw());
        while self.patience > 0 {
            self.patience -= 1;
            self.free = if is_locked() { 0 } else { self.free + 1 };
            if self.free > 0 && (line.ahead(number) <= 0 || self.free > self.absent) {
                return;
            }
            hint::spin_loop();
        }
        panic!("the lock of {what} is not given back")
    }

    /// It has the lock.
    fn leave(self, line: &Line) {
        if let Some(number) = self.number {
            line.serve(number);
        }
    }
}

impl Line {
    /// Stands in it, with this number.
    fn draw(&self) -> u32 {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How many turns are ahead of who drew `number`.
    fn ahead(&self, number: u32) -> i32 {
        number.wrapping_sub(self.turn.load(Ordering::Relaxed)) as i32
    }

    /// Who drew `number` has the lock now, and leaves the line.
    fn serve(&self, number: u32) {
        if self.ahead(number) >= 0 {
            self.turn.store(number.wrapping_add(1), Ordering::Relaxed);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
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
        assert_eq!(lock.line.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_waits_is_served_in_order_and_before_whoever_comes_later() {
        let lock = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let guard = lock.lock();
            for n in 0..3 {
                let lock = &lock;
                // However long they do not run: the host has other things to do.
                scope.spawn(move || lock.wait_as(Waiter::new(0, PATIENCE, u32::MAX)).push(n));
                // Each in line before the next comes.
                while lock.line.waiting.load(Ordering::Relaxed) <= n {
                    thread::yield_now();
                }
            }
            assert!(lock.try_lock().is_none());
            drop(guard);
            lock.wait_as(Waiter::new(0, PATIENCE, u32::MAX)).push(3);
        });
        assert_eq!(*lock.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_turn_that_is_not_taken_keeps_nobody_waiting_and_is_not_lost() {
        let lock = Mutex::new(0);
        // Somebody draws the first number and does not run.
        let absent = lock.line.draw();
        for _ in 0..100 {
            *lock.lock() += 1;
        }
        assert_eq!((*lock.inner.lock(), lock.line.turn.load(Ordering::Relaxed)), (100, 101));
        assert!(lock.line.ahead(absent) < 0, "when he comes back he is in turn");
        lock.line.serve(absent);
        assert_eq!(lock.line.turn.load(Ordering::Relaxed), 101, "nobody's turn is taken from him");
        assert_eq!(lock.line.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(*lock.lock(), 100);
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
        lock.wait_as(Waiter::new(0, 1000, ABSENT));
    }
}
