//! The control port of a guest that may look after the others: a virtio console device (VIRTIO 1.3 5.3) that is no console,
//! but has one port with a name, by which programs find it.
//!
//! Requests are lines of the guest, answers are lines for it. A guest may send as much as it likes: a request is taken from
//! its ring when the one before it was answered, so what waits does so in the guest's memory and in its time. It need not
//! read what it asked for: of an answer no more than a line waits, and the next is made when that one is in its buffers.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::mmio::{Transport, Written};
use super::queue::QueueError;
use super::{chain, reg};
use crate::guest_mem::GuestRam;
use crate::hw::Hw;

mod messages;
#[cfg(test)]
mod tests;

pub use messages::PORT_NAME;
use messages::{Inbound, Outbound};

/// Device ID of a console (VIRTIO 1.3 5).
pub const DEVICE_ID: u32 = 3;
/// Descriptors of a queue.
pub const QUEUE_MAX: u16 = 16;
/// Bytes that are kept of a request, without the line's end: more than any has that means something.
pub const MAX_REQUEST: usize = 256;

/// More than one port (VIRTIO 1.3 5.3.3), and with it ports that are no consoles.
const F_MULTIPORT: u64 = 1 << 1;
/// Columns and rows, which a port has not, then the number of ports (VIRTIO 1.3 5.3.4).
const CONFIG: [u8; 8] = (1u64 << 32).to_le_bytes();

/// The queues (VIRTIO 1.3 5.3.2). Names are the driver's: it receives what the device writes.
mod queue {
    pub const RECEIVE: u16 = 0;
    pub const TRANSMIT: u16 = 1;
    pub const CONTROL_RECEIVE: u16 = 2;
    pub const CONTROL_TRANSMIT: u16 = 3;
}

/// What the caller has to do after an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Effect {
    /// Pulse the device's (edge) interrupt.
    pub interrupt: bool,
    /// Serve the port: there may be a request ([`ControlPort::take_request`]), or more room for answers.
    pub serve: bool,
}

/// What there is of requests.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Taken {
    /// A line that the guest wrote, without its end; no more than [`MAX_REQUEST`] bytes of it. There may be others.
    Request(Vec<u8>),
    /// None yet, and it takes more time to say whether there is one: ask again.
    Later,
    /// None.
    Nothing,
}

/// The control port of a guest.
#[derive(Debug)]
pub struct ControlPort {
    transport: Transport<4>,
    /// Messages about the port that wait for buffers.
    messages: Outbound,
    /// A program of the guest has the port open.
    open: bool,
    /// The line that is being read, its first [`MAX_REQUEST`] bytes.
    line: Vec<u8>,
    /// Bytes that were taken of the next chain of the guest.
    taken: u64,
    /// What is left of a line that waits for buffers.
    waiting: VecDeque<u8>,
}

impl Default for ControlPort {
    fn default() -> Self {
        Self::new()
    }
}

