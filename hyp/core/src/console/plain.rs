//! Makes a guest's text harmless, so that a labelled line cannot drive the terminal or pass for another's line.
//!
//! Idea: what comes out is printable characters only. Escape sequences are taken out whole (coloured output stays
//! readable), a tab becomes a space, other control characters are shown as `^X`, bytes that are no UTF-8 as `?`.
//! Characters that a terminal obeys rather than draws are taken out as well: the C1 controls, of which U+009B is an
//! ESC [ of its own, and those that change the direction or break the line.

/// Where a guest's text is in an escape sequence (ECMA-48 5.4, 8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// In plain text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one final byte ends it.
    Intermediate,
    /// In a control sequence, until its final byte 0x40-0x7e.
    Control,
    /// In a control string (OSC, DCS, SOS, PM, APC), until BEL or ST.
    String,
    /// After ESC in a control string: a backslash makes it ST.
    StringEscape,
}

/// The filter of one guest's labelled lines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain {
    state: State,
}

impl Plain {
    /// Whether `text` passes as it is, being nothing but printable ASCII, as nearly every line is.
    pub(super) fn passes(&self, text: &[u8]) -> bool {
        self.state == State::Text && text.iter().all(|byte| (b' '..=b'~').contains(byte))
    }

    /// Passes the harmless form of `text`, a part of a line without its end, to `put`. An output byte is printable ASCII or
    /// part of a printable character; there are at most two for each byte of `text`.
    pub(crate) fn filter(&mut self, text: &[u8], put: &mut impl FnMut(u8)) {
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.character(character, put);
            }
            if !chunk.invalid().is_empty() && self.state == State::Text {
                put(b'?');
            }
        }
    }

    /// A new line begins: no sequence lasts longer than a line, so a guest cannot hide its later output by accident.
    pub(super) fn line_end(&mut self) {
        self.state = State::Text;
    }

    fn character(&mut self, c: char, put: &mut impl FnMut(u8)) {
        self.state = match (self.state, c) {
            (State::String, '\x07' | '\u{9c}') => State::Text,
            (State::String, '\x1b') => State::StringEscape,
            (State::String, _) => State::String,
            (State::StringEscape, '\\') => State::Text,
            // Anything else: the string was cut off and a new sequence begins.
            (_, '\x1b') => State::Escape,
            (State::Escape | State::StringEscape, '[') => State::Control,
            (State::Escape | State::StringEscape, ']' | 'P' | 'X' | '^' | '_') => State::String,
            (State::Escape | State::StringEscape | State::Intermediate, ' '..='/') => {
                State::Intermediate
            }
            (State::Escape | State::StringEscape | State::Intermediate, '0'..='~') => State::Text,
            (State::Control, ' '..='?') => State::Control,
            (State::Control, '@'..='~') => State::Text,
            // A character that has no place in a sequence ends it and counts for itself.
            (_, '\u{9b}') => State::Control,
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::String,
            _ => {
                show(c, put);
                State::Text
            }
        };
    }
}

fn show(c: char, put: &mut impl FnMut(u8)) {
    match c {
        '\t' => put(b' '),
        '\0'..='\x1f' | '\x7f' => {
            put(b'^');
            put(c as u8 ^ 0x40);
        }
        _ if obeyed(c) => {}
        _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(put),
    }
}

/// Characters that are no picture: controls, marks of direction and format (general category Cf), line separators, and
/// whatever is drawn as nothing (Default_Ignorable_Code_Point; Unicode 16.0, DerivedCoreProperties.txt). So each character
/// that passes takes its place on the line, and stands where it was printed.
fn obeyed(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn plain(text: &[u8]) -> String {
        let mut out = Vec::new();
        Plain::default().filter(text, &mut |b| out.push(b));
        String::from_utf8(out).expect("the filter's output is UTF-8")
    }

    #[test]
    fn colours_and_cursor_movements_are_taken_out() {
        assert_eq!(plain(b"\x1b[1;31mred\x1b[0m \x1b[2J\x1b[10;20Hx"), "red x");
        assert_eq!(plain(b"\x1bcreset \x1b(Bcharset \x1b#8align"), "reset charset align");
    }

    #[test]
    fn a_window_title_is_taken_out_however_it_ends() {
        assert_eq!(plain(b"a\x1b]0;title\x07b"), "ab");
        assert_eq!(plain(b"a\x1b]0;title\x1b\\b"), "ab");
        assert_eq!(plain(b"a\x1bPq\x1b[31mb"), "ab");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(plain(b"a\x08\x07\x0b\x0c\x00\x7f\rb\tc"), "a^H^G^K^L^@^?^Mb c");
    }

    #[test]
    fn eight_bit_controls_are_taken_out_in_utf8_and_shown_as_unknown_alone() {
        assert_eq!(plain("x\u{9b}31my\u{85}z\u{9d}0;t\u{9c}w".as_bytes()), "xyzw");
        assert_eq!(plain(b"x\x9b31my"), "x?31my");
    }

    #[test]
    fn printable_text_of_any_script_passes() {
        let text = "Grüße, 你好, 🦀 | ok";
        assert_eq!(plain(text.as_bytes()), text);
        assert_eq!(plain("a\u{202e}b\u{200b}c\u{2028}d".as_bytes()), "abcd");
    }

    #[test]
    fn of_all_characters_only_those_pass_that_are_drawn_where_they_stand() {
        let controls = (0..=0x1f).chain(0x7f..=0x9f);
        for c in controls.filter_map(char::from_u32) {
            let shown = plain(std::format!("a{c}b\n").trim_end_matches('\n').as_bytes());
            assert!(!shown.contains(|c: char| c.is_control()), "{c:?} gives {shown:?}");
        }
        // Marks of direction, zero width, joiners, variation selectors, fillers, separators, tags.
        for c in "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\
                  \u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{34f}\u{ad}\u{180e}\u{fe0f}\u{e0100}\u{115f}\u{1160}\
                  \u{3164}\u{ffa0}\u{2028}\u{2029}\u{e0001}\u{e0041}\u{fff9}\u{1d173}\u{13430}\u{600}"
            .chars()
        {
            assert_eq!(plain(std::format!("a{c}b").as_bytes()), "ab", "{:#x}", c as u32);
        }
    }

    #[test]
    fn no_bytes_that_are_no_utf8_make_others_of_it() {
        // Overlong forms of ESC, LF and C1 CSI, surrogates, beyond the last character, cut short at each length.
        for text in [
            &b"\xc0\x9b[2J"[..],
            b"\xe0\x80\x9b[2J",
            b"\xf0\x80\x80\x8a",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf0\x9f\xa6\x80",
            b"\xff\xfe\x80\xbf",
        ] {
            for end in 0..=text.len() {
                let shown = plain(&text[..end]);
                assert!(
                    shown.chars().all(|c| !c.is_control() && !obeyed(c)),
                    "{text:?}: {shown:?}"
                );
            }
        }
        assert_eq!(plain(b"\xc0\x9b[2J"), "??[2J");
    }

    #[test]
    fn a_sequence_cut_by_a_control_character_hides_only_itself() {
        assert_eq!(plain(b"\x1b[12\x00after"), "^@after");
        assert_eq!(plain(b"\x1b\xffafter"), "fter");
    }
}
