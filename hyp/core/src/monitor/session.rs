//! The monitor for programs: requests in, JSON lines out. docs/monitor.md has the protocol.
//!
//! Whoever has the session decides how lines are framed. A request is read while no other is being answered, so what
//! comes early waits with whoever feeds the session.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::answer::{self, Answer, Next};
use super::json::Object;
use super::verbs::{self, Asker, Command, Verb};
use super::world::{Event, World};

/// Longest request in bytes.
pub const REQUEST_MAX: usize = 128;

/// A program's conversation with the monitor.
#[derive(Debug)]
pub struct Session {
    asker: Asker,
    /// The request as far as it came; one byte more than is allowed says that it is too long.
    request: Vec<u8>,
    work: Work,
    /// The number of the next event to tell, where they are wanted.
    events: Option<u64>,
    /// The answer goes on at this time, on the board's counter.
    waits: Option<u64>,
}

/// What the session is at.
#[derive(Debug)]
enum Work {
    /// A request may come.
    Idle,
    /// A request is being answered.
    Answer(Option<u32>, Answer),
    /// This is left to say.
    End(Option<u32>, Result<(), String>),
    /// The end was said; if that was the board's, it comes now.
    After(Answer),
}

impl Session {
    /// A conversation with a program at the board's terminal, or in a guest.
    pub const fn new(asker: Asker) -> Self {
        Self { asker, request: Vec::new(), work: Work::Idle, events: None, waits: None }
    }

    /// Whether [`Session::feed`] may be called.
    pub fn takes_input(&self) -> bool {
        matches!(self.work, Work::Idle)
    }

    /// When [`Session::pull`] is to be called although nothing came, on the board's counter.
    pub fn waits_until(&self) -> Option<u64> {
        self.waits
    }

    /// Whether changes of guests' states are to be told.
    pub fn wants_events(&self) -> bool {
        self.events.is_some()
    }

    /// Takes a byte of a request; LF ends it.
    pub fn feed(&mut self, byte: u8, world: &impl World) {
        match byte {
            b'\n' => self.begin(world),
            b'\r' => {}
            _ if self.request.len() <= REQUEST_MAX => self.request.push(byte),
            _ => {}
        }
    }

    /// Requests were lost because they came too fast: they are answered too, without an id.
    pub fn lost(&mut self) {
        if self.takes_input() {
            self.work = Work::End(None, Err("a request is lost: wait for answers".into()));
        }
    }

    /// Appends the next line of what there is to say, without a line end; whether there was one. To be called until it
    /// says no, and after each byte that was fed.
    pub fn pull(&mut self, world: &impl World, out: &mut String) -> bool {
        self.waits = None;
        match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => return self.pull_event(world, out),
            Work::Answer(id, mut answer) => match answer.next(world) {
                Next::Record(record) => {
                    let mut object = Object::begin(out);
                    object.number("id", "", id.map(u64::from));
                    object.record(&record);
                    object.end();
                    self.work = Work::Answer(id, answer);
                }
                Next::Wait(until) => {
                    self.work = Work::Answer(id, answer);
                    self.waits = Some(until);
                    return self.pull_event(world, out);
                }
                Next::End => {
                    end(id, &Ok(()), out);
                    self.work = Work::After(answer);
                }
            },
            Work::End(id, result) => end(id, &result, out),
            Work::After(answer) => {
                return match answer.end(world) {
                    Ok(()) => self.pull_event(world, out),
                    Err(why) => {
                        Object::begin(out).note("error", &why);
                        true
                    }
                };
            }
        }
        true
    }

    fn begin(&mut self, world: &impl World) {
        let request = core::mem::take(&mut self.request);
        self.work = match self.read(&request, world) {
            (_, Ok(None)) => Work::Idle,
            (id, Ok(Some(Command { verb: Verb::Events, word, .. }))) => {
                self.events = (word == "on").then(|| world.next_event());
                Work::End(id, Ok(()))
            }
            (id, Ok(Some(command))) => match Answer::begin(command, self.asker, world) {
                Ok(answer) => Work::Answer(id, answer),
                Err(why) => Work::End(id, Err(why)),
            },
            (id, Err(why)) => Work::End(id, Err(why)),
        };
    }

    /// The request's id and what it asks for; nothing for an empty line.
    fn read(
        &self,
        request: &[u8],
        world: &impl World,
    ) -> (Option<u32>, Result<Option<Command>, String>) {
        let text = str::from_utf8(request).unwrap_or("");
        let (id, verb) = text.trim_ascii_start().split_once(' ').unwrap_or((text.trim_ascii(), ""));
        let id = id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok()).flatten();
        if request.is_empty() {
            return (None, Ok(None));
        }
        if request.len() > REQUEST_MAX {
            return (id, Err(format!("a request has {REQUEST_MAX} bytes at most")));
        }
        if !request.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return (id, Err("a request is printable ASCII".into()));
        }
        if id.is_none() {
            return (id, Err("a request begins with its id, a number: write `1 help`".into()));
        }
        let names = super::names(world);
        let command = match verbs::parse(verb, self.asker, &names) {
            Ok(None) => Err("a request is an id and a verb: write `1 help`".to_string()),
            parsed => parsed,
        };
        (id, command)
    }

    fn pull_event(&mut self, world: &impl World, out: &mut String) -> bool {
        let Some(next) = &mut self.events else { return false };
        let Some((number, event)) = world.event(*next) else { return false };
        let missed = number - *next;
        if missed > 0 {
            *next = number;
            let mut object = Object::begin(out);
            object.text("event", "lost");
            object.number("count", "", Some(missed));
            object.end();
        } else {
            *next = number + 1;
            tell(&event, world, out);
        }
        true
    }
}

fn end(id: Option<u32>, result: &Result<(), String>, out: &mut String) {
    let mut object = Object::begin(out);
    object.number("id", "", id.map(u64::from));
    object.flag("ok", result.is_ok());
    if let Err(why) = result {
        object.text("error", why);
    }
    object.end();
}

fn tell(event: &Event, world: &impl World, out: &mut String) {
    let mut object = Object::begin(out);
    object.text("event", "state");
    object.number("at", "_ns", Some(answer::nanos(world, event.at)));
    let guest = world.guests().get(usize::from(event.guest.0));
    object.text("name", guest.map_or("", |guest| guest.name()));
    object.text("state", event.state.word());
    object.text("reason", &event.reason.map(|reason| reason.to_string()).unwrap_or_default());
    object.number("left_out", "", Some(event.left_out));
    object.end();
}
