//! `cargo xtask ctl`: asks a board's monitor from the host, by its protocol.
//!
//! The board is at a serial port, or at a socket that passes its console on (`cargo xtask run --control`, ser2net, QEMU's
//! `-serial unix:…`). Whoever uses the console meanwhile is not disturbed.

mod table;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use table::Table;
use tessera_control::{Frame, Frames, port, request};

/// Ask a board's monitor: list guests, start and stop them, look at them
///
/// TARGET is a serial port (/dev/ttyUSB0), a socket (target/control.sock, as `cargo xtask run --control` makes it), or
/// HOST:PORT of a server that passes a serial port on. VERB is what a person would type at the monitor: `vm list`, `vm show
/// web`, `help`. The exit status is 1 where the monitor refuses, 2 where it does not answer.
#[derive(Args)]
pub struct CtlArgs {
    /// Where the board's console is
    #[arg(long, value_name = "TARGET")]
    target: String,
    /// Print the answer as it comes, one JSON object a line
    #[arg(long)]
    json: bool,
    /// After the answer, print what happens to guests until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
    /// What to ask
    #[arg(required = true, trailing_var_arg = true, value_name = "VERB")]
    verb: Vec<String>,
}

/// The monitor does not answer.
const SILENT: u8 = 2;

/// Runs `cargo xtask ctl`.
pub fn run(args: &CtlArgs) -> Result<ExitCode> {
    let mut line = connect(&args.target)?;
    let frames = listen(line.reader);
    let mut ask = |id, verb: &str| -> Result<()> {
        let sent = line.writer.write_all(&request(id, verb)).and_then(|()| line.writer.flush());
        sent.with_context(|| format!("cannot write to {}", args.target))
    };
    // Numbers that no other program is likely to use at the same console at the same time.
    let id = std::process::id() & 0x7fff_ffff;
    ask(id, &args.verb.join(" "))?;
    let code = answer(&frames, id, args)?;
    if args.follow && code == ExitCode::SUCCESS {
        ask(id, "events on")?;
        for frame in frames {
            if let Frame::Event(event) = frame {
                println!("{event}");
            }
        }
    }
    Ok(code)
}

/// Prints the answer to request `id`.
fn answer(frames: &Receiver<Frame>, id: u32, args: &CtlArgs) -> Result<ExitCode> {
    let mut table = Table::default();
    let end = Instant::now() + Duration::from_secs(args.timeout);
    loop {
        let frame = match frames.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(frame) => frame,
            Err(RecvTimeoutError::Disconnected) => bail!("{} was closed", args.target),
            Err(RecvTimeoutError::Timeout) => {
                eprintln!(
                    "error: no answer from {} within {} s: is the board on, and is this its console?",
                    args.target, args.timeout
                );
                return Ok(ExitCode::from(SILENT));
            }
        };
        match frame {
            Frame::Record(whose, record) if whose == u64::from(id) => match args.json {
                true => println!("{record}"),
                false => table.add(&record),
            },
            Frame::End(Some(whose), result) if whose == u64::from(id) => {
                print!("{table}");
                return Ok(match result {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("error: {error}");
                        ExitCode::FAILURE
                    }
                });
            }
            Frame::End(None, Err(error)) => {
                eprintln!("error: {error}");
                return Ok(ExitCode::FAILURE);
            }
            _ => {}
        }
    }
}

/// Both directions of a console.
struct Line {
    reader: Box<dyn Read + Send>,
    writer: Box<dyn Write>,
}

fn connect(target: &str) -> Result<Line> {
    let path = Path::new(target);
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    match kind {
        Ok(kind) if kind.is_socket() => {
            let writer = UnixStream::connect(path)
                .with_context(|| format!("nobody listens at {target}: is the board running?"))?;
            Ok(Line { reader: Box::new(writer.try_clone()?), writer: Box::new(writer) })
        }
        Ok(_) => {
            let writer: File = port::open(path).map_err(anyhow::Error::msg)?;
            Ok(Line { reader: Box::new(writer.try_clone()?), writer: Box::new(writer) })
        }
        Err(_) if target.contains(':') && !target.contains('/') => {
            let writer = TcpStream::connect(target)
                .with_context(|| format!("cannot connect to {target}"))?;
            Ok(Line { reader: Box::new(writer.try_clone()?), writer: Box::new(writer) })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no {target}: name a serial port, a socket, or HOST:PORT")
        }
        Err(error) => Err(error).with_context(|| format!("cannot use {target}")),
    }
}

/// Reads frames until the line is closed.
fn listen(mut reader: Box<dyn Read + Send>) -> Receiver<Frame> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut frames = Frames::default();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            for frame in frames.feed(&bytes[..count], |_| ()) {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}
