//! A QEMU that runs until it has printed what was waited for.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::proc;

/// Longer than any silence of a machine that gets on: for a computer that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// In the line of a guest that found something wrong: its numbers are worth nothing.
const FAILED: &str = "not ok";

/// A running machine; it ends when this is dropped.
pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    shown: String,
}

impl Machine {
    /// Starts it.
    pub fn start(qemu: &mut Command) -> Result<Self> {
        let shown = proc::show(qemu);
        let mut child = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{shown}`"))?;
        let stdout = child.stdout.take().context("QEMU has no output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_string()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, shown })
    }

    /// The lines up to the first one with `wanted`; an error where a guest finds something wrong before that.
    pub fn until(&mut self, wanted: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(FAILED) {
                bail!("`{}`: {line}", self.shown);
            }
            let found = line.contains(wanted);
            lines.push(line);
            if found {
                return Ok(lines);
            }
        }
        lines.push(self.complaints());
        bail!("`{}` did not get to {wanted}; it printed:\n{}", self.shown, lines.join("\n"))
    }

    /// Ends it, and what QEMU itself had to say.
    fn complaints(&mut self) -> String {
        // It may have ended by itself, and what it cannot say is not missed.
        let _ = self.child.kill();
        let mut said = String::new();
        let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        said
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
