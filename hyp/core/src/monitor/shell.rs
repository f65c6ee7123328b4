//! The monitor for people: a line, its answer, the next line.

use alloc::string::String;
use core::fmt::Write;

use super::answer::Answer;
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
        }
    }

    /// The terminal is the monitor's, whatever was shown there before; an answer that was under way is dropped.
    pub fn open(&mut self) {
        self.echo.clear();
        (self.work, self.text, self.held) = (Work::Line, Text::new(), None);
        self.editor.prompt(&mut self.echo);
    }

    /// Whether [`Shell::key`] may be called.
    pub fn takes_input(&self) -> bool {
        matches!(self.work, Work::Line) && self.echo.is_empty()
    }

    /// Takes a key.
    pub fn key(&mut self, byte: u8, world: &impl World) -> Wish {
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
        match core::mem::replace(&mut self.work, Work::Line) {
            Work::Line => false,
            Work::Answer(answer) => {
                self.answer(answer, world, out);
                true
            }
            Work::After(answer) => {
                if let Err(why) = answer.end(world) {
                    let _ = write!(out, "{why}\r\n");
                }
                self.editor.prompt(out);
                true
            }
        }
    }

    /// The next line of an answer. The work is bounded: a table's rows are limited.
    fn answer(&mut self, mut answer: Answer, world: &impl World, out: &mut String) {
        loop {
            if self.text.line(out) {
                self.work = Work::Answer(answer);
                return;
            }
            match self.held.take().or_else(|| answer.next(world)) {
                Some(record) => self.held = self.text.push(record).err(),
                None if self.text.is_empty() => break,
                None => self.text.finish(),
            }
        }
        self.text = Text::new();
        self.work = Work::After(answer);
    }

    fn begin(&mut self, line: &str, world: &impl World) {
        let names = super::names(world);
        let answer = match verbs::parse(line, Asker::Person, &names) {
            Ok(None) => return self.editor.prompt(&mut self.echo),
            Ok(Some(command)) => Answer::begin(command, Asker::Person, world),
            Err(why) => Err(why),
        };
        match answer {
            Ok(answer) => self.work = Work::Answer(answer),
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
