//! Words in messages: lists of them, and what was meant by a wrong one.

/// Names in a sentence.
pub(crate) struct List<'a>(pub(crate) &'a [&'a str]);

impl core::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The one of `known` that `name` may be a slip of: at most two letters wrong, missing or too many.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|&near| (distance(name.as_bytes(), near.as_bytes()), near));
    distances
        .min()
        .filter(|&(distance, near)| distance <= 2 && distance < near.len() / 2)
        .map(|(_, near)| near)
}

/// As [`nearest`], for names that may be short: no more than two thirds of one may be wrong.
pub(crate) fn nearest_name<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|&near| (distance(name.as_bytes(), near.as_bytes()), near));
    let is_near =
        |&(distance, near): &(usize, &str)| distance <= 2 && 3 * distance <= 2 * near.len();
    distances.filter(is_near).min().map(|(_, near)| near)
}

/// Levenshtein's distance, of the first letters.
fn distance(a: &[u8], b: &[u8]) -> usize {
    const MOST: usize = 32;
    let (a, b) = (a.get(..MOST).unwrap_or(a), b.get(..MOST).unwrap_or(b));
    // `row[i]`: from the letters of `b` so far to the first `i` of `a`.
    let mut row: [usize; MOST + 1] = core::array::from_fn(|index| index);
    for (above, letter_b) in b.iter().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, letter_a) in row.iter_mut().skip(1).zip(a) {
            let here = (diagonal + usize::from(letter_a != letter_b)).min(left + 1).min(*cell + 1);
            (diagonal, left, *cell) = (*cell, here, here);
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.get(a.len()).copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_what_was_meant() {
        let known = ["vcpus", "cpus", "cpu-policy", "memory", "kernel", "ramdisk"];
        assert_eq!(nearest("memmory", &known), Some("memory"));
        assert_eq!(nearest("vcpu", &known), Some("vcpus"));
        assert_eq!(nearest("cpu_policy", &known), Some("cpu-policy"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest_name("wbe", &["db", "web"]), Some("web"));
        assert_eq!(nearest_name("xy", &["db", "web"]), None);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }
}