impl ControlPort {
    /// A port that no driver has seen.
    pub fn new() -> Self {
        Self {
            transport: Transport::new(DEVICE_ID, F_MULTIPORT, QUEUE_MAX),
            messages: Outbound::NONE,
            open: false,
            line: Vec::new(),
            taken: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Whether a program of the guest has the port open: without one, answers are dropped.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the guest has all that was answered: then there may be a next line.
    pub fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Why the device broke down, once each time: for a person to read.
    pub fn take_fault(&mut self) -> Option<QueueError> {
        self.transport.take_fault()
    }

    /// A load from the device's window.
    pub fn mmio_read(&self, offset: u64, size: u8) -> u64 {
        self.transport.load(&CONFIG, offset, size)
    }

    /// A store to the device's window.
    pub fn mmio_write(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
        hw: &impl Hw,
        ram: &GuestRam,
    ) -> Effect {
        let mut effect = Effect::default();
        if size != 4 || offset >= reg::CONFIG {
            return effect;
        }
        match self.transport.write(offset, value as u32, ram) {
            Written::Nothing => {}
            Written::Interrupt => effect.interrupt = true,
            Written::Notify(queue::TRANSMIT) => effect.serve = true,
            Written::Notify(queue::RECEIVE) => {
                effect = Effect { interrupt: self.deliver(hw, ram), serve: true };
            }
            // A port that was closed is served, too: its conversation ends.
            Written::Notify(_) => {
                effect = Effect { interrupt: self.converse(hw, ram), serve: true };
            }
            Written::Reset => {
                self.transport.reset();
                self.messages = Outbound::NONE;
                self.set_open(false);
            }
            // Nothing is ever under way, so it can be done at once.
            Written::StopQueue(number) => {
                if let Some(queue) = self.transport.queue(number) {
                    queue.stop();
                }
                if number == queue::TRANSMIT {
                    self.taken = 0;
                }
            }
        }
        effect
    }

    /// Sends the guest a line, to which the end is added; whether to pulse the interrupt. Where the one before it still waits
    /// ([`ControlPort::is_clear`]) both do.
    pub fn answer(&mut self, line: &[u8], hw: &impl Hw, ram: &GuestRam) -> bool {
        if !self.open {
            return false;
        }
        self.waiting.extend(line.iter().chain(b"\n"));
        self.deliver(hw, ram)
    }

    /// The next request of the guest, and whether to pulse the interrupt.
    pub fn take_request(&mut self, hw: &impl Hw, ram: &GuestRam) -> (Taken, bool) {
        match self.try_take_request(hw, ram) {
            Ok(found) => found,
            Err(fault) => (Taken::Nothing, self.transport.break_down(fault)),
        }
    }

    /// Lines of one program are not for the next.
    fn set_open(&mut self, open: bool) {
        if self.open != open {
            self.waiting.clear();
            self.line.clear();
            (self.open, self.taken) = (open, 0);
        }
    }

    fn try_take_request(
        &mut self,
        hw: &impl Hw,
        ram: &GuestRam,
    ) -> Result<(Taken, bool), QueueError> {
        /// Pieces that are looked at before something else is.
        const PIECES: usize = 32;
        let mut used = false;
        let mut found = Taken::Later;
        for _ in 0..PIECES {
            let Some(queue) = self.transport.ready_queue(queue::TRANSMIT) else {
                return Ok((Taken::Nothing, false));
            };
            let Some(head) = queue.pop(hw, ram)? else {
                found = Taken::Nothing;
                break;
            };
            let mut piece = [0; MAX_REQUEST];
            let (count, mut all) = match self.open {
                true => chain::copy(queue, hw, ram, head, self.taken, &mut piece)?,
                false => (0, true),
            };
            let read = piece.get(..count).unwrap_or(&[]);
            let end = read.iter().position(|&byte| byte == b'\n');
            all &= end.is_none_or(|end| end + 1 == count);
            if all {
                queue.push(hw, ram, head, 0)?;
                (used, self.taken) = (true, 0);
            } else {
                queue.put_back();
                self.taken += end.map_or(count, |end| end + 1) as u64;
            }
            self.append(read.get(..end.unwrap_or(count)).unwrap_or(&[]));
            if end.is_some() {
                found = Taken::Request(core::mem::take(&mut self.line));
                break;
            }
        }
        Ok((found, used && self.transport.tell(queue::TRANSMIT, hw, ram)?))
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_REQUEST - self.line.len().min(MAX_REQUEST);
        self.line.extend(bytes.iter().take(room));
    }

    /// Moves what waits into the guest's buffers, as far as it has any; whether to pulse the interrupt.
    fn deliver(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        self.try_deliver(hw, ram).unwrap_or_else(|fault| self.transport.break_down(fault))
    }

    /// At most a queue's worth: each further buffer comes with a notification.
    fn try_deliver(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let mut used = false;
        for _ in 0..QUEUE_MAX {
            let (now, _) = self.waiting.as_slices();
            let Some(queue) = self.transport.ready_queue(queue::RECEIVE) else { break };
            if now.is_empty() {
                break;
            }
            let Some(head) = queue.pop(hw, ram)? else { break };
            let written = chain::fill(queue, hw, ram, head, now)?;
            if written == 0 {
                return Err(QueueError::Short);
            }
            queue.push(hw, ram, head, written)?;
            for _ in 0..written {
                self.waiting.pop_front();
            }
            used = true;
        }
        Ok(used && self.transport.tell(queue::RECEIVE, hw, ram)?)
    }

    /// Takes the driver's messages about the port and sends it those of the device; whether to pulse the interrupt.
    fn converse(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        let heard = self.hear(hw, ram);
        let all = heard.and_then(|heard| Ok(heard | self.say(hw, ram)?));
        all.unwrap_or_else(|fault| self.transport.break_down(fault))
    }

    fn hear(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let mut used = false;
        for _ in 0..QUEUE_MAX {
            let Some(queue) = self.transport.ready_queue(queue::CONTROL_TRANSMIT) else { break };
            let Some(head) = queue.pop(hw, ram)? else { break };
            let mut message = [0; messages::SIZE];
            let (count, _) = chain::copy(queue, hw, ram, head, 0, &mut message)?;
            queue.push(hw, ram, head, 0)?;
            used = true;
            if count < message.len() {
                continue;
            }
            match Inbound::parse(message) {
                Some(Inbound::DeviceReady) => self.messages.add(Outbound::ADD),
                Some(Inbound::PortReady) => self.messages.add(Outbound::NAME_AND_OPEN),
                Some(Inbound::PortOpen(open)) => self.set_open(open),
                None => {}
            }
        }
        Ok(used && self.transport.tell(queue::CONTROL_TRANSMIT, hw, ram)?)
    }

    fn say(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let mut used = false;
        while let Some((kind, message, len)) = self.messages.first() {
            let Some(queue) = self.transport.ready_queue(queue::CONTROL_RECEIVE) else { break };
            let Some(head) = queue.pop(hw, ram)? else { break };
            let message = message.get(..len).unwrap_or(&[]);
            let written = chain::fill(queue, hw, ram, head, message)?;
            if (written as usize) < len {
                return Err(QueueError::Short);
            }
            queue.push(hw, ram, head, written)?;
            self.messages.remove(kind);
            used = true;
        }
        Ok(used && self.transport.tell(queue::CONTROL_RECEIVE, hw, ram)?)
    }
}
