//! The house rules that a machine can check. There is no list of exceptions: a rule that needs one is a wrong rule.

mod dependencies;
mod links;
mod promises;
mod source;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::proc;

/// A broken rule, where, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A file of the tree.
pub struct File {
    /// Its name relative to the root.
    pub name: String,
    /// Its text, or `None` when it is not text.
    pub text: Option<String>,
}

impl File {
    fn problem(&self, line: usize, what: impl Into<String>) -> Problem {
        Problem { file: self.name.clone(), line, what: what.into() }
    }
}

/// Checks every file that git knows or would add.
pub fn check(root: &Path) -> Result<Vec<Problem>> {
    let files = files(root)?;
    let tests = source::TestModules::of(&files);
    let functions = promises::Functions::of(&files);
    let mut found = Vec::new();
    for file in &files {
        found.extend(text::check(file));
        if file.name.ends_with(".rs") {
            found.extend(source::check(file, &tests));
        } else if file.name.ends_with(".md") {
            found.extend(links::check(file, &files));
            found.extend(promises::check(file, &functions));
        } else if file.name.ends_with("Cargo.toml") {
            found.extend(dependencies::check(file));
        }
    }
    Ok(found)
}

fn files(root: &Path) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let names = proc::output(&mut git).context("the house rules need git's list of files")?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A file that was removed but not yet from git's index is none.
        if let Ok(bytes) = std::fs::read(root.join(name)) {
            let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
            files.push(File { name: name.to_string(), text });
        }
    }
    Ok(files)
}
