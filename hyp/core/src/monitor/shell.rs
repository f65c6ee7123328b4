//! The monitor for people: a line, its answer, the next line.

use alloc::string::String;
use core::fmt::Write;

use super::answer::{Answer, Next};
use super::line::{Editor, Typed};
use super::record::Record;
use super::text::Text;
use super::verbs::{self, Asker};
use super::world::World;

/// A person's conversation with the monitor.
#[derive(Debug)]
pub struct Shell {
    editor: Editor,
    /// What the terminal is yet to show of what was typed.
    echo: String,
    work: Work,
    text: Text,
    /// A record that waits for the table before it.
    held: Option<Record>,
    /// The answer goes on at this time, on the board's counter.
    waits: Option<u64>,
    /// Lines that the last round of a live answer has on the screen, which the next one overwrites.
    drawn: usize,
    /// The round is over.
    over: bool,
    /// Nothing was shown below those lines since.
    undisturbed: bool,
}

/// What the shell is at.
#[derive(Debug)]
enum Work {
    /// A line is typed.
    Line,
    /// A line is being answered.
    Answer(Answer),
    /// The answer is out; if that was the board's end, it comes now.
    After(Answer),
}

/// What a key led to, beyond the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Nothing.
    Nothing,
    /// The person is done with the monitor.
    Leave,
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Shell {
    /// A shell that nobody has opened.
    pub const fn new() -> Self {
        Self {
            editor: Editor::new(),
            echo: String::new(),
            work: Work::Line,
            text: Text::new(),
            held: None,
            waits: None,
            drawn: 0,
            over: false,
            undisturbed: false,
        }
    }

    /// The terminal is the monitor's, whatever was shown there before; an answer that was under way is dropped.
    pub fn open(&mut self) {
        self.echo.clear();
        (self.work, self.text, self.held, self.waits) = (Work::Line, Text::new(), None, None);
        self.editor.prompt(&mut self.echo);
    }

    /// Whether [`Shell::key`] may be called.
    pub fn takes_input(&self) -> bool {
        self.echo.is_empty() && (self.is_live() || matches!(self.work, Work::Line))
    }

    /// When [`Shell::pull`] is to be called although nothing came, on the board's counter.
    pub fn waits_until(&self) -> Option<u64> {
        self.waits
    }

    /// Whether an answer is shown that goes on until a key is pressed.
    pub fn is_live(&self) -> bool {
        matches!(&self.work, Work::Answer(answer) if answer.is_live())
    }

    /// Says whether others' lines were shown since the last call.
    pub fn disturbed(&mut self, disturbed: bool) {
        self.undisturbed &= !disturbed;
    }

    /// Takes a key.
    pub fn key(&mut self, byte: u8, world: &impl World) -> Wish {
        if self.is_live() {
            if let Work::Answer(answer) = core::mem::replace(&mut self.work, Work::Line) {
                self.work = Work::After(answer);
                self.text = Text::new();
            }
            return Wish::Nothing;
        }
        match self.editor.key(byte, &mut self.echo) {
            Typed::Nothing => {}
            Typed::Leave => return Wish::Leave,
            Typed::Complete { again } => self.complete(again, world),
            Typed::Line(line) => self.begin(&line, world),
        }
        Wish::Nothing
    }

    /// Appends the next piece of what the terminal is to show, about a line; whether there was one. To be called until
    /// it says no, and after each key.
    pub fn pull(&mut self, world: &impl World, out: &mut String) -> bool {
        if !self.echo.is_empty() {
            out.push_str(&self.echo);
            self.echo.clear();
            return true;
        }
        self.waits = None;
        match core::mem::replace(&mut self.work, Work::Line) {
            Work::Line => false,
            Work::Answer(answer) => self.answer(answer, world, out),
            Work::After(answer) => {
                if let Err(why) = answer.end(world) {
                    let _ = write!(out, "{why}\r\n");
                }
                self.editor.prompt(out);
                true
            }
        }
    }

    /// The next line of an answer, unless it waits. The work is bounded: a table's rows are limited.
    fn answer(&mut self, mut answer: Answer, world: &impl World, out: &mut String) -> bool {
        loop {
            let start = out.len();
            if self.text.line(out) {
                if answer.is_live() {
                    self.redraw(start, out);
                }
                self.work = Work::Answer(answer);
                return true;
            }
            let next = match self.held.take() {
                Some(record) => Next::Record(record),
                None => answer.next(world),
            };
            match next {
                Next::Record(record) => self.held = self.text.push(record).err(),
                Next::Wait(_) if !self.text.is_empty() => self.text.finish(),
                Next::Wait(until) => {
                    self.over = true;
                    self.text = Text::new();
                    self.work = Work::Answer(answer);
                    self.waits = Some(until);
                    return false;
                }
                Next::End if self.text.is_empty() => break,
                Next::End => self.text.finish(),
            }
        }
        self.text = Text::new();
        self.work = Work::After(answer);
        true
    }

    /// Makes the line from `start` of `out` on, of a live answer, stand in place of that of the round before.
    fn redraw(&mut self, start: usize, out: &mut String) {
        if core::mem::take(&mut self.over) {
            if self.undisturbed && self.drawn > 0 {
                let mut up = String::new();
                let _ = write!(up, "\x1b[{}A", self.drawn);
                out.insert_str(start, &up);
            }
            (self.drawn, self.undisturbed) = (0, true);
        }
        self.drawn += 1;
        let end = out.len() - "\r\n".len();
        out.insert_str(end, "\x1b[K");
    }

    fn begin(&mut self, line: &str, world: &impl World) {
        let names = super::names(world);
        let answer = match verbs::parse(line, Asker::Person, &names) {
            Ok(None) => return self.editor.prompt(&mut self.echo),
            Ok(Some(command)) => Answer::begin(command, Asker::Person, world),
            Err(why) => Err(why),
        };
        match answer {
            Ok(answer) => {
                self.work = Work::Answer(answer);
                self.drawn = 0;
            }
            Err(why) => {
                let _ = write!(self.echo, "{why}\r\n");
                self.editor.prompt(&mut self.echo);
            }
        }
    }

    /// Completes the word before the cursor as far as that is clear; the second time says what there is to choose from.
    fn complete(&mut self, again: bool, world: &impl World) {
        let names = super::names(world);
        let line = String::from(self.editor.before_cursor());
        let (begun, found) = verbs::complete(&line, Asker::Person, &names);
        let Some(first) = found.first() else { return };
        let common = found.iter().fold(first.len(), |common, word| {
            let same = first.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
            common.min(same)
        });
        let rest = first.get(begun.len()..common).unwrap_or("");
        self.editor.insert_text(rest, &mut self.echo);
        if found.len() == 1 {
            self.editor.insert_text(" ", &mut self.echo);
        } else if again && rest.is_empty() {
            let _ = write!(self.echo, "\r\n{}\r\n", found.join("  "));
            self.editor.show(&mut self.echo);
        }
    }
}
