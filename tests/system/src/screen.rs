//! The console as one reader sees it, taken apart again into who said what.
//!
//! The focused guest is raw; whole lines of others come as `name| line`, between them (the focused guest's unfinished
//! line is then erased and shown again); a change of focus is a line of its own. That is the console's own promise, so
//! a mistake in it shows up here as a test that does not find its line.

use std::collections::BTreeMap;

/// Tessera's own lines.
pub const TESSERA: &str = "tessera";
/// What the monitor shows who opened it.
pub const MONITOR: &str = "monitor";

/// What a panic begins with.
const PANIC: &str = "TESSERA PANIC on core";
const ERASE_LINE: &[u8] = b"\r\x1b[K";
const HEADER: &str = "--- ";
/// The ends of a header: of a guest's, and of the monitor's.
const HEADER_ENDS: [&str; 2] = [" (Ctrl-] switches) ---", " (Ctrl-\\ returns) ---"];

/// What was shown so far.
#[derive(Debug, Default)]
pub struct Screen {
    /// Whole lines of each, each with `\n`.
    said: BTreeMap<String, String>,
    focus: String,
    line: Vec<u8>,
    panicked: bool,
}

impl Screen {
    /// Nothing was shown; these are the guests, of which the first has the focus.
    pub fn new(guests: &[&str]) -> Self {
        let names = guests.iter().chain([&TESSERA]);
        Self {
            said: names.map(|name| (name.to_string(), String::new())).collect(),
            focus: guests.first().unwrap_or(&TESSERA).to_string(),
            line: Vec::new(),
            panicked: false,
        }
    }

    /// Takes what the console sent.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ => self.line.push(byte),
            }
            if self.line.ends_with(ERASE_LINE) {
                self.line.clear();
            }
        }
    }

    /// Whether Tessera said that it panicked.
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    /// Who has the focus.
    pub fn focus(&self) -> &str {
        &self.focus
    }

    /// All that `who` said, with the unfinished line if that is on the screen.
    pub fn said(&self, who: &str) -> String {
        let whole = self.said.get(who).map_or("", String::as_str);
        if who == self.focus { format!("{whole}{}", plain(&self.line)) } else { whole.to_string() }
    }

    /// Everybody, with what they said.
    pub fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.said.keys().map(|who| (who.as_str(), self.said(who)))
    }

    fn end_line(&mut self) {
        let line = plain(&std::mem::take(&mut self.line));
        if let Some(focus) = header(&line) {
            self.focus = focus.to_string();
            return;
        }
        self.panicked |= line.contains(PANIC);
        let labelled = line.split_once("| ").filter(|(name, _)| self.said.contains_key(*name));
        let (who, text) = labelled.unwrap_or((&self.focus, &line));
        let said = self.said.entry(who.to_string()).or_default();
        said.push_str(text);
        said.push('\n');
    }
}

/// Whoever is given the focus by a line.
fn header(line: &str) -> Option<&str> {
    let who = line.strip_prefix(HEADER)?;
    HEADER_ENDS.iter().find_map(|end| who.strip_suffix(end))
}

/// A line without its carriage returns at the end and without control sequences.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::new();
    let mut rest = text.trim_end_matches('\r').chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' if rest.next() == Some('[') => {
                // A control sequence ends with its first letter (ECMA-48 5.4).
                let _ = rest.find(|c| ('@'..='~').contains(c));
            }
            '\x1b' | '\r' | '\x07' => {}
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(text: &str) -> Screen {
        let mut screen = Screen::new(&["web", "db"]);
        text.bytes().for_each(|byte| screen.feed(&[byte]));
        screen
    }

    #[test]
    fn raw_output_is_the_focused_guests_and_labels_name_the_others() {
        let screen = screen("hello\r\ndb| of db\r\ntessera| of ours\r\nnobody| x\r\nprompt# ");
        assert_eq!(screen.said("web"), "hello\nnobody| x\nprompt# ");
        assert_eq!(screen.said("db"), "of db\n");
        assert_eq!(screen.said(TESSERA), "of ours\n");
    }

    #[test]
    fn a_line_that_was_erased_and_shown_again_counts_once() {
        let screen = screen("web# ls\x1b\\\x1b[0m\r\x1b[Kdb| line\r\nweb# ls\r\na b\r\n");
        assert_eq!(screen.said("web"), "web# ls\na b\n");
        assert_eq!(screen.said("db"), "line\n");
    }

    #[test]
    fn a_header_moves_the_focus() {
        let screen = screen("a\r\n--- db (Ctrl-] switches) ---\r\nb\r\nweb| c\r\n");
        assert_eq!(screen.focus(), "db");
        assert_eq!((screen.said("web"), screen.said("db")), ("a\nc\n".into(), "b\n".into()));
    }

    #[test]
    fn the_monitor_has_the_focus_while_it_is_open() {
        let text = "a\r\n--- monitor (Ctrl-\\ returns) ---\r\ntessera> top\r\ndb| b\r\nNAME\r\n--- web (Ctrl-] switches) ---\r\nc";
        let screen = screen(text);
        assert_eq!(screen.said(MONITOR), "tessera> top\nNAME\n");
        assert_eq!((screen.said("web"), screen.said("db")), ("a\nc".into(), "b\n".into()));
    }

    #[test]
    fn control_sequences_are_no_text() {
        assert_eq!(screen("\x1b[1;31mred\x1b[m\x1b[6n\x07 \r\r\n").said("web"), "red \n");
    }
}
