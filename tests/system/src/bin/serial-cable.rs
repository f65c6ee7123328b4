//! A serial port of this computer that leads to QEMU's UART: `serial-cable DIRECTORY`.
//!
//! Problem: QEMU can make such a port itself (`-serial pty`), but then it goes whenever the board is switched off, as no
//! adapter does, and has another name each time. Idea: this program makes the port and keeps it; QEMU connects to it. The
//! port is `DIRECTORY/tty`, and QEMU's side is the socket `DIRECTORY/uart`. It ends when it is ended.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tessera_control::port::pair;

/// The board's end, while it is switched on.
type Plug = Arc<Mutex<Option<UnixStream>>>;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: serial-cable DIRECTORY");
        return ExitCode::FAILURE;
    };
    match serve(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// Copies both ways until there is an error.
fn serve(directory: &Path) -> io::Result<()> {
    let (uart, tty) = (directory.join("uart"), directory.join("tty"));
    for stale in [&uart, &tty] {
        match std::fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let board = UnixListener::bind(&uart)?;
    let (mut port, name) = pair()?;
    // Kept open, or what the other side does not have open would read as an error here.
    let open = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    let mut settings = tcgetattr(&open)?;
    settings.make_raw();
    tcsetattr(&open, OptionalActions::Now, &settings)?;
    symlink(&name, &tty)?;
    let plug = Plug::default();
    let (mut typed, other) = (port.try_clone()?, plug.clone());
    thread::spawn(move || type_on(&mut typed, &other));
    for stream in board.incoming() {
        let mut stream = stream?;
        *lock(&plug) = Some(stream.try_clone()?);
        // Ends when the board is switched off.
        let _ = io::copy(&mut stream, &mut port);
        *lock(&plug) = None;
    }
    Ok(())
}

/// What is typed to a board that is off is lost.
fn type_on(port: &mut File, plug: &Plug) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = port.read(&mut bytes) {
        if let Some(stream) = lock(plug).as_mut() {
            let _ = stream.write_all(&bytes[..count]);
        }
    }
}

fn lock(plug: &Plug) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
    plug.lock().unwrap_or_else(PoisonError::into_inner)
}
