//! A bucket that pays for what a guest makes others read: a burst passes, then one at a time.

/// What may still pass.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bucket {
    /// The time at which the bucket is full again (generic cell rate algorithm, ITU-T I.371 A.1).
    full_at: u64,
}

/// How much passes.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: u64,
    /// Seconds for which one more passes.
    pub seconds: u64,
}

impl Bucket {
    /// An empty clock and a full bucket.
    pub const fn new() -> Self {
        Self { full_at: 0 }
    }

    /// Asks for one at time `now` of a counter of `hz`: whether it is the last one for a while. The error is the time at which
    /// one passes again.
    pub fn take(&mut self, now: u64, hz: u64, rate: Rate) -> Result<bool, u64> {
        let price = hz.saturating_mul(rate.seconds);
        let most = price.saturating_mul(rate.burst);
        let full_at = self.full_at.max(now).saturating_add(price);
        let owed = full_at - now;
        if owed > most {
            return Err(full_at - most);
        }
        self.full_at = full_at;
        Ok(owed.saturating_add(price) > most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1000;
    const RATE: Rate = Rate { burst: 8, seconds: 4 };

    #[test]
    fn a_burst_passes_and_then_one_every_few_seconds() {
        let mut bucket = Bucket::new();
        // One every 10 ms for 400 seconds.
        let asks = (0..400 * HZ).step_by(10).filter(|&now| bucket.take(now, HZ, RATE).is_ok());
        assert_eq!(asks.count() as u64, RATE.burst - 1 + 400 / RATE.seconds);
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let mut bucket = Bucket::new();
        let again = loop {
            if let Err(again) = bucket.take(5, HZ, RATE) {
                break again;
            }
        };
        assert_eq!(bucket.take(again - 1, HZ, RATE), Err(again));
        assert_eq!(bucket.take(again, HZ, RATE), Ok(true), "and no more for a while");
    }

    #[test]
    fn whoever_is_quiet_has_his_burst_again() {
        let mut bucket = Bucket::new();
        while bucket.take(0, HZ, RATE).is_ok() {}
        let later = RATE.burst * RATE.seconds * HZ;
        for n in 1..=RATE.burst {
            assert_eq!(bucket.take(later, HZ, RATE), Ok(n == RATE.burst));
        }
        assert!(bucket.take(later, HZ, RATE).is_err());
    }

    #[test]
    fn a_clock_that_is_extreme_or_goes_back_stops_nothing() {
        let mut bucket = Bucket::new();
        for now in [u64::MAX, 0, u64::MAX - 1, 1] {
            for _ in 0..20 {
                let _ = bucket.take(now, u64::MAX, RATE);
                let _ = bucket.take(now, 0, RATE);
            }
        }
        assert!(Bucket::new().take(u64::MAX / 2, HZ, RATE).is_ok());
    }
}
