//! What can be asked: one table, from which help, completion and parsing follow.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Names;
use crate::addr::VmId;
use crate::life::Request;
use crate::words::{List, nearest_name};

/// What is to be done or told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// What can be asked.
    Help,
    /// All guests.
    VmList,
    /// A guest as configured and as it is.
    VmShow,
    /// Starts a guest that is not running.
    VmStart,
    /// Asks a guest to switch itself off.
    VmStop,
    /// Stops a guest at once.
    VmKill,
    /// Holds a guest's vCPUs.
    VmPause,
    /// Lets a paused guest go on.
    VmResume,
    /// Starts a guest anew, at once.
    VmReset,
    /// All groups.
    GroupList,
    /// The members of a group.
    GroupShow,
    /// Gives a guest the terminal.
    Console,
    /// What guests do right now.
    Top,
    /// Last exits of a guest.
    Trace,
    /// Registers of a guest's vCPUs.
    Regs,
    /// Tessera's own last lines.
    Log,
    /// Where the board's memory is.
    Mem,
    /// Interrupts, by core and by guest.
    Irq,
    /// The board's disk.
    Disk,
    /// Whether changes of guests' states are told.
    Events,
    /// Starts the board anew.
    Reboot,
    /// Turns the board off.
    Poweroff,
}

/// What stands behind a verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Argument {
    Nothing,
    /// A guest's name.
    Guest,
    /// A group's name.
    Group,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words or nothing.
    Perhaps(&'static [&'static str]),
}

/// Who can ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    Everybody,
    /// Whoever has the board's terminal: a person, or a program by the protocol.
    Board,
    /// Programs.
    Programs,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker {
    /// A person at the board's terminal.
    Person,
    /// A program at the board's terminal.
    Program,
    /// A guest by its control port.
    Guest,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) verb: Verb,
    pub(super) name: &'static str,
    pub(super) argument: Argument,
    reach: Reach,
    pub(super) help: &'static str,
}

use Argument::{Group, Guest, Nothing, Perhaps, Word};
use Reach::{Board, Everybody, Programs};

const fn spec(
    verb: Verb,
    name: &'static str,
    argument: Argument,
    reach: Reach,
    help: &'static str,
) -> Spec {
    Spec { verb, name, argument, reach, help }
}

/// `poweroff`'s word: without asking the guests.
pub(super) const NOW: &str = "now";
/// `events`' words.
pub(super) const ON_OFF: &[&str] = &["on", "off"];

/// All verbs, in the order in which `help` shows them.
pub(super) const TABLE: &[Spec] = &[
    spec(Verb::Help, "help", Nothing, Everybody, "what can be asked"),
    spec(Verb::VmList, "vm list", Nothing, Everybody, "all guests: state, CPU, memory, restarts"),
    spec(Verb::VmShow, "vm show", Guest, Everybody, "a guest as configured, its last stop and why"),
    spec(Verb::VmStart, "vm start", Guest, Everybody, "start a guest that does not run"),
    spec(Verb::VmStop, "vm stop", Guest, Everybody, "press a guest's power button"),
    spec(Verb::VmKill, "vm kill", Guest, Everybody, "stop a guest at once, unasked"),
    spec(Verb::VmPause, "vm pause", Guest, Everybody, "hold a guest's vCPUs"),
    spec(Verb::VmResume, "vm resume", Guest, Everybody, "let a paused guest go on"),
    spec(Verb::VmReset, "vm reset", Guest, Everybody, "start a guest anew, at once, unasked"),
    spec(Verb::GroupList, "group list", Nothing, Everybody, "all groups: memory, members"),
    spec(Verb::GroupShow, "group show", Group, Everybody, "a group's members and who rang them"),
    spec(Verb::Console, "console", Guest, Board, "give a guest the terminal, its last lines first"),
    spec(Verb::Top, "top", Nothing, Everybody, "what guests do, each second; any key ends it"),
    spec(Verb::Trace, "trace", Guest, Everybody, "the last exits of a guest's vCPUs"),
    spec(Verb::Regs, "regs", Guest, Everybody, "registers of a guest's vCPUs"),
    spec(Verb::Log, "log", Nothing, Everybody, "Tessera's own last lines"),
    spec(Verb::Mem, "mem", Nothing, Everybody, "where the board's memory is"),
    spec(Verb::Irq, "irq", Nothing, Everybody, "interrupts, by core and by guest"),
    spec(Verb::Disk, "disk", Nothing, Everybody, "the board's disk and whose it is"),
    spec(Verb::Events, "events", Word(ON_OFF), Programs, "tell when guests' states change"),
    spec(Verb::Reboot, "reboot", Nothing, Everybody, "start the board anew, at once"),
    spec(Verb::Poweroff, "poweroff", Perhaps(&[NOW]), Everybody, "stop all guests, then the board"),
];

impl Asker {
    fn may(self, reach: Reach) -> bool {
        match reach {
            Everybody => true,
            Board => self != Self::Guest,
            Programs => self != Self::Person,
        }
    }

