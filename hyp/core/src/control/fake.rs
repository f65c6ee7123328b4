//! For tests and fuzz targets: a guest's program, its driver of the control port, and a board that it asks.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Control, Served};
use crate::guest_mem::GuestRam;
use crate::hw::fake::FakeHw;
use crate::monitor::fake::Fake;
use crate::virtio::driver::{DATA, Device, Driver};

/// The port, and the board that it asks.
pub(crate) struct Port {
    pub control: Control,
    pub world: Fake,
    /// The store is to be executed again.
    pub more: bool,
}

impl Device for Port {
    fn load(&self, offset: u64, size: u8) -> u64 {
        self.control.port.lock().mmio_read(offset, size)
    }
    fn store(&mut self, offset: u64, size: u8, value: u64, hw: &FakeHw, ram: &GuestRam) -> bool {
        let effect = self.control.port.lock().mmio_write(offset, size, value, hw, ram);
        let mut served = Served::default();
        if effect.serve {
            served = self.control.serve(&self.world, hw, ram);
        }
        self.more = served.more;
        effect.interrupt | served.interrupt
    }
}

pub(crate) type Guest = Driver<Port>;

pub(crate) const RECEIVE: u16 = 0;
pub(crate) const TRANSMIT: u16 = 1;
const CONTROL_TRANSMIT: u16 = 3;

pub(crate) fn place(queue: u16, n: u16) -> u64 {
    DATA + u64::from(queue) * 0x8000 + u64::from(n) * 0x400
}

/// A guest with a program that has the port open, and eight buffers for answers.
pub(crate) fn open() -> Guest {
    let port = Port { control: Control::new(), world: Fake::default(), more: false };
    let mut guest = Driver::new(port, 4, 1 << 1);
    guest.bring_up();
    guest.set_open(true);
    guest.give_buffers(8);
    guest
}

impl Guest {
    pub(crate) fn set_open(&mut self, open: bool) {
        let message = 6u64 << 32 | u64::from(open) << 48;
        self.write(place(CONTROL_TRANSMIT, 0), &message.to_le_bytes());
        self.offer(CONTROL_TRANSMIT, 0, &[(place(CONTROL_TRANSMIT, 0), 8, false)]);
        self.notify(CONTROL_TRANSMIT);
    }

    pub(crate) fn give_buffers(&mut self, count: u16) {
        for n in 0..count {
            self.offer(RECEIVE, n, &[(place(RECEIVE, n), 0x400, true)]);
        }
        self.again(RECEIVE);
    }

    /// Notifies as often as it takes.
    pub(crate) fn again(&mut self, queue: u16) {
        self.notify(queue);
        for _ in 0..100 {
            if !self.device.more {
                return;
            }
            self.notify(queue);
        }
        panic!("there is no end");
    }

    pub(crate) fn serve(&mut self) -> Served {
        let Port { control, world, .. } = &self.device;
        let served = control.serve(world, &self.hw, &self.ram);
        self.interrupts += u32::from(served.interrupt);
        served
    }

    pub(crate) fn write_request(&mut self, text: &str) {
        self.write(place(TRANSMIT, 0), text.as_bytes());
        self.offer(TRANSMIT, 0, &[(place(TRANSMIT, 0), text.len() as u32, false)]);
        self.again(TRANSMIT);
    }

    /// What came, by lines; the buffers are given back.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        loop {
            let used = self.used(RECEIVE);
            if used.is_empty() {
                let text = String::from_utf8(text).unwrap();
                return text.lines().map(ToString::to_string).collect();
            }
            for &(head, len) in &used {
                text.extend(self.read(place(RECEIVE, head as u16), len as usize));
            }
            for &(head, _) in &used {
                let at = place(RECEIVE, head as u16);
                self.offer(RECEIVE, head as u16, &[(at, 0x400, true)]);
            }
            self.again(RECEIVE);
        }
    }
}
