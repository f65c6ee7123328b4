//! Typed reading of one node: what is missing, unknown or of another type becomes a [`Problem`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::problem::{Problem, Problems, short};
use crate::fdt::{Node, Property};
use crate::words::{List, nearest};

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

    /// Texts of at most `most` bytes each that can be shown in a line, at most `count` of them.
    pub(super) fn texts(&mut self, name: &'static str, most: usize, count: usize) -> Vec<&'a str> {
        let is = || format!("a list of names; write {name} = \"…\", \"…\"");
        let fits = |text: &&str| {
            !text.is_empty() && text.len() <= most && !text.contains(char::is_control)
        };
        let all = |property: Property<'a>| {
            let texts: Vec<&str> = property.strs().take(count + 1).collect();
            // What is no text is left out by `strs`, so the bytes tell whether all were.
            let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
            let whole = bytes == property.value().len() && texts.len() <= count;
            (whole && texts.iter().all(fits)).then_some(texts)
        };
        self.typed(name, is, all).unwrap_or_default()
    }

    /// A number, where there is one.
    pub(super) fn optional_number(&mut self, name: &'static str, example: &str) -> Option<u32> {
        let is = || format!("one number; write for example {example}");
        self.typed(name, is, |property| property.u32())
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
        self.optional_cells(name, example)
    }

    /// Numbers, one at least, where there are any.
    pub(super) fn optional_cells(
        &mut self,
        name: &'static str,
        example: &str,
    ) -> Option<impl ExactSizeIterator<Item = u32> + use<'a>> {
        let is = || format!("a list of numbers; write for example {example}");
        let whole = |value: &[u8]| !value.is_empty() && value.len().is_multiple_of(4);
        self.typed(name, is, |property| whole(property.value()).then(|| property.cells()))
    }

    /// Whether the property is there, whatever it says.
    pub(super) fn has(&self, name: &str) -> bool {
        self.node.property(name).is_some()
    }

    /// Whether a property without a value is there.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let is = || format!("without a value; write {name};");
        self.typed(name, is, |property| property.value().is_empty().then_some(())).is_some()
    }
}
