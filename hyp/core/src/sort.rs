//! Sorts short lists, or such as are nearly in order: of memory.
//!
//! Idea not taken: `sort_unstable_by_key` of `core`, which is quicker for long ones and 2 KiB of code for each type.

/// Sorts by `key`, by insertion: in as many steps as pairs are out of order.
pub(crate) fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    for end in 2..=list.len() {
        let mut rest = list.get_mut(..end).unwrap_or_default();
        while let [.., before, last] = rest
            && key(before) > key(last)
        {
            core::mem::swap(before, last);
            let shorter = rest.len() - 1;
            rest = rest.get_mut(..shorter).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_becomes_the_one() {
        let mut seed = 0x7e55_e7a7_u64;
        for length in 0..40 {
            let mut list: std::vec::Vec<u64> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed >> 59
                })
                .collect();
            let mut want = list.clone();
            want.sort();
            sort_by_key(&mut list, |number| *number);
            assert_eq!(list, want);
        }
    }
}
