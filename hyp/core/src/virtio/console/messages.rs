//! What driver and device tell each other about the port (VIRTIO 1.3 5.3.6.2): which port, what, and a value.

/// What programs know the port by (`/sys/class/virtio-ports/*/name` in Linux).
pub const PORT_NAME: &str = "org.tessera.control";
/// The only port.
const PORT: u32 = 0;
/// Bytes of a message, before the name where one follows.
pub(super) const SIZE: usize = 8;
/// Bytes of the longest message.
const LONGEST: usize = SIZE + PORT_NAME.len();

/// Values of `event`.
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const PORT_READY: u16 = 3;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

const fn message(event: u16, value: u16) -> [u8; SIZE] {
    (PORT as u64 | (event as u64) << 32 | (value as u64) << 48).to_le_bytes()
}

/// What the driver says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Inbound {
    /// It is ready for ports.
    DeviceReady,
    /// It is ready for the port.
    PortReady,
    /// A program opened the port, or closed it.
    PortOpen(bool),
}

impl Inbound {
    /// A message that means something.
    pub(super) fn parse(message: [u8; SIZE]) -> Option<Self> {
        let raw = u64::from_le_bytes(message);
        let (port, event, value) = (raw as u32, (raw >> 32) as u16, (raw >> 48) as u16);
        match (event, value) {
            (event::DEVICE_READY, 1) => Some(Self::DeviceReady),
            (event::PORT_READY, 1) if port == PORT => Some(Self::PortReady),
            (event::PORT_OPEN, value) if port == PORT => Some(Self::PortOpen(value != 0)),
            _ => None,
        }
    }
}

/// What the device has to say, a bit each, the first to say lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outbound(u8);

impl Outbound {
    pub(super) const NONE: Self = Self(0);
    /// There is a port.
    pub(super) const ADD: Self = Self(1 << 0);
    const NAME: Self = Self(1 << 1);
    const OPEN: Self = Self(1 << 2);
    /// What the port is called, and that somebody is there.
    pub(super) const NAME_AND_OPEN: Self = Self(Self::NAME.0 | Self::OPEN.0);

    pub(super) fn add(&mut self, more: Self) {
        self.0 |= more.0;
    }

    pub(super) fn remove(&mut self, done: Self) {
        self.0 &= !done.0;
    }

    /// The first message: which, its bytes, and how many they are.
    pub(super) fn first(self) -> Option<(Self, [u8; LONGEST], usize)> {
        let kind =
            [Self::ADD, Self::NAME, Self::OPEN].into_iter().find(|kind| self.0 & kind.0 != 0)?;
        let (head, name) = match kind {
            Self::ADD => (message(event::DEVICE_ADD, 1), ""),
            Self::NAME => (message(event::PORT_NAME, 1), PORT_NAME),
            _ => (message(event::PORT_OPEN, 1), ""),
        };
        let mut bytes = [0; LONGEST];
        for (to, from) in bytes.iter_mut().zip(head.iter().chain(name.as_bytes())) {
            *to = *from;
        }
        Some((kind, bytes, SIZE + name.len()))
    }
}
