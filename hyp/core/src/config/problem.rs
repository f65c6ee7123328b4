//! What is wrong with a configuration, in words.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Most problems that are kept: a screenful and more. The bytes may be anyone's, and each problem takes memory.
const MAX_PROBLEMS: usize = 64;
/// Longest piece of someone's text in a message.
const MAX_QUOTE: usize = 64;

/// One thing wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Path of the node, `/web/disk`; empty for the root.
    pub node: String,
    /// The property, where it is about one.
    pub property: Option<String>,
    /// What is wrong and what to do.
    pub what: String,
}

impl Problem {
    /// The guest that it is about; empty where it is about none.
    pub fn guest(&self) -> &str {
        self.node.split('/').nth(1).unwrap_or("")
    }
}

/// `web/cpus: what is wrong; what to do`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = Shown(self.node.strip_prefix('/').unwrap_or(""));
        match &self.property {
            Some(property) => write!(f, "{node}/{}: {}", Shown(property), self.what),
            None if node.0.is_empty() => write!(f, "/: {}", self.what),
            None => write!(f, "{node}: {}", self.what),
        }
    }
}

/// A name out of the tree, which may be anything, without what would drive a terminal.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        self.0.chars().try_for_each(|c| fmt::Write::write_char(f, plain(c)))
    }
}

/// Problems as they are found.
#[derive(Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    found: usize,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.found += 1;
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        }
    }

    /// How many there were, those not kept among them.
    pub(super) fn found(&self) -> usize {
        self.found
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.kept
    }
}

/// The beginning of someone's text, to be shown.
pub(super) fn short(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_QUOTE).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or("")
}
