//! A board on a shelf: its console is a serial port, its power switch and its memory card are somebody's commands.
//!
//! `cargo xtask hil` names them by variables. Where it gives no command, a person at the terminal is asked. Before each
//! test the card is written anew, because each test has a bundle and partitions of its own.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tessera_control::port::open;

use crate::artefacts::Artefact;
use crate::machine::Boot;
use crate::target::Board;

/// What names the serial port.
const PORT: &str = "TESSERA_SERIAL";
/// Commands, with what a person does where there is none and the option that gives one.
const POWER_ON: Switch = Switch("TESSERA_POWER_ON", "switch the board on", "--power-on");
const POWER_OFF: Switch = Switch("TESSERA_POWER_OFF", "switch the board off", "--power-off");
const FLASH: Switch = Switch("TESSERA_FLASH", "write the card and put it in", "--flash");
const ALL: [Switch; 3] = [POWER_ON, POWER_OFF, FLASH];

/// How often a reader looks whether it is to stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A real board loads from its card and may be an emulated one that is slow: times the patience for QEMU's `virt`.
const SLOWNESS: u32 = 4;

/// A variable with a command, what a person does instead, and the option that sets it.
#[derive(Clone, Copy)]
struct Switch(&'static str, &'static str, &'static str);

/// The board, with what it is to boot.
pub struct Serial {
    port: PathBuf,
    boot: Boot,
    /// Told to readers of the console; they hold a share of it for as long as they read.
    stop: Arc<AtomicBool>,
    on: bool,
}

impl Serial {
    /// Whether this run is about such a board.
    pub fn is_configured() -> bool {
        std::env::var_os(PORT).is_some()
    }

    /// What prevents such a run, before it has begun. There is nothing to check where the run is about none.
    pub fn check() -> Result<(), String> {
        let Some(port) = std::env::var_os(PORT) else { return Ok(()) };
        open(Path::new(&port))?;
        let missing: Vec<&str> =
            ALL.iter().filter(|it| it.command().is_none()).map(|it| it.2).collect();
        if missing.is_empty() || io::stdin().is_terminal() {
            return Ok(());
        }
        Err(format!(
            "no {} was given, and there is nobody at a terminal who could be asked to do it",
            missing.join(" and no ")
        ))
    }

    /// The board of this run, off.
    pub fn new(boot: &Boot) -> Self {
        let port = std::env::var_os(PORT).expect("the run is about a board").into();
        Self { port, boot: boot.clone(), stop: Arc::default(), on: false }
    }

    /// The files that commands may want, by the names of the variables that tell them.
    fn files(&self) -> Vec<(&'static str, PathBuf)> {
        let optional =
            [("TESSERA_SD_IMAGE", &self.boot.disk), ("TESSERA_BUNDLE", &self.boot.bundle)];
        let optional = optional.into_iter().filter_map(|(name, file)| Some((name, file.clone()?)));
        let always = [Artefact::Image, Artefact::Dtb].map(|file| (file.variable(), file.path()));
        optional.chain(always).collect()
    }

    /// Has a command do it, or a person.
    fn have_done(&self, switch: Switch) -> Result<(), String> {
        let Some(command) = switch.command() else { return self.ask(switch) };
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).env(PORT, &self.port).envs(self.files());
        let status = shell.status().map_err(|error| format!("cannot run `{command}`: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{} `{command}`: {status}", switch.2)) }
    }

    fn ask(&self, Switch(variable, what, _): Switch) -> Result<(), String> {
        let image = self.boot.disk.as_ref().filter(|_| variable == FLASH.0);
        let image = image.map_or(String::new(), |image| format!(" ({})", image.display()));
        eprint!("\nplease {what}{image}, then press Enter: ");
        let read = io::stdin().read_line(&mut String::new());
        read.map(|_| ()).map_err(|error| format!("nobody was there to {what}: {error}"))
    }

    fn try_switch_on(&mut self) -> Result<(File, File), String> {
        // It may be on from whatever was before, and a card is not written under a board that runs.
        self.have_done(POWER_OFF)?;
        self.have_done(FLASH)?;
        let port = open(&self.port)?;
        let keyboard = port.try_clone().map_err(|error| error.to_string())?;
        self.on = true;
        self.have_done(POWER_ON)?;
        Ok((port, keyboard))
    }
}

impl Switch {
    fn command(self) -> Option<String> {
        std::env::var(self.0).ok().filter(|command| !command.is_empty())
    }
}

impl Board for Serial {
    fn switch_on(&mut self) -> (Box<dyn Read + Send>, Box<dyn Write + Send>) {
        let (port, keyboard) = self.try_switch_on().unwrap_or_else(|error| panic!("{error}"));
        self.stop = Arc::default();
        (Box::new(Console { port, stop: self.stop.clone() }), Box::new(keyboard))
    }

    fn switch_off(&mut self) {
        if std::mem::take(&mut self.on)
            && let Err(error) = self.have_done(POWER_OFF)
        {
            eprintln!("error: {error}");
        }
        self.stop.store(true, Ordering::Relaxed);
        // Two readers would share what comes.
        while Arc::strong_count(&self.stop) > 1 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&mut self) -> Option<i32> {
        None
    }

    fn describe(&self) -> String {
        let files = self.files().into_iter();
        let files = files.map(|(name, file)| format!("{name}={}", file.display()));
        let commands = ALL.iter().filter_map(|it| Some(format!("{}={:?}", it.0, it.command()?)));
        let port = format!("{PORT}={}", self.port.display());
        std::iter::once(port).chain(commands).chain(files).collect::<Vec<_>>().join("\n")
    }

    fn slowness(&self) -> u32 {
        SLOWNESS
    }
}

/// What comes from a serial port, until it is gone or nobody wants it any more.
struct Console {
    port: File,
    stop: Arc<AtomicBool>,
}

impl Read for Console {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while !self.stop.load(Ordering::Relaxed) {
            let ready = poll(&mut [PollFd::new(&self.port, PollFlags::IN)], Some(&TICK));
            match ready {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => match self.port.read(bytes) {
                    // A port of which nothing is left reads as empty, or as broken.
                    Ok(0) | Err(_) => {
                        return Err(io::Error::other(
                            "the serial port is gone: was its adapter unplugged?",
                        ));
                    }
                    count => return count,
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tessera_control::port::pair;

    use super::*;

    #[test]
    fn bytes_come_as_they_were_sent_and_the_end_says_why() {
        let (mut near, far) = pair().unwrap();
        let mut console = Console { port: open(&far).unwrap(), stop: Arc::default() };
        near.write_all(b"a\r\n\x03\x04\x11").unwrap();
        let mut bytes = [0; 16];
        let count = console.read(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"a\r\n\x03\x04\x11");
        drop(near);
        let error = console.read(&mut bytes).unwrap_err().to_string();
        assert!(error.contains("unplugged"), "{error}");
    }

    #[test]
    fn a_reader_that_is_told_to_stop_does() {
        let (_near, far) = pair().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut console = Console { port: open(&far).unwrap(), stop: stop.clone() };
        let reader = thread::spawn(move || console.read(&mut [0; 1]).unwrap());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reader.join().unwrap(), 0);
    }
}
