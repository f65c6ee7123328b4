//! The monitor at a guest's control port: its device, and the conversation over it.
//!
//! Whoever stores to the device serves it, in the guest's own time: a request is taken when the one before it was answered,
//! and an answer's next line is made when there is room for it. What goes on by itself (`top`, `events`) is served by a core
//! of the guest whose deadline came, or that was told.

use alloc::string::String;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::errand::Errand;
use crate::guest_mem::GuestRam;
use crate::hw::Hw;
use crate::lock::Mutex;
use crate::monitor::{Asker, Session, World};
use crate::virtio::console::{ControlPort, Taken};

#[cfg(any(test, feature = "fake"))]
#[cfg_attr(not(test), allow(dead_code, reason = "tests use more of it than fuzz targets"))]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

/// Lines and requests that are dealt with at once.
const TURNS: usize = 16;

/// What came of serving a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Served {
    /// Pulse the device's (edge) interrupt.
    pub interrupt: bool,
    /// There is more to do, now.
    pub more: bool,
}

/// A guest's control port. The conversation's lock is taken before every other, and only tried; the port's is a device's.
#[derive(Debug)]
pub struct Control {
    /// The device.
    pub port: Mutex<ControlPort>,
    session: Errand<Session>,
    /// The program is told what happens, and when ([`Control::wants_events`]).
    events: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A port that nobody has used.
    pub fn new() -> Self {
        Self {
            port: Mutex::new(ControlPort::new()),
            session: Errand::new(Session::new(Asker::Guest)),
            events: AtomicBool::new(false),
        }
    }

    /// Whether the port is to be served when the state of a guest changed.
    pub fn wants_events(&self) -> bool {
        self.events.load(Ordering::Relaxed)
    }

    /// When the port is to be served although nothing came, on the board's counter.
    pub fn waits_until(&self) -> Option<u64> {
        // Whoever is at it asks afterwards.
        self.session.look(Session::waits_until)?
    }

    /// Answers what the guest with this `ram` asks: a bounded piece of it. Nothing may be locked.
    pub fn serve(&self, world: &impl World, hw: &impl Hw, ram: &GuestRam) -> Served {
        let served = self.session.run(|session| {
            let mut served = Served::default();
            served.more = self.work(session, world, hw, ram, &mut served.interrupt);
            self.events.store(session.wants_events(), Ordering::Relaxed);
            served
        });
        let (served, word) = served.unwrap_or_default();
        Served { more: served.more | word, ..served }
    }

    /// As [`Control::serve`], with the session in hand; whether there is more.
    fn work(
        &self,
        session: &mut Session,
        world: &impl World,
        hw: &impl Hw,
        ram: &GuestRam,
        interrupt: &mut bool,
    ) -> bool {
        let mut line = String::new();
        for _ in 0..TURNS {
            let (open, clear) = {
                let port = self.port.lock();
                (port.is_open(), port.is_clear())
            };
            if !open {
                *session = Session::new(Asker::Guest);
            } else if !clear {
                // The guest gives buffers, and with them the word to go on.
                return false;
            }
            line.clear();
            if session.pull(world, &mut line) {
                *interrupt |= self.port.lock().answer(line.as_bytes(), hw, ram);
                continue;
            }
            if !session.takes_input() {
                return false;
            }
            let (taken, used) = self.port.lock().take_request(hw, ram);
            *interrupt |= used;
            match taken {
                Taken::Request(request) => {
                    request.iter().chain(b"\n").for_each(|&byte| session.feed(byte, world));
                }
                Taken::Later => return true,
                Taken::Nothing => return false,
            }
        }
        true
    }
}
