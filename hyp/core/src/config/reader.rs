//! Typed reading of one node: what is missing, unknown or of another type becomes a [`Problem`].

use alloc::format;
use alloc::string::String;

use super::problem::{Problem, Problems, short};
use crate::fdt::{Node, Property};

/// A node being read. What it says of problems is put into words only when there is one.
pub(super) struct Reader<'a, 'p> {
    node: Node<'a>,
    /// The way to the node: guest, disk, and what should not be there.
    path: [&'a str; 3],
    problems: &'p mut Problems,
    /// Problems that there were before.
    before: usize,
}

impl<'a, 'p> Reader<'a, 'p> {
    /// Reads `root`.
    pub(super) fn new(root: Node<'a>, problems: &'p mut Problems) -> Self {
        let before = problems.found();
        Self { node: root, path: [""; 3], problems, before }
    }

    /// Reads a node below.
    pub(super) fn below(&mut self, child: Node<'a>) -> Reader<'a, '_> {
        let mut path = self.path;
        if let Some(place) = path.iter_mut().find(|name| name.is_empty()) {
            *place = short(child.name());
        }
        Reader { node: child, path, before: self.problems.found(), problems: self.problems }
    }

    /// Whether nothing was wrong here and below.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.found() == self.before
    }

    /// Notes what is wrong.
    pub(super) fn problem(&mut self, property: Option<&str>, what: String) {
        let names = self.path.iter().filter(|name| !name.is_empty());
        let (node, property) =
            (names.flat_map(|name| ["/", name]).collect(), property.map(Into::into));
        self.problems.push(Problem { node, property, what });
    }

    /// Notes a problem of a node below that was read before.
    pub(super) fn note(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Name of the guest that this node is, or is below.
    pub(super) fn guest(&self) -> &'a str {
        let [guest, ..] = self.path;
        guest
    }

    /// Notes every property that is not in `known` or is there twice.
    pub(super) fn only(&mut self, known: &[&str]) {
        let mut seen = 0u32;
        for property in self.node.properties() {
            let Some(place) = known.iter().position(|name| property.is(name)) else {
                let name = short(property.name());
                let what = match nearest(name, known) {
                    Some(near) => format!("is unknown; did you mean `{near}`?"),
                    None => format!("is unknown; known are {}", List(known)),
                };
                self.problem(Some(name), what);
                continue;
            };
            if seen & 1 << place != 0 {
                self.problem(Some(short(property.name())), "is there twice; keep one".into());
            }
            seen |= 1 << place;
        }
    }

    /// The property, where it is there and `read` can read it; `is` says what it should be.
    fn typed<T>(
        &mut self,
        name: &'static str,
        is: impl FnOnce() -> String,
        read: impl FnOnce(Property<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.node.property(name)?);
        if value.is_none() {
            self.problem(Some(name), format!("is not {}", is()));
        }
        value
    }

    fn required(&mut self, name: &'static str, example: &str) -> Option<()> {
        if self.node.property(name).is_none() {
            self.problem(Some(name), format!("is missing; write for example {example};"));
            return None;
        }
        Some(())
    }

    /// A text of at most `most` bytes that can be shown in one line.
    pub(super) fn text(&mut self, name: &'static str, most: usize) -> Option<&'a str> {
        let is = || format!("a text of up to {most} characters; write {name} = \"…\"");
        let fits = |text: &&str| text.len() <= most && !text.contains(char::is_control);
        self.typed(name, is, |property| property.str().filter(fits))
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &mut self,
        name: &'static str,
        most: usize,
        example: &str,
    ) -> Option<&'a str> {
        self.required(name, example)?;
        self.text(name, most)
    }

    /// A number that must be there.
    pub(super) fn number(&mut self, name: &'static str, example: &str) -> Option<u32> {
        self.required(name, example)?;
        let is = || format!("one number; write for example {example}");
        self.typed(name, is, |property| property.u32())
    }

    /// Numbers that must be there, one at least.
    pub(super) fn cells(
        &mut self,
        name: &'static str,
        example: &str,
    ) -> Option<impl ExactSizeIterator<Item = u32> + use<'a>> {
        self.required(name, example)?;
        let is = || format!("a list of numbers; write for example {example}");
        let whole = |value: &[u8]| !value.is_empty() && value.len().is_multiple_of(4);
        self.typed(name, is, |property| whole(property.value()).then(|| property.cells()))
    }

    /// Whether a property without a value is there.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let is = || format!("without a value; write {name};");
        self.typed(name, is, |property| property.value().is_empty().then_some(())).is_some()
    }
}

/// Names in a sentence.
struct List<'a>(&'a [&'a str]);

impl core::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The one of `known` that `name` may be a slip of: at most two letters wrong, missing or too many.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|&near| (distance(name.as_bytes(), near.as_bytes()), near));
    distances
        .min()
        .filter(|&(distance, near)| distance <= 2 && distance < near.len() / 2)
        .map(|(_, near)| near)
}

/// Levenshtein's distance, of texts that [`short`] cut.
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
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }
}
