//! The virtual time of the tasks that want a core: the mean of theirs, each as often as it weighs.
//!
//! It is what each would have run, over its weight, if all had run at once and each got its part of the core: who is behind
//! it has had less than that, and who is ahead more ("virtual time", Stoica et al., "Earliest eligible virtual deadline
//! first", 1995). It is known exactly without looking at them all, for it moves by what the current one does.

/// The mean of some virtual times.
#[derive(Debug)]
pub(super) struct Mean {
    /// What `sum` is relative to.
    from: u128,
    /// Of the virtual times less `from`, each as often as it weighs.
    sum: i128,
    weight: u64,
}

impl Mean {
    /// Of none. It is `virt` until there is one.
    pub const fn new(virt: u128) -> Self {
        Self { from: virt, sum: 0, weight: 0 }
    }

    /// What it is.
    pub fn get(&self) -> u128 {
        let ahead = match (i64::try_from(self.sum), self.weight as i64) {
            (_, 0) => 0,
            (Ok(sum), weight) => i128::from(sum / weight),
            // After days without a question.
            (Err(_), weight) => self.sum / i128::from(weight),
        };
        self.from.wrapping_add_signed(ahead)
    }

    /// What it is, from which it is counted on.
    pub fn settle(&mut self) -> u128 {
        let mean = self.get();
        let ahead = mean.wrapping_sub(self.from) as i128;
        self.sum -= ahead * i128::from(self.weight);
        self.from = mean;
        mean
    }

    /// One at `virt` is among them.
    #[inline]
    pub fn join(&mut self, virt: u128, weight: u64) {
        self.sum += self.part(virt, weight);
        self.weight += weight;
    }

    /// One at `virt` is not among them any more.
    #[inline]
    pub fn leave(&mut self, virt: u128, weight: u64) {
        self.sum -= self.part(virt, weight);
        self.weight -= weight;
        if self.weight == 0 {
            self.from = virt;
        }
    }

    /// One of them went on, by `work` if it weighed nothing more than one.
    #[inline]
    pub fn advance(&mut self, work: u64) {
        self.sum += i128::from(work);
    }

    fn part(&self, virt: u128, weight: u64) -> i128 {
        (virt.wrapping_sub(self.from) as i128).wrapping_mul(i128::from(weight))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::fuzz::Random;

    #[test]
    fn it_is_the_mean_of_all_that_are_among_them_however_they_came_and_went() {
        let mut random = Random(0x3ea_0001);
        let origin = 1u128 << 64;
        let (mut mean, mut all) = (Mean::new(origin), Vec::<(u128, u64)>::new());
        for _ in 0..20_000 {
            let now = mean.get();
            match random.below(4) {
                0 => {
                    let new = (now - 5000 + u128::from(random.below(10_000)), 1 + random.below(9));
                    mean.join(new.0, new.1);
                    all.push(new);
                }
                1 if !all.is_empty() => {
                    let (virt, weight) = all.swap_remove(random.below(all.len() as u64) as usize);
                    mean.leave(virt, weight);
                }
                2 if !all.is_empty() => {
                    let at = random.below(all.len() as u64) as usize;
                    let steps = random.below(1 << 50);
                    all[at].0 += u128::from(steps);
                    mean.advance(steps * all[at].1);
                }
                _ => assert_eq!(mean.settle(), now),
            }
            let weight: u64 = all.iter().map(|one| one.1).sum();
            let sum: u128 = all.iter().map(|one| one.0 * u128::from(one.1)).sum();
            if weight > 0 {
                assert!(mean.get().abs_diff(sum / u128::from(weight)) <= 1);
            }
        }
    }

    #[test]
    fn where_none_is_left_it_stays_where_the_last_was() {
        let mut mean = Mean::new(500);
        assert_eq!(mean.get(), 500);
        mean.join(700, 3);
        mean.advance(300);
        mean.leave(800, 3);
        assert_eq!(mean.settle(), 800);
    }
}
