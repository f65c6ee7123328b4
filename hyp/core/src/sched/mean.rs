//! The virtual time of the tasks that want a core: the mean of theirs, each as often as it weighs.
//!
//! It is what each would have run, over its weight, if all had run at once and each got its part of the core: who is behind
//! it has had less than that, and who is ahead more ("virtual time", Stoica et al., "Earliest eligible virtual deadline
//! first", 1995). It is known exactly without looking at them all, for it moves by what the current one does.

/// The mean of some virtual times, which are like a clock's hands: they run over the end of 64 bits.
#[derive(Debug)]
pub(super) struct Mean {
    /// What `sum` is relative to.
    from: u64,
    /// Of the virtual times less `from`, each as often as it weighs.
    sum: i64,
    weight: u64,
}

impl Mean {
    /// From here on, and so far below nothing, `sum` is counted from the mean again.
    const FAR: i64 = 1 << 61;

    /// Of none. It is `virt` until there is one.
    pub const fn new(virt: u64) -> Self {
        Self { from: virt, sum: 0, weight: 0 }
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.from.wrapping_add_signed(self.ahead())
    }

    /// What it is, from which it is counted on.
    pub fn settle(&mut self) -> u64 {
        let ahead = self.ahead();
        self.sum = self.sum.wrapping_sub(ahead.wrapping_mul(self.weight as i64));
        self.from = self.from.wrapping_add_signed(ahead);
        self.from
    }

    /// One at `virt` is among them.
    #[inline]
    pub fn join(&mut self, virt: u64, weight: u64) {
        self.sum = self.sum.wrapping_add(self.part(virt, weight));
        self.weight += weight;
    }

    /// One at `virt` is not among them any more.
    #[inline]
    pub fn leave(&mut self, virt: u64, weight: u64) {
        self.sum = self.sum.wrapping_sub(self.part(virt, weight));
        self.weight -= weight;
        if self.weight == 0 {
            self.from = virt;
        }
    }

    /// One of them went on, by `work` if it weighed nothing more than one, which is less than [`Mean::FAR`].
    #[inline]
    pub fn advance(&mut self, work: u64) {
        self.sum = self.sum.wrapping_add_unsigned(work);
        if self.sum >= Self::FAR {
            self.settle();
        }
    }

    fn ahead(&self) -> i64 {
        self.sum.checked_div(self.weight as i64).unwrap_or(0)
    }

    /// Who is among them is not so far from their mean that this overflows.
    #[inline]
    fn part(&self, virt: u64, weight: u64) -> i64 {
        (virt.wrapping_sub(self.from) as i64).wrapping_mul(weight as i64)
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
        // Near the end of 64 bits.
        let mut now = (1u128 << 64) - 1000;
        let (mut mean, mut all) = (Mean::new(now as u64), Vec::<(u128, u64)>::new());
        for _ in 0..20_000 {
            now = now.wrapping_add_signed(mean.get().wrapping_sub(now as u64) as i64 as i128);
            match random.below(4) {
                0 => {
                    let new = (now - 5000 + u128::from(random.below(10_000)), 1 + random.below(9));
                    mean.join(new.0 as u64, new.1);
                    all.push(new);
                }
                1 if !all.is_empty() => {
                    let (virt, weight) = all.swap_remove(random.below(all.len() as u64) as usize);
                    mean.leave(virt as u64, weight);
                }
                2 if !all.is_empty() => {
                    let at = random.below(all.len() as u64) as usize;
                    let steps = random.below(1 << 40);
                    all[at].0 += u128::from(steps);
                    mean.advance(steps * all[at].1);
                }
                _ => assert_eq!(mean.settle(), now as u64),
            }
            let weight: u64 = all.iter().map(|one| one.1).sum();
            let sum: u128 = all.iter().map(|one| one.0 * u128::from(one.1)).sum();
            if weight > 0 {
                let wrong = mean.get().wrapping_sub((sum / u128::from(weight)) as u64) as i64;
                assert!(wrong.abs() <= 1, "{wrong}");
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
