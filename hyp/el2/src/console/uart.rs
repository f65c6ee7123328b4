//! The board's UART, whichever it is.
//!
//! Every wait is bounded: a UART whose clock is off costs time and output, not the board.

use tessera_core::board::UartKind;

use super::mini_uart::MiniUart;
use super::pl011::Pl011;

/// Looks at the flags before a wait is given up: 32 characters at 9600 baud take 33 ms, a look about 100 ns.
const PATIENCE: u32 = 1 << 20;

/// Most bytes that a UART takes at once without being asked again.
pub const MOST_ROOM: usize = 16;

/// One of the UARTs that Tessera drives.
pub enum Uart {
    /// Arm's.
    Pl011(Pl011),
    /// The Raspberry Pi's.
    Mini(MiniUart),
}

/// Does the same with either.
macro_rules! either {
    ($self:expr, $uart:ident => $do:expr) => {
        match $self {
            Uart::Pl011($uart) => $do,
            Uart::Mini($uart) => $do,
        }
    };
}

impl Uart {
    /// A driver for the UART whose registers are at `base`.
    ///
    /// # Safety
    ///
    /// See [`Pl011::new`]; `kind` says which it is.
    pub unsafe fn new(kind: UartKind, base: *mut u8) -> Self {
        match kind {
            // SAFETY: by this function's contract.
            UartKind::Pl011 => Self::Pl011(unsafe { Pl011::new(base) }),
            // SAFETY: by this function's contract.
            UartKind::MiniUart => Self::Mini(unsafe { MiniUart::new(base) }),
        }
    }

    /// Turns on FIFOs and the receive interrupts, once what firmware sends is out.
    pub fn init(&mut self) {
        self.flush();
        either!(self, uart => uart.init());
    }

    /// The next character that was received without an error.
    pub fn getc(&mut self) -> Option<u8> {
        either!(self, uart => uart.getc())
    }

    /// For how many bytes the transmit FIFO has room for certain, [`MOST_ROOM`] at most.
    pub fn room(&self) -> usize {
        either!(self, uart => uart.room())
    }

    /// Sends `bytes`; what finds no room is lost.
    pub fn put(&mut self, bytes: &[u8]) {
        either!(self, uart => bytes.iter().for_each(|&byte| uart.putc(byte)));
    }

    /// Sends `byte` when there is room; gives up where there is none for long.
    pub fn put_polled(&mut self, byte: u8) {
        if wait(|| self.room() > 0) {
            self.put(&[byte]);
        }
    }

    /// Has an interrupt raised when the transmit FIFO has room again, or no longer.
    pub fn transmit_interrupt(&mut self, on: bool) {
        either!(self, uart => uart.transmit_interrupt(on));
    }

    /// Lowers all interrupts but those of reception, which reading lowers. To be called before the FIFO is filled again:
    /// the transmit interrupt comes back when it drains.
    pub fn acknowledge(&mut self) {
        // The mini-UART's are levels, which only what is done about them lowers.
        if let Self::Pl011(uart) = self {
            uart.acknowledge();
        }
    }

    /// Waits until the last bit is on the line, not for ever.
    pub fn flush(&mut self) {
        wait(|| match self {
            Self::Pl011(uart) => uart.is_idle(),
            Self::Mini(uart) => uart.is_idle(),
        });
    }
}

fn wait(mut until: impl FnMut() -> bool) -> bool {
    (0..PATIENCE).any(|_| {
        core::hint::spin_loop();
        until()
    })
}