    /// What this one can ask.
    pub(super) fn verbs(self) -> impl Iterator<Item = &'static Spec> {
        TABLE.iter().filter(move |spec| self.may(spec.reach))
    }
}

/// A verb with what stands behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// What.
    pub verb: Verb,
    /// Which guest, for verbs about one.
    pub guest: VmId,
    /// Which group, for verbs about one.
    pub group: u8,
    /// The word behind it; empty for none.
    pub word: &'static str,
}

impl Command {
    /// What it asks of the guest's life, if anything.
    pub fn request(&self) -> Option<Request> {
        Some(match self.verb {
            Verb::VmStart => Request::Start,
            Verb::VmStop => Request::Stop,
            Verb::VmKill => Request::Kill,
            Verb::VmPause => Request::Pause,
            Verb::VmResume => Request::Resume,
            Verb::VmReset => Request::Reset,
            _ => return None,
        })
    }
}

/// Reads what was asked; nothing for an empty line. An error says what to do instead.
pub(super) fn parse(
    line: &str,
    asker: Asker,
    names: &Names<'_>,
) -> Result<Option<Command>, String> {
    let words: Vec<&str> = line.split_ascii_whitespace().take(MOST_WORDS).collect();
    let Some(first) = words.first() else { return Ok(None) };
    let Some(spec) = asker.verbs().find(|spec| starts_with(&words, spec.name)) else {
        return Err(unknown(first, words.get(1).copied(), asker));
    };
    let rest = words.get(spec.name.split(' ').count()..).unwrap_or(&[]);
    let mut command = Command { verb: spec.verb, guest: VmId(0), group: 0, word: "" };
    let taken = match (spec.argument, rest.first()) {
        (Nothing, _) | (Perhaps(_), None) => 0,
        (Guest | Group, None) => {
            let (what, names) = about(spec.argument, names);
            return Err(format!("`{}` takes a {what}'s name: {}", spec.name, List(names)));
        }
        (Word(known), None) => {
            return Err(format!("`{}` takes one of {}", spec.name, List(known)));
        }
        (Guest | Group, Some(name)) => {
            let (what, names) = about(spec.argument, names);
            let found = find(what, name, names)?;
            (command.guest, command.group) = match spec.argument {
                Group => (VmId(0), found),
                _ => (VmId(found), 0),
            };
            1
        }
        (Word(known) | Perhaps(known), Some(word)) => {
            let found = known.iter().find(|known| *known == word);
            command.word = found
                .copied()
                .ok_or_else(|| format!("`{}` takes {}, not `{word}`", spec.name, List(known)))?;
            1
        }
    };
    match rest.get(taken) {
        Some(more) => Err(format!("`{more}` is too much; write `{}`", usage(spec))),
        None => Ok(Some(command)),
    }
}

/// More words than any verb has.
const MOST_WORDS: usize = 5;

fn starts_with(words: &[&str], name: &str) -> bool {
    let mut words = words.iter();
    name.split(' ').all(|part| words.next() == Some(&part))
}

