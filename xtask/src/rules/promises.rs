//! What the documents promise is held by tests that they name: those have to be there, also when somebody renames one.

use std::collections::HashSet;

use super::{File, Problem};

/// A name of fewer words may be anything. A test's name is a sentence.
const FEWEST_WORDS: usize = 5;

/// The names of all functions.
pub struct Functions<'a>(HashSet<&'a str>);

impl<'a> Functions<'a> {
    pub fn of(files: &'a [File]) -> Self {
        let sources = files.iter().filter(|file| file.name.ends_with(".rs"));
        let lines = sources.filter_map(|file| file.text.as_deref()).flat_map(str::lines);
        Self(
            lines
                .filter_map(|line| line.trim().strip_prefix("fn ")?.split(['(', '<']).next())
                .collect(),
        )
    }
}

/// Checks a page below `docs/`. Decisions (`docs/adr/`) are not edited, and tell of what was then.
pub fn check(file: &File, functions: &Functions<'_>) -> Vec<Problem> {
    if !file.name.starts_with("docs/") || file.name.starts_with("docs/adr/") {
        return Vec::new();
    }
    let text = file.text.as_deref().unwrap_or_default();
    let named = text.lines().enumerate().flat_map(|(index, line)| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        line.split(move |c| !is_part(c)).map(move |word| (index + 1, word))
    });
    named
        .filter(|(_, word)| word.split('_').filter(|part| !part.is_empty()).count() >= FEWEST_WORDS)
        .filter(|(_, word)| !functions.0.contains(word))
        .map(|(number, word)| file.problem(number, format!("there is no test {word}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_a_document_names_is_missed_when_it_is_not_there() {
        let file = |name: &str, text: &str| File { name: name.into(), text: Some(text.into()) };
        let source = file("a.rs", "#[test]\n    fn each_guest_has_its_own_memory() {}\n");
        let files = [source];
        let functions = Functions::of(&files);
        let page = "| `m: each_guest_has_its_own_memory`, `each_guest_has_its_own_disk` |";
        let found = check(&file("docs/a.md", page), &functions);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("own_disk"), "{}", found[0]);
        assert_eq!(check(&file("docs/a.md", "restart_256m of NEIGHBOUR"), &functions), []);
        assert_eq!(check(&file("docs/adr/1.md", page), &functions), []);
    }
}
