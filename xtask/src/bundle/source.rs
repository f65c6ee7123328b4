//! A configuration's text: compiled by dtc, and found again by node and property.
//!
//! dtc tells where it read each node and property when it prints a tree with `-T -T`: a comment behind each line. These
//! are collected; no second parser of the language is needed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A configuration and where its parts were written.
pub struct Source {
    dts: PathBuf,
    blob: Vec<u8>,
    /// By `/node/path`, or `/node/path:property`.
    spans: HashMap<String, Span>,
}

/// A place in a source file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Name of the file, as the user gave it.
    pub file: String,
    /// First line, counted from 1.
    pub line: usize,
    /// First column and the one behind the last, counted from 1; of the first line only.
    columns: (usize, Option<usize>),
}

impl Source {
    /// Compiles `dts`; dtc's own errors name file, line and column.
    pub fn compile(dts: &Path, dtc: &Path) -> Result<Self> {
        let blob = run(dtc, dts, &["-O", "dtb"])?;
        let text = String::from_utf8(run(dtc, dts, &["-O", "dts", "-T", "-T"])?)
            .with_context(|| format!("{} is not UTF-8", dts.display()))?;
        let mut source = Self { dts: dts.into(), blob, spans: HashMap::new() };
        source.collect(&text);
        Ok(source)
    }

    /// The compiled tree.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Name of the file, as the user gave it.
    pub fn name(&self) -> String {
        self.dts.display().to_string()
    }

    /// Where the property is, or where it is not: then its node.
    pub fn find(&self, node: &str, property: Option<&str>) -> Option<Span> {
        let node = if node.is_empty() { "/" } else { node };
        let property = property.and_then(|name| self.spans.get(&format!("{node}:{name}")));
        property.or_else(|| self.spans.get(node)).cloned()
    }

    /// The line with the place underlined.
    pub fn excerpt(&self, span: &Span) -> Option<String> {
        let path =
            if span.file == self.name() { self.dts.clone() } else { PathBuf::from(&span.file) };
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().nth(span.line.checked_sub(1)?)?;
        let start = span.columns.0.saturating_sub(1);
        let end = span.columns.1.map_or(line.chars().count(), |end| end.saturating_sub(1));
        let indent: String =
            line.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marks = "^".repeat(end.saturating_sub(start).max(1));
        let number = span.line.to_string();
        let margin = " ".repeat(number.len());
        Some(format!("  {number} | {line}\n  {margin} | {indent}{marks}"))
    }

    /// Reads the annotated text: a statement a line, or several lines of one, each with its comment.
    fn collect(&mut self, text: &str) {
        let mut path: Vec<String> = Vec::new();
        let mut in_statement = false;
        for line in text.lines().map(str::trim) {
            let (statement, comment) = split_comment(line);
            if let Some(name) = statement.strip_suffix('{') {
                let name = without_labels(name.trim());
                path.push(if name == "/" { String::new() } else { name.into() });
                self.note(&path, None, comment);
            } else if statement == "};" {
                path.pop();
            } else if !in_statement && !path.is_empty() && !statement.is_empty() {
                let name = without_labels(statement);
                let name = name.split([' ', ';', '=']).next().unwrap_or_default();
                self.note(&path, Some(name), comment);
            }
            in_statement = !statement.is_empty() && !statement.ends_with([';', '{', '}']);
        }
    }

    fn note(&mut self, path: &[String], property: Option<&str>, comment: Option<&str>) {
        let Some(span) = comment.and_then(|comment| self.span(comment)) else { return };
        let node = if path.len() == 1 { "/".into() } else { path.join("/") };
        let key = property.map_or(node.clone(), |name| format!("{node}:{name}"));
        self.spans.entry(key).or_insert(span);
    }

    /// `FILE:LINE:COLUMN-LINE:COLUMN`, with the later places of a statement in several pieces behind a comma.
    fn span(&self, comment: &str) -> Option<Span> {
        let first = comment.split(", ").next()?;
        let mut parts = first.rsplitn(4, ':');
        let end_column = parts.next()?.parse().ok()?;
        let (start_column, end_line) = parts.next()?.split_once('-')?;
        let line = parts.next()?.parse().ok()?;
        let same_line = end_line.parse() == Ok(line);
        let columns = (start_column.parse().ok()?, same_line.then_some(end_column));
        let file = parts.next()?;
        // dtc shortens the name of the file that it was given; the user's own name for it is the better one.
        let given = self.dts.file_name().is_some_and(|name| name == file);
        let file = if given { self.name() } else { file.into() };
        Some(Span { file, line, columns })
    }
}

/// The statement and the text of the comment at the end of the line.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    let parts = line.strip_suffix(" */").and_then(|line| line.rsplit_once("/* "));
    parts.map_or((line, None), |(statement, comment)| (statement.trim_end(), Some(comment)))
}

fn without_labels(text: &str) -> &str {
    text.rsplit_once(": ")
        .filter(|(labels, _)| !labels.contains('='))
        .map_or(text, |(_, rest)| rest)
}

fn run(dtc: &Path, dts: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(dtc)
        .args(["-q", "-I", "dts"])
        .args(arguments)
        .arg(dts)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {}", dtc.display()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let errors = words.lines().map(|line| line.trim_start_matches("Error: "));
    let errors: Vec<&str> = errors.filter(|line| !line.starts_with("FATAL ERROR")).collect();
    match errors.is_empty() {
        true => bail!("{}: {}", dts.display(), words.trim()),
        false => bail!("the configuration is no device-tree source\n{}", errors.join("\n")),
    }
}
