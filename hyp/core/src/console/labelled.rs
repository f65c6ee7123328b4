//! Tessera's own lines without a console: while it boots, and when it panics.

use core::fmt;

use super::plain::Plain;

/// The name before Tessera's own lines. No guest may have it.
pub const TESSERA: &str = "tessera";

/// What stands between a name and its line.
pub(super) const MARK: &str = "| ";

/// Writes text as lines `tessera| text`, byte by byte to `put`. Text of others within is made harmless.
pub struct Labelled<F: FnMut(u8)> {
    put: F,
    plain: Plain,
    in_line: bool,
}

impl<F: FnMut(u8)> Labelled<F> {
    /// A writer at the begin of a line.
    pub fn new(put: F) -> Self {
        Self { put, plain: Plain::default(), in_line: false }
    }

    fn line(&mut self, text: &str) {
        if !self.in_line {
            TESSERA.bytes().chain(MARK.bytes()).for_each(&mut self.put);
            self.in_line = true;
        }
        self.plain.filter(text.as_bytes(), &mut self.put);
    }
}

impl<F: FnMut(u8)> fmt::Write for Labelled<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(line) => {
                    self.line(line);
                    (self.put)(b'\r');
                    (self.put)(b'\n');
                    self.plain.line_end();
                    self.in_line = false;
                }
                None => self.line(part),
            }
        }
        Ok(())
    }
}
