//! A guest's power button: a virtio input device (VIRTIO 1.3 5.8) with a single key.
//!
//! Problem: a guest can only be asked to shut down, and stock kernels listen to few things that ask. Idea: a keyboard whose
//! only key is `KEY_POWER`. Debian's kernels have the driver for it as modules, and systemd's logind shuts down at that key
//! of any keyboard. Idea not taken: the PL061 and `gpio-keys` of other virtual boards, for which Debian's cloud kernels lack
//! the second half.
//!
//! A press is four events: key down, that was it, key up, that was it. What finds no buffer waits for the next one, so a
//! press that comes before the driver is not lost. No more than one waits: a button that is down cannot be pressed again.

use super::chain;
use super::mmio::{Transport, Written};
use super::queue::QueueError;
use super::reg;
use crate::guest_mem::GuestRam;
use crate::hw::Hw;

#[cfg(test)]
mod tests;

/// Device ID of an input device (VIRTIO 1.3 5).
pub const DEVICE_ID: u32 = 18;
/// Descriptors of a queue.
pub const QUEUE_MAX: u16 = 16;

/// The queues (VIRTIO 1.3 5.8.2).
mod queue {
    /// Events for the driver.
    pub const EVENT: u16 = 0;
    /// What the driver says, which is about lights that this keyboard does not have.
    pub const STATUS: u16 = 1;
}

/// The configuration space (VIRTIO 1.3 5.8.4): what is asked for by `SELECT` and `SUBSEL` is at `DATA`, `SIZE` bytes.
mod config {
    pub const SELECT: usize = 0;
    pub const SUBSEL: usize = 1;
    pub const SIZE: usize = 2;
    pub const DATA: usize = 8;
    /// Bytes of the longest answer, the name.
    pub const ROOM: usize = 20;

    /// Values of `SELECT` (VIRTIO 1.3 5.8.4): the name, the ids, and which codes there are of the event type in `SUBSEL`.
    pub const ID_NAME: u8 = 0x01;
    pub const ID_DEVIDS: u8 = 0x03;
    pub const EV_BITS: u8 = 0x11;
}

/// Types and codes of events (Linux `input-event-codes.h`, which VIRTIO 1.3 5.8.5 refers to).
mod code {
    pub const EV_SYN: u16 = 0;
    pub const EV_KEY: u16 = 1;
    pub const SYN_REPORT: u16 = 0;
    pub const KEY_POWER: u16 = 116;
    /// `BUS_VIRTUAL` (Linux `input.h`).
    pub const BUS_VIRTUAL: u16 = 6;
}

/// What the device is called.
const NAME: [u8; config::ROOM] = *b"Tessera power button";
/// The codes of `EV_KEY` that there are, a bit each: `KEY_POWER`.
const KEYS: [u8; code::KEY_POWER as usize / 8 + 1] = {
    let mut keys = [0; code::KEY_POWER as usize / 8 + 1];
    keys[code::KEY_POWER as usize / 8] = 1 << (code::KEY_POWER % 8);
    keys
};
/// Bus, vendor, product and version, 16 bits each.
const IDS: [u8; 8] = (code::BUS_VIRTUAL as u64 | 1 << 48).to_le_bytes();

/// Bytes of an event: type, code, and 32 bits of value (VIRTIO 1.3 5.8.5).
const EVENT_SIZE: usize = 8;
/// The events of a press.
const PRESS: [[u8; EVENT_SIZE]; 4] = [
    event(code::EV_KEY, code::KEY_POWER, 1),
    event(code::EV_SYN, code::SYN_REPORT, 0),
    event(code::EV_KEY, code::KEY_POWER, 0),
    event(code::EV_SYN, code::SYN_REPORT, 0),
];

const fn event(kind: u16, code: u16, value: u32) -> [u8; EVENT_SIZE] {
    (kind as u64 | (code as u64) << 16 | (value as u64) << 32).to_le_bytes()
}

/// The power button of a guest.
#[derive(Debug)]
pub struct PowerButton {
    transport: Transport<2>,
    select: u8,
    subsel: u8,
    /// Events of the last press that the guest has not got.
    due: usize,
}

impl Default for PowerButton {
    fn default() -> Self {
        Self::new()
    }
}

impl PowerButton {
    /// A button that nobody has pressed.
    pub fn new() -> Self {
        Self { transport: Transport::new(DEVICE_ID, 0, QUEUE_MAX), select: 0, subsel: 0, due: 0 }
    }

    /// Presses the button and lets it go; whether to pulse the device's (edge) interrupt.
    pub fn press(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        if self.due == 0 {
            self.due = PRESS.len();
        }
        self.deliver(hw, ram)
    }

