//! A running board and a reader of its console who is patient, but not for ever.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tessera_control::{Frame, Frames, Value};

use crate::report::report;
use crate::screen::{Screen, TESSERA};

/// How long to wait for something that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Why most waits fail.
const TIME_IS_OVER: &str = "the time is over";
/// The key that moves the focus.
const SWITCH: u8 = 0x1d;
/// The last guest that has a digit.
const LAST_DIGIT: usize = 9;

/// Something with a console and a power switch.
pub trait Board {
    /// Switches it on: what it prints, and what takes what is typed.
    fn switch_on(&mut self) -> (Box<dyn Read + Send>, Box<dyn Write + Send>);
    /// Switches it off.
    fn switch_off(&mut self);
    /// The status with which it ended by itself, waiting a moment for it.
    fn ended(&mut self) -> Option<i32>;
    /// What it is, for a person who wants to see for himself.
    fn describe(&self) -> String;
    /// How many times slower it may be than QEMU's `virt`.
    fn slowness(&self) -> u32 {
        1
    }
}

/// What the reader has seen.
pub(crate) struct Seen {
    screen: Screen,
    frames: Frames,
    /// Answers of the monitor, and what it told of its own accord.
    pub(crate) answers: Vec<Frame>,
    closed: bool,
    /// Why it is closed, where that is known.
    trouble: String,
}

impl Seen {
    /// Takes what the console sent: the monitor's answers, and what a person would see.
    fn take(&mut self, bytes: &[u8]) {
        let Self { screen, frames, answers, .. } = self;
        answers.extend(frames.feed(bytes, |byte| screen.feed(&[byte])));
    }
}

/// A board that runs.
pub struct Target {
    board: Box<dyn Board>,
    keyboard: Box<dyn Write + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    guests: Vec<String>,
    /// How much of what each said was taken note of.
    marks: BTreeMap<String, usize>,
    pub(crate) commands: u32,
    pub(crate) patience: Duration,
    may_panic: bool,
}

