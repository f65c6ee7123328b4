use std::cell::RefCell;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use super::answer::acts;
use super::fake::Fake;
use super::verbs::Argument;
use super::*;
use crate::addr::{CpuId, Pa, VcpuId, VmId};
use crate::console::{Console, Sizes};
use crate::counters::Cause;
use crate::hw::fake::FakeHw;
use crate::life::{Request, State, StopReason};
use crate::machine;

fn happens(world: &Fake, state: State) {
    let event = Event { at: 7, guest: VmId(0), state, reason: Some(StopReason::Off), left_out: 3 };
    world.events.borrow_mut().add(event);
}

fn done(world: &Fake) -> Vec<Verb> {
    world.done.borrow().iter().map(|command| command.verb).collect()
}

/// What a session says to `bytes`.
fn told(session: &mut Session, world: &Fake, bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pull = |session: &mut Session| {
        let mut line = String::new();
        loop {
            if !session.pull(world, &mut line) {
                let Some(until) = session.waits_until() else { break };
                world.clock.set(until);
                continue;
            }
            assert!(line.len() < 2048 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            lines.push(core::mem::take(&mut line));
        }
        assert!(session.takes_input());
    };
    pull(session);
    for &byte in bytes.as_ref() {
        session.feed(byte, world);
        pull(session);
    }
    lines
}

fn asked(request: impl AsRef<[u8]>) -> Vec<String> {
    told(&mut Session::new(Asker::Program), &Fake::default(), request)
}

/// What a person sees who types `keys`, without the echo's carriage returns.
fn seen(shell: &mut Shell, world: &Fake, keys: &str) -> String {
    let mut out = String::new();
    let mut pull = |shell: &mut Shell| {
        while shell.pull(world, &mut out) || shell.waits_until().is_some() {
            world.clock.set(shell.waits_until().unwrap_or(world.now()));
        }
        assert!(shell.takes_input());
    };
    pull(shell);
    for byte in keys.bytes() {
        let _ = shell.key(byte, world);
        pull(shell);
    }
    out
}

fn typed(keys: &str) -> String {
    let mut shell = Shell::new();
    shell.open();
    seen(&mut shell, &Fake::default(), keys).replace('\r', "")
}

#[test]
fn an_answer_is_its_records_and_an_end() {
    let lines = asked("7 help\n");
    let first = r#"{"id":7,"record":"verb","verb":"help","does":"what can be asked"}"#;
    assert_eq!(lines.first().unwrap(), first);
    assert_eq!(lines.last().unwrap(), r#"{"id":7,"ok":true}"#);
    assert_eq!(lines.len(), Asker::Program.verbs().count() + 1);
    assert_eq!(asked("8 log\r\n").len(), 41);
}

#[test]
fn a_wrong_request_is_answered_with_what_to_do() {
    let error = |request: &[u8]| {
        let lines = asked(request);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    };
    let want = r#"{"id":7,"ok":false,"error":"there is no guest `wbe`; did you mean `web`?"}"#;
    assert_eq!(error(b"7 vm start wbe\n"), want);
    assert_eq!(
        error(b"help\n"),
        r#"{"id":null,"ok":false,"error":"a request begins with its id, a number: write `1 help`"}"#
    );
    assert!(
        error(b"9\n").starts_with(r#"{"id":9,"ok":false,"error":"a request is an id and a verb"#)
    );
    assert!(error(b"99999999999 help\n").starts_with(r#"{"id":null,"ok":false"#));
    assert!(error(b"+1 help\n").starts_with(r#"{"id":null,"ok":false"#));
    let long = [b"1 help ", &[b' '; REQUEST_MAX][..], b"\n"].concat();
    assert!(error(&long).starts_with(r#"{"id":1,"ok":false,"error":"a request has 128 bytes"#));
    assert!(error(b"1 help\x1b\n").ends_with(r#""error":"a request is printable ASCII"}"#));
    assert!(
        error(b"3 vm resume db\n")
            .ends_with(r#""error":"it is defined: only what is paused can be resumed"}"#)
    );
    assert_eq!(asked("\n\r\n"), [""; 0]);
}

#[test]
fn a_guest_does_not_get_the_terminal() {
    let world = Fake::default();
    let mut session = Session::new(Asker::Guest);
    let lines = told(&mut session, &world, "1 console db\n2 vm start db\n");
    assert!(lines[0].contains("is not for this side"), "{lines:?}");
    assert_eq!(done(&world), [Verb::VmStart]);
}

#[test]
fn events_are_told_to_who_wants_them_and_the_lost_ones_are_counted() {
    let world = Fake::default();
    let mut session = Session::new(Asker::Program);
    happens(&world, State::Starting);
    assert_eq!(told(&mut session, &world, "1 events on\n"), [r#"{"id":1,"ok":true}"#]);
    happens(&world, State::Running);
    let want = r#"{"event":"state","at_ns":7000000,"name":"web","state":"running","reason":"it switched itself off","left_out":3}"#;
    assert_eq!(told(&mut session, &world, ""), [want]);
    (0..70).for_each(|_| happens(&world, State::Stopped));
    let lines = told(&mut session, &world, "");
    assert_eq!(lines[0], r#"{"event":"lost","count":6}"#);
    assert_eq!(lines.len(), 65);
    assert_eq!(told(&mut session, &world, "2 events off\n").len(), 1);
    happens(&world, State::Running);
    assert_eq!(told(&mut session, &world, ""), [""; 0]);
}

/// The kinds and the names of fields that a verb tells programs.
fn fields(verb: &str) -> Vec<String> {
    let lines = asked(format!("1 {verb}\n"));
    let (end, records) = lines.split_last().unwrap();
    assert_eq!(end, r#"{"id":1,"ok":true}"#);
    let mut kinds = Vec::new();
    for record in records {
        let names = record.split(",\"").skip(1).filter_map(|field| field.split_once("\":"));
        let names: Vec<&str> = names.map(|(name, _)| name).skip(1).collect();
        let kind = record.split('"').nth(5).unwrap();
        let kind = format!("{kind}: {}", names.join(" "));
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

#[test]
fn the_protocols_page_has_all_that_programs_are_told() {
    let page = include_str!("../../../../docs/monitor.md");
    for spec in Asker::Program.verbs() {
        let verb = spec.name.replace("vm start", "vm show");
        let argument = match spec.argument {
            Argument::Guest => " web",
            Argument::Group => " ring",
            _ => "",
        };
        assert!(page.contains(&format!("`{}", spec.name)), "{} is not there", spec.name);
        if matches!(spec.argument, Argument::Word(_)) || acts(spec.verb) {
            continue;
        }
        for kind in fields(&format!("{verb}{argument}")) {
            let (kind, names) = kind.split_once(": ").unwrap();
            let row = page.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
            let row = row.unwrap_or_else(|| panic!("no row for {kind}: {names}"));
            for name in names.split(' ').filter(|name| !(name.starts_with('x') && name.len() < 4)) {
                assert!(row.contains(&format!("`{name}`")), "{kind} has {name}; row: {row}");
            }
        }
    }
}

#[test]
fn a_person_sees_tables_that_fit_the_screen() {
    for verb in ["help", "vm list", "group list", "group show ring", "mem", "irq", "disk"] {
        for line in typed(&format!("{verb}\r")).lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
    }
    let text = typed("vm list\r");
    let want = "NAME  STATE    VCPUS   CPU  STEAL   MEMORY  RESTARTS  UP  LAST END\n\
                web   defined      2  0.0%   0.0%  256 MiB         0   -  -\n\
                db    defined      1  0.0%   0.0%  256 MiB         0   -  -\n\n\
                NAME  POLICY     CORES  SHARES  CAP  RESERVE\n\
                web   dedicated  0 1    -         -        -\n\
                db    dedicated  2      -         -        -\n";
    assert!(text.contains(want), "{text}");
    let text = typed("regs web\r");
    assert!(text.contains("\npc          0xffff800012345678  pstate     0x0\n"), "{text}");
}

#[test]
fn interrupts_and_disks_are_told_with_how_often_and_how_much() {
    let world = Fake::default();
    let counters = &world.guests[0].counters;
    (0..5).for_each(|_| counters.vcpus[1].exits.count(Cause::VirtualTimer));
    counters.console_interrupts.add(6);
    let disk = &counters.disks[0];
    let counts = [&disk.requests, &disk.bytes_read, &disk.bytes_written, &disk.errors];
    (1..).zip(counts).for_each(|(n, count)| count.add(n));
    disk.interrupts.add(8);
    world.guests[1].counters.disks[0].errors.add(10);
    let lines = told(&mut Session::new(Asker::Program), &world, "1 irq\n2 disk\n").join("\n");
    for want in [
        r#""record":"line","interrupt":33,"of":"disk","count":7,"for_nothing":2,"off":false}"#,
        r#""guest":"web","vcpu":1,"interrupt":27,"of":"virtual timer","enabled":null,"pending":null,"active":null,"count":5}"#,
        r#""vcpu":1,"interrupt":30,"of":"physical timer","enabled":null,"pending":null,"active":null,"count":null}"#,
        r#""interrupt":33,"of":"UART","enabled":null,"pending":null,"active":null,"count":6}"#,
        r#""interrupt":48,"of":"disk","enabled":null,"pending":null,"active":null,"count":8}"#,
        r#""requests":1,"read_bytes":2,"written_bytes":3,"errors":14}"#,
        r#""requests":1,"read_bytes":2,"written_bytes":3,"errors":4}"#,
    ] {
        assert!(lines.contains(want), "{want} is not in {lines}");
    }
}

#[test]
fn of_a_group_it_is_told_who_is_up_as_its_members_see_it_and_who_has_yet_to_look() {
    let hw = FakeHw::new(Pa(0), 1 << 13);
    let world = Fake::default();
    let [web, db] = &world.guests[..] else { panic!("there are two") };
    let vm = Arc::new(machine::tests::vm());
    web.groups[0].begin(&vm);
    let _ = web.life.ask(Request::Start, 0, 1);
    web.life.begin_clearing();
    assert!(web.life.begin_running(0));
    web.groups[0].tell(&hw, &web.life);
    let _ = db.life.ask(Request::Start, 0, 1);
    db.groups[0].tell(&hw, &db.life);
    let _ = db.groups[0].ring(&hw, 0);
    let asked = "1 group list\n2 group show ring\n3 vm show db\n4 irq\n5 mem\n";
    let lines = told(&mut Session::new(Asker::Program), &world, asked).join("\n");
    for want in [
        r#""record":"group","name":"ring","at":"0x4000000000","size_bytes":4194304,"members":3,"members_up":1,"changes":2}"#,
        r#""record":"member","index":0,"guest":"web","access":"read-write","state":"up","lives":1,"pending":"0x4","changed":true}"#,
        r#""record":"member","index":1,"guest":null,"access":"read-write","state":"down","lives":0,"pending":"0x0","changed":false}"#,
        r#""record":"member","index":2,"guest":"db","access":"read-only","state":"starting","lives":0,"pending":"0x0","changed":false}"#,
        r#""what":"ring: doorbell","at":"0xb000000","size_bytes":4096,"interrupt":40}"#,
        r#""what":"ring: region","at":"0x4000000000","size_bytes":4194304,"interrupt":null}"#,
        r#""guest":"db","vcpu":null,"interrupt":40,"of":"ring","enabled":null"#,
        r#""what":"ring: shared","guest":null,"size_bytes":4198400}"#,
    ] {
        assert!(lines.contains(want), "{want} is not in {lines}");
    }
}

#[test]
fn what_guests_did_with_their_interrupts_is_asked_of_their_cores_before_it_is_told() {
    let world = Fake::default();
    let lines = told(&mut Session::new(Asker::Program), &world, "1 irq\n");
    assert!(lines.len() > 2, "{lines:?}");
    // What is looked at has its registers kept, too.
    assert!(world.guests().iter().all(|guest| guest.snapshot(VcpuId(0)).is_some()));
}

#[test]
fn how_busy_a_guest_is_adds_up_over_its_vcpus_and_what_is_not_known_is_not_told() {
    for (verb, window) in [("vm list", 200), ("top", 1000)] {
        let world = Fake::default();
        let [first, second] = &world.guests[0].counters.vcpus[..] else { panic!("it has two") };
        [first, second].iter().for_each(|vcpu| vcpu.usage.begin(1));
        let mut session = Session::new(Asker::Program);
        format!("1 {verb}\n").bytes().for_each(|byte| session.feed(byte, &world));
        let mut line = String::new();
        let mut go_on = |session: &mut Session| {
            line.clear();
            while !session.pull(&world, &mut line) {
                let until = session.waits_until().unwrap();
                if until - world.now() >= window {
                    return None;
                }
                world.clock.set(until);
            }
            Some(line.clone())
        };
        // The first reading is taken; one vCPU sleeps for the second half of what follows.
        assert_eq!(go_on(&mut session), None);
        let end = session.waits_until().unwrap();
        assert_eq!(end - world.now(), window);
        second.usage.waits(end - window / 2);
        first.stolen.add(window / 4);
        world.clock.set(end);
        // That of the other guest was seen by nobody: it was switched on too late.
        world.guests[1].counters.vcpus[0].usage.begin(end - 1);
        world.guests[1].counters.vcpus[0].usage.sampled(Some(end - 1));
        let web = go_on(&mut session).unwrap();
        assert!(web.contains(r#""cpu_permille":1500,"#), "{web}");
        assert!(web.contains(r#""steal_permille":250,"#), "{web}");
        let db = go_on(&mut session).unwrap();
        assert!(db.contains(r#""cpu_permille":null,"#), "{db}");
    }
}

#[test]
fn of_guests_that_share_cores_it_is_told_how_and_what_others_took() {
    let mut world = Fake::default();
    let config = &mut world.guests[0].config;
    config.sharing = Some(crate::config::Sharing { shares: 300, cap: Some(40), reserve: None });
    config.homes = Vec::from([CpuId(1), CpuId(0)]);
    // For a second and a half each has been ready, then run, then had nothing to do.
    for vcpu in &world.guests[0].counters.vcpus {
        vcpu.usage.begin_shared(500);
        vcpu.usage.runs(1000);
        vcpu.usage.blocks(3000);
        vcpu.stolen.add(250);
    }
    let mut session = Session::new(Asker::Program);
    let lines = told(&mut session, &world, "1 vm list\n2 vm show web\n").join("\n");
    for want in [
        r#""record":"cores","name":"web","policy":"shared","cores":["0","1"],"shares":300,"cap_permille":400,"reserve_permille":null}"#,
        r#""record":"cores","name":"db","policy":"dedicated","cores":["2"],"shares":null,"cap_permille":null,"reserve_permille":null}"#,
        r#""homes":["1","0"],"shares":300,"cap_permille":400,"#,
        r#""record":"time","vcpu":1,"ran_ns":2000000000,"idle_ns":2220000000,"stolen_ns":750000000}"#,
    ] {
        assert!(lines.contains(want), "{want} is not in {lines}");
    }
    // It wakes and waits for the rest of the second.
    let mut session = Session::new(Asker::Program);
    "1 top\n".bytes().for_each(|byte| session.feed(byte, &world));
    let mut line = String::new();
    let mut pulled = String::new();
    while !pulled.contains("true") {
        line.clear();
        if session.pull(&world, &mut line) {
            pulled += &line;
            continue;
        }
        let until = session.waits_until().unwrap();
        if until - world.now() == 1000 {
            world.guests[0].counters.vcpus[1].usage.wakes(until - 300);
        }
        world.clock.set(until);
    }
    assert!(pulled.contains(r#""steal_permille":300,"exits""#), "{pulled}");
    let want = r#""vcpu":1,"home":0,"cpu_permille":0,"steal_permille":300,"shares":300,"#;
    assert!(pulled.contains(want), "{pulled}");
    let want = r#""vcpu":0,"home":1,"cpu_permille":0,"steal_permille":0,"shares":300,"#;
    assert!(pulled.contains(want), "{pulled}");
}

#[test]
fn the_memory_told_is_all_that_the_board_has() {
    let lines = asked("1 mem\n");
    let size = |line: &str| -> Option<u64> {
        line.split("\"size_bytes\":").nth(1)?.trim_end_matches('}').parse().ok()
    };
    let sizes: Vec<u64> = lines.iter().filter_map(|line| size(line)).collect();
    let (total, parts) = sizes.split_last().unwrap();
    assert_eq!((*total, parts.iter().sum::<u64>()), (1 << 30, 1 << 30));
}

#[test]
fn the_board_ends_only_once_the_answer_is_on_its_way() {
    let world = Fake::default();
    let mut session = Session::new(Asker::Program);
    "1 poweroff now\n".bytes().for_each(|byte| session.feed(byte, &world));
    let mut line = String::new();
    assert!(session.pull(&world, &mut line));
    assert_eq!((line.as_str(), done(&world).len()), (r#"{"id":1,"ok":true}"#, 0));
    assert!(!session.pull(&world, &mut line));
    assert_eq!(world.done.borrow()[0].word, "now");
}

#[test]
fn a_person_gets_a_prompt_an_answer_and_a_prompt() {
    assert_eq!(typed(""), "tessera> ");
    let text = typed("help\r");
    assert!(text.starts_with("tessera> help\nVERB"), "{text}");
    assert!(text.contains("\nvm show NAME"), "{text}");
    assert!(text.ends_with("\ntessera> ") && !text.contains("events"), "{text}");
    assert_eq!(typed("\r"), "tessera> \ntessera> ");
    assert_eq!(typed("lgo\r"), "tessera> lgo\nthere is no `lgo`; did you mean `log`?\ntessera> ");
    let log = typed("log\r");
    assert_eq!(log.lines().count(), 42);
    assert!(log.contains("\nline \"33\"\nline \"34\"\n"), "no gap where a table is cut: {log}");
}

#[test]
fn tab_completes_what_is_clear_and_lists_the_rest() {
    assert_eq!(typed("v\tsh\tw\t"), "tessera> vm show web ");
    assert_eq!(typed("vm st\t"), "tessera> vm st");
    let text = typed("vm st\t\t");
    assert!(text.ends_with("\nstart  stop\ntessera> vm st"), "{text}");
    assert_eq!(typed("x\t\t"), "tessera> x");
}

#[test]
fn what_a_person_asks_for_is_done_and_ctrl_d_leaves() {
    let world = Fake::default();
    let mut shell = Shell::new();
    shell.open();
    seen(&mut shell, &world, "vm start db\rreboot\r");
    assert_eq!(done(&world), [Verb::VmStart, Verb::Reboot]);
    assert_eq!(world.done.borrow()[0].guest, VmId(1));
    assert_eq!(shell.key(4, &world), Wish::Leave);
    seen(&mut shell, &world, "lo");
    shell.open();
    assert_eq!(seen(&mut shell, &world, ""), "\rtessera> ");
}

#[test]
fn no_bytes_of_a_program_or_a_person_do_harm() {
    let mut seed = 0x7e55_e7a4_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let words =
        ["7 ", "vm ", "list", "show ", "web", "help", "log", "\n", "\r", "\t", "console ", " "];
    let world = Fake::default();
    let (mut session, mut shell) = (Session::new(Asker::Program), Shell::new());
    shell.open();
    for _ in 0..5_000 {
        let word = words.get(next() as usize % 16).copied().unwrap_or("\x1b[");
        let junk = next().to_le_bytes();
        let bytes = if next() % 4 == 0 { &junk[..] } else { word.as_bytes() };
        for line in told(&mut session, &world, bytes) {
            assert!(line.starts_with("{\"id\":") && line.ends_with('}'), "{line}");
        }
        let mut out = String::new();
        for &byte in bytes {
            out.push_str(&seen(&mut shell, &world, ""));
            let _ = shell.key(byte, &world);
        }
        assert!(out.len() < 20_000);
    }
}

/// A console with two guests, and a program or a person at its other end.
struct Line {
    console: RefCell<Console>,
    terminal: Terminal,
    world: Fake,
}

impl Port for RefCell<Console> {
    fn with<T>(&self, f: impl FnOnce(&mut Console) -> T) -> Option<T> {
        Some(f(&mut self.borrow_mut()))
    }
}

impl Line {
    fn new() -> Self {
        let console = Console::new(&["web", "db"], Sizes { output: 0, ..Sizes::default() });
        Self { console: RefCell::new(console), terminal: Terminal::new(), world: Fake::default() }
    }

    /// What comes out while `bytes` are typed and guests print, through a FIFO of 16 bytes, until it is quiet.
    fn types(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let mut all = Vec::new();
        let mut typed = bytes.as_ref().iter();
        loop {
            let next = typed.next();
            if let Some(&byte) = next {
                let _ = self.console.borrow_mut().physical_input(byte);
            }
            if self.console.borrow().monitor_is_due() {
                self.terminal.work(&self.world, &self.console);
            }
            let mut fifo = [0; 16];
            let count = self.console.borrow_mut().take_output(&mut fifo);
            all.extend_from_slice(&fifo[..count]);
            if next.is_none() && count == 0 && !self.console.borrow().monitor_is_due() {
                return String::from_utf8(all).expect("all is UTF-8");
            }
        }
    }

    fn print(&self, guest: u8, text: &str) {
        let mut console = self.console.borrow_mut();
        text.bytes().for_each(|byte| console.guest_output(VmId(guest), byte));
    }
}

#[test]
fn a_program_and_a_person_share_the_line_with_the_guests() {
    let mut line = Line::new();
    line.print(0, "web# ");
    line.print(1, "half a line");
    let text = line.types("\x1e1 events on\n\x1e2 help\n\x1e3 log\n");
    assert!(text.starts_with("web# \r\x1b[K\x1e{\"id\":1,\"ok\":true}\n\r"), "{text:?}");
    assert!(text.ends_with("\x1e{\"id\":3,\"ok\":true}\n\rweb# "), "{text:?}");
    let frames = text.split('\x1e').skip(1).map(|frame| frame.split('\n').next().unwrap());
    assert_eq!(frames.filter(|frame| frame.ends_with('}')).count(), 1 + 23 + 41);
    let text = line.types("\x1clog\r");
    assert!(text.contains("tessera> log\r\nline \"1\"\r\n"), "{text:?}");
    assert!(text.ends_with("line \"40\"\r\n\rtessera> "), "{text:?}");
    let text = line.types("\x1e9 nonsense\nhel");
    assert!(text.starts_with("\r\x1b[K\x1e{\"id\":9,\"ok\":false"), "{text:?}");
    assert!(text.ends_with("\rtessera> hel"), "{text:?}");
    let text = line.types("\x15\x04");
    assert!(text.ends_with("--- web (Ctrl-] switches) ---\r\nweb# "), "{text:?}");
}

#[test]
fn a_person_who_leaves_in_the_middle_of_an_answer_is_not_followed_by_it() {
    let mut line = Line::new();
    let text = line.types("\x1clog\rhelp\r\x1c");
    assert!(text.ends_with("--- web (Ctrl-] switches) ---\r\n"), "{text:?}");
    assert!(!text.contains("poweroff"), "{text:?}");
    let text = line.types("\x1c");
    assert!(text.ends_with("returns) ---\r\n\rtessera> "), "{text:?}");
}

#[test]
fn requests_that_come_too_fast_are_lost_as_a_whole_and_it_is_said() {
    let mut line = Line::new();
    let request = |n: usize| format!("\x1e{n} vm show nobody-of-this-name\n");
    let all: String = (0..300).map(request).collect();
    {
        let mut console = line.console.borrow_mut();
        all.bytes().for_each(|byte| assert_eq!(console.physical_input(byte), None));
    }
    let text = line.types("");
    let answers = text.matches("there is no guest `nobody-of-this-name`").count();
    assert!((20..300).contains(&answers), "{answers}");
    assert_eq!(text.matches("{\"id\":null,\"ok\":false,\"error\":\"a request is lost").count(), 1);
}

#[test]
fn top_is_drawn_in_place_until_a_key_or_below_what_came_between() {
    let world = Fake::default();
    let mut shell = Shell::new();
    shell.open();
    let mut out = String::new();
    while shell.pull(&world, &mut out) {}
    "top\r".bytes().for_each(|byte| {
        let _ = shell.key(byte, &world);
        while shell.pull(&world, &mut out) {}
    });
    let round = |shell: &mut Shell| {
        world.clock.set(shell.waits_until().expect("it waits"));
        let mut out = String::new();
        while shell.pull(&world, &mut out) {}
        out
    };
    assert_eq!(round(&mut shell), "", "the first reading");
    world.guests[0].counters.vcpus[0].exits.count(Cause::Hvc);
    world.guests[0].counters.disks[0].bytes_read.add(3 << 20);
    world.guests[0].counters.vcpus[0].stolen.add(world.counter_hz() / 4);
    world.guests[0].counters.vcpus[1].stolen.add(world.counter_hz());
    let text = round(&mut shell);
    assert!(text.starts_with("NAME  STATE    "), "{text}");
    assert!(
        text.contains("\nweb   defined  0.0%  125.0%      1           0         0  3 MiB      0 B"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 12);
    assert!(text.contains("\nweb      1     1  0.0%  100.0%  -         -        -"), "{text}");
    let text = round(&mut shell);
    assert!(
        text.starts_with("\x1b[12ANAME") && text.contains("\nweb   defined  0.0%   0.0%      0 "),
        "{text}"
    );
    shell.disturbed(true);
    assert!(round(&mut shell).starts_with("NAME"));
    let mut out = String::new();
    let _ = shell.key(b'q', &world);
    while shell.pull(&world, &mut out) {}
    assert_eq!(out, "\rtessera> ");
    assert!(shell.waits_until().is_none());
}

#[test]
fn the_last_exits_of_all_vcpus_are_told_in_their_order() {
    let world = Fake::default();
    for (vcpu, count) in [(0, 3), (1, 100)] {
        for n in 0..count {
            let exit = crate::trace::Record {
                why: 0x5a00_0000,
                pc: 4,
                time: 1 + n as u64,
                detail: 0x8400_0000,
            };
            world.guests[0].counters.vcpus[vcpu].ring.write(n, exit);
        }
    }
    let lines = told(&mut Session::new(Asker::Program), &world, "1 trace web\n2 trace db\n");
    assert_eq!(lines.len(), 3 + 64 + 1 + 1);
    let first = r#"{"id":1,"record":"exit","vcpu":0,"ago_ns":4999000000,"pc":"0x4","what":"#;
    assert!(lines[0].starts_with(first), "{}", lines[0]);
    assert!(lines[3].contains(r#""vcpu":1,"#) && lines[3].contains("PSCI_VERSION"), "{}", lines[3]);
}
