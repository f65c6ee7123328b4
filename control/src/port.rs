//! A serial port with a board's console behind it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr,
};

/// Of the Raspberry Pi's firmware, of U-Boot and of all that Linux is told without saying otherwise.
const BAUD: u32 = 115_200;

/// Opens a port for this process alone, raw and without what came before.
pub fn open(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let port: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => format!("there is no {shown}: is the adapter plugged in?{}", others()),
        Errno::ACCESS | Errno::PERM => {
            format!("no permission to use {shown}: join its group (often `sudo usermod -aG dialout $USER`), then log in again")
        }
        Errno::BUSY => in_use(path),
        error => format!("cannot open {shown}: {error}"),
    })?;
    // Not waiting was for the opening only, which waits for a modem otherwise.
    let blocking = rustix::fs::fcntl_getfl(&port)
        .and_then(|flags| rustix::fs::fcntl_setfl(&port, flags - OFlags::NONBLOCK));
    blocking.map_err(|error| format!("cannot use {shown}: {error}"))?;
    let port = File::from(port);
    match port.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(in_use(path)),
        Err(TryLockError::Error(error)) => return Err(format!("cannot lock {shown}: {error}")),
        Ok(()) => {}
    }
    set_up(&port).map_err(|error| match error {
        Errno::NOTTY => format!("{shown} is no serial port"),
        error => format!("cannot set up {shown}: {error}"),
    })?;
    Ok(port)
}

/// A pair of pseudo-terminals, which pass for the two ends of a serial cable: this side, and the other side's name.
pub fn pair() -> io::Result<(File, PathBuf)> {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&near)?;
    unlockpt(&near)?;
    let far = ptsname(&near, Vec::new())?.into_string().map_err(io::Error::other)?;
    Ok((File::from(near), far.into()))
}

/// Raw, 8 data bits, no parity, 1 stop bit, no handshake, and no end when the other side hangs up.
fn set_up(port: &File) -> Result<(), Errno> {
    let mut settings = tcgetattr(port)?;
    settings.make_raw();
    settings.set_speed(BAUD)?;
    settings.control_modes -= ControlModes::CSTOPB | ControlModes::CRTSCTS | ControlModes::PARENB;
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD | ControlModes::CS8;
    tcsetattr(port, OptionalActions::Now, &settings)?;
    tcflush(port, QueueSelector::IOFlush)
}

fn in_use(path: &Path) -> String {
    format!("{} is in use: does a terminal program have it open?", path.display())
}

/// The ports that are here instead.
fn others() -> String {
    let names = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let kinds = ["ttyUSB", "ttyACM", "ttyAMA"];
    let mut found: Vec<String> = names
        .filter(|name| kinds.iter().any(|kind| name.starts_with(kind)))
        .map(|name| format!("/dev/{name}"))
        .collect();
    found.sort();
    if found.is_empty() { String::new() } else { format!(" Here are {}.", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_used_is_told_with_the_reason() {
        let error = |path: &Path| open(path).unwrap_err();
        assert!(error(Path::new("/dev/ttyNONE")).contains("plugged in"));
        assert!(error(Path::new("/dev/null")).contains("is no serial port"));
        let (_near, far) = pair().unwrap();
        let _other = open(&far).unwrap();
        assert!(error(&far).contains("is in use"));
    }
}
