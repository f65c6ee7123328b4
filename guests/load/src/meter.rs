//! Work, and the time that it was given.

use core::hint::black_box;

use tessera_rt::{cpu, timer};

/// A gap between two looks that is longer was somebody else's turn: EL2 takes less for anything that it does for this guest,
/// and gives no turn that is shorter than an eighth of the wake-up latency, which tests leave at a millisecond or more.
/// Where a machine emulates its cores in turns, the turns of [`work`] are shorter too.
const GAP_MICROS: u64 = 50;
/// Multiplications of [`compute`].
const WORK: u64 = 100;

/// A piece of work, as [`compute`]. The YIELD at its end lets an emulator that runs one core after the other go to the next, so
/// that those that compute at the same time get on together.
#[inline(never)]
pub fn work() {
    compute();
    cpu::give_way();
}

/// A piece of work of a few hundred instructions, the same each time.
#[inline(always)]
pub fn compute() {
    let mut value = 1u64;
    for n in 0..WORK {
        value = black_box(value.wrapping_mul(n | 1));
    }
}

/// What passed since it was made, by the counter, and how much of that others had.
pub struct Meter {
    began: u64,
    last: u64,
    away: u64,
    turns: u64,
    /// The shortest time between two looks, which is all that is between them.
    step: u64,
    gap: u64,
}

impl Meter {
    /// From now on.
    pub fn begin() -> Self {
        let began = timer::now();
        let gap = timer::ticks(GAP_MICROS);
        Self { began, last: began, away: 0, turns: 0, step: gap, gap }
    }

    /// Takes note that the guest runs, and gives the time.
    #[inline(always)]
    pub fn look(&mut self) -> u64 {
        let now = timer::now();
        let gap = now - self.last;
        if gap > self.gap {
            self.away += gap - self.step;
            self.turns += 1;
        }
        self.step = self.step.min(gap);
        self.last = now;
        now
    }

    /// Ticks that passed.
    pub fn passed(&self) -> u64 {
        self.last - self.began
    }

    /// Ticks of those in which this CPU ran.
    pub fn given(&self) -> u64 {
        self.passed() - self.away
    }

    /// The same in millionths of what passed.
    pub fn given_ppm(&self) -> u64 {
        ppm(self.given(), self.passed())
    }

    /// How often others had a turn.
    pub fn turns(&self) -> u64 {
        self.turns
    }
}

/// Millionths.
pub fn ppm(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 1_000_000 / u128::from(whole.max(1))) as u64
}

/// Ticks as nanoseconds.
pub fn nanos(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(timer::frequency())) as u64
}

/// Works until this CPU has run for so many ticks.
pub fn work_for(ticks: u64) {
    let mut meter = Meter::begin();
    while meter.given() < ticks {
        work();
        meter.look();
    }
}