impl Target {
    /// Switches `board` on. `guests` are those that are going to run, in the order of the configuration.
    pub fn start(mut board: Box<dyn Board>, guests: &[&str]) -> Self {
        let (mut console, keyboard) = board.switch_on();
        let seen = Seen {
            screen: Screen::new(guests),
            frames: Frames::default(),
            answers: Vec::new(),
            closed: false,
            trouble: String::new(),
        };
        let seen = Arc::new((Mutex::new(seen), Condvar::new()));
        let shared = seen.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let read = console.read(&mut bytes);
                let mut seen = lock(&shared.0);
                let count = *read.as_ref().unwrap_or(&0);
                seen.take(&bytes[..count]);
                seen.closed = count == 0;
                seen.trouble = read.err().map_or(String::new(), |error| format!(": {error}"));
                shared.1.notify_all();
                if seen.closed {
                    return;
                }
            }
        });
        let patience = PATIENCE * board.slowness();
        Self {
            board,
            keyboard,
            seen,
            guests: guests.iter().map(ToString::to_string).collect(),
            marks: BTreeMap::new(),
            commands: 0,
            patience,
            may_panic: false,
        }
    }

    /// Waits longer from now on: `times` the usual.
    pub fn be_patient(&mut self, times: u32) {
        self.patience = PATIENCE * self.board.slowness() * times;
    }

    /// Does not take a panic of Tessera for the end of the test.
    pub fn let_panic(&mut self) {
        self.may_panic = true;
    }

    /// Waits until `who` says `what`, after all that was waited for before, and takes note of it.
    #[track_caller]
    pub fn expect(&mut self, who: &str, what: &str) {
        self.wait_for(who, what, |said| said.find(what).map(|at| (at + what.len(), ())));
    }

    /// Waits for a whole line of `who` that contains `what`, and returns it.
    #[track_caller]
    pub fn line(&mut self, who: &str, what: &str) -> String {
        self.wait_for(who, what, |said| {
            let at = said.find(what)?;
            let start = said[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = at + said[at..].find('\n')?;
            Some((end + 1, said[start..end].to_string()))
        })
    }

    /// The next whole line of `who`, if there is one within `patience`.
    #[track_caller]
    pub fn next_line(&mut self, who: &str, patience: Duration) -> Option<String> {
        let mark = self.mark(who);
        let line = self.try_seen(patience * self.board.slowness(), |seen| {
            let said = seen.screen.said(who);
            Some(said.get(mark..)?.split_once('\n')?.0.to_string())
        });
        match line {
            Ok(line) => {
                self.marks.insert(who.to_string(), mark + line.len() + 1);
                Some(line)
            }
            Err(why) if why == TIME_IS_OVER => None,
            Err(why) => self.fail(&format!("{why}, waiting for a line of {who}")),
        }
    }

    /// What `who` said and nobody took note of yet.
    pub fn rest(&self, who: &str) -> String {
        let said = self.said(who);
        said.get(self.mark(who)..).unwrap_or_default().to_string()
    }

    /// All that `who` said.
    pub fn said(&self, who: &str) -> String {
        lock(&self.seen.0).screen.said(who)
    }

    /// Takes note of all that `who` said: what is waited for is yet to come.
    pub fn pass_over(&mut self, who: &str) {
        self.marks.insert(who.to_string(), self.said(who).len());
    }

    /// What the monitor told of its own accord.
    pub fn events(&self) -> Vec<Value> {
        let event = |frame: &Frame| match frame {
            Frame::Event(event) => Some(event.clone()),
            _ => None,
        };
        lock(&self.seen.0).answers.iter().filter_map(event).collect()
    }

    /// Types.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        let sent = self.keyboard.write_all(text.as_bytes()).and_then(|()| self.keyboard.flush());
        if sent.is_err() {
            self.fail(&format!("could not type `{}`: the board is off", text.trim_end()));
        }
    }

    /// Gives `who` the focus.
    #[track_caller]
    pub fn focus(&mut self, who: &str) {
        if lock(&self.seen.0).screen.focus() == who {
            return;
        }
        let place = self.guests.iter().position(|guest| guest == who);
        let place = place.expect("only guests have the focus");
        // Digits name the first ones; to others the key alone goes on, from one to the next.
        let digit = place.min(LAST_DIGIT - 1);
        self.send(&format!("{}{}", char::from(SWITCH), digit + 1));
        self.wait_focus(digit);
        for next in digit + 1..=place {
            self.send(&char::from(SWITCH).to_string());
            self.wait_focus(next);
        }
    }

    #[track_caller]
    fn wait_focus(&mut self, place: usize) {
        let who = self.guests[place].clone();
        let what = format!("the focus on {who}");
        self.wait(TESSERA, &what, |screen, _| (screen.focus() == who).then_some((0, ())));
    }

    /// Gives `who` the focus and waits for its shell's prompt.
    #[track_caller]
    pub fn prompt(&mut self, who: &str) {
        self.focus(who);
        self.expect(who, &format!("{who}:~# "));
    }

    /// Has `who`'s shell run `command`, and returns what it printed. It has to succeed.
    #[track_caller]
    pub fn shell(&mut self, who: &str, command: &str) -> String {
        let (status, output) = self.try_shell(who, command);
        if status != 0 {
            self.fail(&format!("`{command}` in {who} ended with {status}: {output}"));
        }
        output
    }

    /// Has `who`'s shell run `command`: its exit status, and what it printed.
    #[track_caller]
    pub fn try_shell(&mut self, who: &str, command: &str) -> (i32, String) {
        self.focus(who);
        self.commands += 1;
        let n = self.commands;
        // Quotes keep the terminal's echo of the command from being taken for its output.
        self.send(&format!("echo B''EGIN-{n}; {command}; echo E''ND-{n} $?\n"));
        let (begin, end) = (format!("BEGIN-{n}\n"), format!("END-{n} "));
        self.wait_for(who, command, |said| {
            let from = said.find(&begin)? + begin.len();
            let output = &said[from..];
            let to = output.find(&end)?;
            let rest = &output[to + end.len()..];
            let line = rest.find('\n')?;
            let status = rest[..line].trim().parse().ok()?;
            Some((from + to + end.len() + line, (status, output[..to].trim_end().to_string())))
        })
    }

    /// Waits until the board ends by itself: its exit status.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        self.wait_for_end();
        match self.board.ended() {
            Some(status) => status,
            None => self.fail("the console was closed, but the board runs on"),
        }
    }

    #[track_caller]
    fn wait_for_end(&mut self) {
        let deadline = Instant::now() + self.patience;
        let seen = self.seen.clone();
        let mut now = lock(&seen.0);
        while !now.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(now);
                self.fail("the board does not end");
            }
            now = seen.1.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Cuts the power, at once. What was printed before can still be read.
    pub fn cut(&mut self) {
        self.board.switch_off();
        self.wait_for_end();
    }

    /// Sleeps, for what is to go on unwatched.
    pub fn let_run(&self, time: Duration) {
        thread::sleep(time);
    }

    fn mark(&self, who: &str) -> usize {
        self.marks.get(who).copied().unwrap_or(0)
    }

    #[track_caller]
    fn wait_for<T>(
        &mut self,
        who: &str,
        what: &str,
        find: impl Fn(&str) -> Option<(usize, T)>,
    ) -> T {
        self.wait(who, &format!("`{what}` from {who}"), |screen, mark| {
            find(screen.said(who).get(mark..)?)
        })
    }

    /// Waits until `find`, given the screen and the mark of `who`, has found something, and moves the mark behind it.
    #[track_caller]
    fn wait<T>(
        &mut self,
        who: &str,
        what: &str,
        find: impl Fn(&Screen, usize) -> Option<(usize, T)>,
    ) -> T {
        let mark = self.mark(who);
        let (further, found) = self.wait_seen(what, |seen| find(&seen.screen, mark));
        self.marks.insert(who.to_string(), mark + further);
        found
    }

    /// Waits until `find` has found something in what was seen.
    #[track_caller]
    pub(crate) fn wait_seen<T>(&mut self, what: &str, find: impl Fn(&Seen) -> Option<T>) -> T {
        let begin = Instant::now();
        self.try_seen(self.patience, find).unwrap_or_else(|why| {
            self.fail(&format!("{why} after {:.0?}, waiting for {what}", begin.elapsed()))
        })
    }

    /// As [`Self::wait_seen`]; the error is why it was given up.
    fn try_seen<T>(
        &self,
        patience: Duration,
        find: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T, String> {
        let begin = Instant::now();
        let mut now = lock(&self.seen.0);
        loop {
            if let Some(found) = find(&now) {
                return Ok(found);
            }
            if now.screen.panicked() && !self.may_panic {
                return Err("Tessera panicked".into());
            }
            if now.closed {
                return Err(format!("the board ended{}", now.trouble));
            }
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(TIME_IS_OVER.into());
            }
            now = self.seen.1.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fails the test, and says all that is known.
    #[track_caller]
    pub fn fail(&mut self, why: &str) -> ! {
        // What is on its way may tell more.
        thread::sleep(Duration::from_millis(200));
        let report = report(why, lock(&self.seen.0).screen.all());
        panic!("{report}--- the board\n{}\n", self.board.describe());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.board.switch_off();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