/// What an argument that is a name is one of.
fn about<'n, 'a>(argument: Argument, names: &'n Names<'a>) -> (&'static str, &'n [&'a str]) {
    match argument {
        Group => ("group", &names.groups),
        _ => ("guest", &names.guests),
    }
}

fn find(what: &str, name: &str, names: &[&str]) -> Result<u8, String> {
    if let Some(index) = names.iter().position(|other| *other == name) {
        return Ok(index as u8);
    }
    Err(match nearest_name(name, names) {
        _ if names.is_empty() => format!("there is no {what}"),
        Some(near) => format!("there is no {what} `{name}`; did you mean `{near}`?"),
        None => format!("there is no {what} `{name}`; there are {}", List(names)),
    })
}

/// What is wrong with a verb that is none.
fn unknown(first: &str, second: Option<&str>, asker: Asker) -> String {
    if TABLE.iter().any(|spec| spec.name == first) {
        return format!("`{first}` is not for this side");
    }
    let seconds: Vec<&str> = asker.verbs().filter_map(|spec| second_of(spec, first)).collect();
    if !seconds.is_empty() {
        let Some(second) = second else {
            return format!("`{first}` is followed by one of {}", List(&seconds));
        };
        return match nearest_name(second, &seconds) {
            Some(near) => {
                format!("there is no `{first} {second}`; did you mean `{first} {near}`?")
            }
            None => format!("there is no `{first} {second}`; there are {}", List(&seconds)),
        };
    }
    // `start web` for `vm start web`.
    if let Some(spec) = asker.verbs().find(|spec| spec.name.split(' ').nth(1) == Some(first)) {
        return format!("there is no `{first}`; did you mean `{}`?", usage(spec));
    }
    let firsts: Vec<&str> = asker.verbs().filter_map(|spec| spec.name.split(' ').next()).collect();
    match nearest_name(first, &firsts) {
        Some(near) => format!("there is no `{first}`; did you mean `{near}`?"),
        None => format!("there is no `{first}`; `help` shows what there is"),
    }
}

/// The second word of a verb that begins with `first`.
fn second_of(spec: &'static Spec, first: &str) -> Option<&'static str> {
    spec.name.strip_prefix(first)?.strip_prefix(' ')
}

/// How a verb is written.
pub(super) fn usage(spec: &Spec) -> String {
    match spec.argument {
        Nothing => spec.name.into(),
        Guest | Group => format!("{} NAME", spec.name),
        Word(known) => format!("{} {}", spec.name, known.join("|")),
        Perhaps(known) => format!("{} [{}]", spec.name, known.join("|")),
    }
}

/// What can stand where the last word of `line` stands, which may be empty, with as much of it as is there already.
pub(super) fn complete<'a>(
    line: &'a str,
    asker: Asker,
    names: &Names<'a>,
) -> (&'a str, Vec<&'a str>) {
    let (before, last) = match line.rfind(' ') {
        Some(space) => line.split_at_checked(space + 1).unwrap_or((line, "")),
        None => ("", line),
    };
    let before: Vec<&str> = before.split_ascii_whitespace().take(MOST_WORDS).collect();
    let mut found: Vec<&str> = Vec::new();
    for spec in asker.verbs() {
        let parts = spec.name.split(' ');
        let common = parts.clone().zip(&before).take_while(|(part, word)| part == *word).count();
        let behind = before.len() - common;
        match (parts.clone().nth(common), spec.argument) {
            (Some(part), _) if behind == 0 => found.push(part),
            (None, argument @ (Guest | Group)) if behind == 0 => {
                found.extend_from_slice(about(argument, names).1);
            }
            (None, Word(known) | Perhaps(known)) if behind == 0 => found.extend_from_slice(known),
            _ => {}
        }
    }
    found.retain(|word| word.starts_with(last));
    found.dedup();
    (last, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<'static> {
        Names { guests: Vec::from(["web", "db", "web-test"]), groups: Vec::from(["ring", "db"]) }
    }

    fn read(line: &str) -> Result<Option<Command>, String> {
        parse(line, Asker::Person, &names())
    }

    fn error(line: &str) -> String {
        read(line).expect_err(line)
    }

    #[test]
    fn each_verb_is_read_as_help_writes_it() {
        for asker in [Asker::Person, Asker::Program, Asker::Guest] {
            for spec in asker.verbs() {
                let line = usage(spec).replace("NAME", "db").replace("on|off", "off");
                let line = line.replace("[now]", " now ");
                let command =
                    parse(&line, asker, &names()).expect("it is read").expect("a command");
                assert_eq!(command.verb, spec.verb, "{line}");
                assert_eq!(command.guest, VmId(u8::from(spec.argument == Guest)));
                assert_eq!(command.group, u8::from(spec.argument == Group));
            }
        }
        assert_eq!(read("  "), Ok(None));
    }

    #[test]
    fn a_mistake_is_answered_with_what_to_do() {
        assert_eq!(error("vm show wbe"), "there is no guest `wbe`; did you mean `web`?");
        assert_eq!(error("vm show x"), "there is no guest `x`; there are `web`, `db`, `web-test`");
        assert_eq!(error("vm show"), "`vm show` takes a guest's name: `web`, `db`, `web-test`");
        assert_eq!(error("vm lst"), "there is no `vm lst`; did you mean `vm list`?");
        assert!(error("vm").starts_with("`vm` is followed by one of `list`, `show`"));
        assert_eq!(error("lgo"), "there is no `lgo`; did you mean `log`?");
        assert_eq!(error("xyzzy"), "there is no `xyzzy`; `help` shows what there is");
        assert_eq!(error("start web"), "there is no `start`; did you mean `vm start NAME`?");
        assert_eq!(error("mem now"), "`now` is too much; write `mem`");
        assert_eq!(error("poweroff web"), "`poweroff` takes `now`, not `web`");
        assert_eq!(error("events on"), "`events` is not for this side");
        assert!(parse("console web", Asker::Guest, &names()).is_err());
        assert_eq!(error("group show rnig"), "there is no group `rnig`; did you mean `ring`?");
        assert_eq!(error("group show"), "`group show` takes a group's name: `ring`, `db`");
        let none = Names { groups: Vec::new(), ..names() };
        let without = |line| parse(line, Asker::Person, &none).expect_err(line);
        assert_eq!(without("group show ring"), "there is no group");
    }

    #[test]
    fn what_can_follow_is_known_at_each_place() {
        let words = |line| complete(line, Asker::Person, &names()).1;
        assert_eq!(words("v"), ["vm"]);
        assert_eq!(
            words("vm "),
            ["list", "show", "start", "stop", "kill", "pause", "resume", "reset"]
        );
        assert_eq!(words("vm st"), ["start", "stop"]);
        assert_eq!(words("vm show w"), ["web", "web-test"]);
        assert_eq!(words("group s"), ["show"]);
        assert_eq!(words("group show "), ["ring", "db"]);
        assert_eq!(words("poweroff "), ["now"]);
        assert_eq!(words("mem "), [""; 0]);
        assert_eq!(words("nonsense x"), [""; 0]);
        assert_eq!(words("vm show web "), [""; 0]);
        assert_eq!(complete("vm show we", Asker::Person, &names()).0, "we");
    }
}