    /// Whether the guest has a driver that listens.
    pub fn is_driven(&mut self) -> bool {
        self.transport.ready_queue(queue::EVENT).is_some()
    }

    /// Whether the last press, or a part of it, still waits for the driver.
    pub fn is_waiting(&self) -> bool {
        self.due != 0
    }

    /// Why the device broke down, once each time: for a person to read.
    pub fn take_fault(&mut self) -> Option<QueueError> {
        self.transport.take_fault()
    }

    /// A load from the device's window.
    pub fn mmio_read(&self, offset: u64, size: u8) -> u64 {
        self.transport.load(&self.config(), offset, size)
    }

    /// A store to the device's window; whether to pulse its interrupt.
    pub fn mmio_write(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
        hw: &impl Hw,
        ram: &GuestRam,
    ) -> bool {
        if offset >= reg::CONFIG {
            self.write_config(offset - reg::CONFIG, size, value);
            return false;
        }
        if size != 4 {
            return false;
        }
        match self.transport.write(offset, value as u32, ram) {
            Written::Nothing => false,
            Written::Interrupt => true,
            Written::Notify(queue::EVENT) => self.deliver(hw, ram),
            Written::Notify(_) => self.swallow(hw, ram),
            Written::Reset => {
                self.reset();
                false
            }
            // Nothing is ever under way, so both can be done at once.
            Written::StopQueue(number) => {
                if let Some(queue) = self.transport.queue(number) {
                    queue.stop();
                }
                false
            }
        }
    }

    /// A press that the driver saw half of begins anew with the next driver.
    fn reset(&mut self) {
        self.transport.reset();
        (self.select, self.subsel) = (0, 0);
        if self.due != 0 {
            self.due = PRESS.len();
        }
    }

    fn config(&self) -> [u8; config::DATA + config::ROOM] {
        let answer = match (self.select, u16::from(self.subsel)) {
            (config::ID_NAME, 0) => &NAME[..],
            (config::ID_DEVIDS, 0) => &IDS,
            (config::EV_BITS, code::EV_KEY) => &KEYS,
            _ => &[],
        };
        let mut space = [0; config::DATA + config::ROOM];
        let head = [(config::SELECT, self.select), (config::SUBSEL, self.subsel)];
        let head = head.into_iter().chain([(config::SIZE, answer.len() as u8)]);
        let data = (config::DATA..).zip(answer.iter().copied());
        for (at, byte) in head.chain(data) {
            if let Some(place) = space.get_mut(at) {
                *place = byte;
            }
        }
        space
    }

    /// The two fields that a driver writes, by themselves or together.
    fn write_config(&mut self, offset: u64, size: u8, value: u64) {
        for (at, byte) in (offset..).zip(value.to_le_bytes()).take(usize::from(size)) {
            match at as usize {
                config::SELECT => self.select = byte,
                config::SUBSEL => self.subsel = byte,
                _ => {}
            }
        }
    }

    /// Puts what is due into the driver's buffers, an event each; whether to pulse the interrupt.
    fn deliver(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        self.try_deliver(hw, ram).unwrap_or_else(|fault| self.transport.break_down(fault))
    }

    fn try_deliver(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let before = self.due;
        let Some(queue) = self.transport.ready_queue(queue::EVENT) else { return Ok(false) };
        while let Some(event) = PRESS.iter().nth_back(self.due.wrapping_sub(1)) {
            let Some(head) = queue.pop(hw, ram)? else { break };
            let written = chain::fill(queue, hw, ram, head, event)?;
            if written < EVENT_SIZE as u32 {
                return Err(QueueError::Short);
            }
            queue.push(hw, ram, head, written)?;
            self.due -= 1;
        }
        Ok(self.due != before && self.transport.tell(queue::EVENT, hw, ram)?)
    }

    /// Gives back unread what the driver says: at most a queue's worth, as each further one comes with a notification.
    fn swallow(&mut self, hw: &impl Hw, ram: &GuestRam) -> bool {
        self.try_swallow(hw, ram).unwrap_or_else(|fault| self.transport.break_down(fault))
    }

    fn try_swallow(&mut self, hw: &impl Hw, ram: &GuestRam) -> Result<bool, QueueError> {
        let Some(queue) = self.transport.ready_queue(queue::STATUS) else { return Ok(false) };
        let mut any = false;
        for _ in 0..QUEUE_MAX {
            let Some(head) = queue.pop(hw, ram)? else { break };
            queue.push(hw, ram, head, 0)?;
            any = true;
        }
        Ok(any && self.transport.tell(queue::STATUS, hw, ram)?)
    }
}
