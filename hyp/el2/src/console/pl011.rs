//! The board's PL011 UART (Arm DDI 0183), as firmware left it but for FIFOs and interrupts.
//!
//! Idea: interrupts are levels that what is done about them takes away. Reading the FIFO empty lowers the receive
//! interrupts; they are never cleared by hand, because a character that came in between would then wait without one.
//! The transmit interrupt is enabled only while somebody has more to send than the FIFO took.

use super::uart::MOST_ROOM;

/// Registers that are used, by their offsets (DDI 0183 3.2).
#[derive(Clone, Copy)]
enum Register {
    Data = 0x00,
    Flags = 0x18,
    LineControl = 0x2c,
    Control = 0x30,
    FifoLevel = 0x34,
    InterruptMask = 0x38,
    InterruptClear = 0x44,
}

/// UARTDR: framing, parity and break error of a received character (DDI 0183 3.3.1).
const DR_ERRORS: u32 = 0b111 << 8;

/// UARTFR (DDI 0183 3.3.3).
const FR_BUSY: u32 = 1 << 3;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
const FR_TXFE: u32 = 1 << 7;

/// UARTLCR_H (DDI 0183 3.3.7): FIFOs on; 8 bits a character.
const LCRH_FEN: u32 = 1 << 4;
const LCRH_WLEN_8: u32 = 0b11 << 5;

/// UARTCR (DDI 0183 3.3.8): UART, transmission and reception on.
const CR_UARTEN: u32 = 1 << 0;
const CR_TXE: u32 = 1 << 8;
const CR_RXE: u32 = 1 << 9;

/// UARTIFLS: interrupts at one half of both FIFOs (DDI 0183 3.3.9).
const IFLS_HALF: u32 = 0b010 << 3 | 0b010;

/// UARTIMSC and UARTICR (DDI 0183 3.3.10, 3.3.13): receive, transmit, receive time-out.
const INT_RX: u32 = 1 << 4;
const INT_TX: u32 = 1 << 5;
const INT_RT: u32 = 1 << 6;
const INT_ALL: u32 = 0x7ff;

/// Most characters of a receive FIFO (DDI 0183 1.3, r1p5).
const FIFO_DEPTH: u32 = 32;

/// The driver of one UART.
pub struct Pl011 {
    base: *mut u8,
    /// The transmit interrupt is enabled.
    transmit: bool,
}

// SAFETY: `base` is a device's address, the same for every core, and only used by the owner of this value.
unsafe impl Send for Pl011 {}

impl Pl011 {
    /// A driver for the UART whose registers are at `base`.
    ///
    /// # Safety
    ///
    /// `base` must be mapped, as device memory, to the 4 KiB of registers of a PL011 for as long as the value lives, and
    /// no one else may use that device meanwhile; the value of a panic may outlive this rule where the others have
    /// stopped.
    pub const unsafe fn new(base: *mut u8) -> Self {
        Self { base, transmit: false }
    }

    /// Turns on FIFOs and the receive interrupts. The baud rate stays; a UART that firmware did not turn on (QEMU has
    /// no firmware) is set to 8 bits without parity.
    pub fn init(&mut self) {
        let was_on = self.read(Register::Control) & CR_UARTEN != 0;
        let line = if was_on { self.read(Register::LineControl) } else { LCRH_WLEN_8 };
        // The line control may be changed only while the UART is off (DDI 0183 3.3.8).
        self.write(Register::InterruptMask, 0);
        self.write(Register::Control, 0);
        self.write(Register::LineControl, line | LCRH_FEN);
        self.write(Register::FifoLevel, IFLS_HALF);
        self.write(Register::InterruptClear, INT_ALL);
        self.write(Register::Control, CR_UARTEN | CR_TXE | CR_RXE);
        self.write(Register::InterruptMask, INT_RX | INT_RT);
        self.transmit = false;
    }

    /// The next character that was received without an error.
    pub fn getc(&mut self) -> Option<u8> {
        for _ in 0..FIFO_DEPTH {
            if self.read(Register::Flags) & FR_RXFE != 0 {
                return None;
            }
            let character = self.read(Register::Data);
            if character & DR_ERRORS == 0 {
                return Some(character as u8);
            }
        }
        None
    }

    /// For how many bytes the transmit FIFO has room for certain: all of the smallest one there is (DDI 0183 1.3) where
    /// it is empty.
    pub fn room(&self) -> usize {
        match self.read(Register::Flags) & (FR_TXFF | FR_TXFE) {
            FR_TXFE => MOST_ROOM,
            0 => 1,
            _ => 0,
        }
    }

    /// Sends `byte`, which is lost where there is no room.
    pub fn putc(&mut self, byte: u8) {
        self.write(Register::Data, byte.into());
    }

    /// Has an interrupt raised when the transmit FIFO drains, or no longer.
    pub fn transmit_interrupt(&mut self, on: bool) {
        if on != self.transmit {
            self.transmit = on;
            let transmit = if on { INT_TX } else { 0 };
            self.write(Register::InterruptMask, INT_RX | INT_RT | transmit);
        }
    }

    /// Lowers all interrupts but those of reception, which reading lowers. To be called before the FIFO is filled again:
    /// the transmit interrupt comes back when it drains.
    pub fn acknowledge(&mut self) {
        self.write(Register::InterruptClear, INT_ALL & !(INT_RX | INT_RT));
    }

    /// The last bit is on the line.
    pub fn is_idle(&self) -> bool {
        self.read(Register::Flags) & FR_BUSY == 0
    }

    fn read(&self, register: Register) -> u32 {
        let address = self.base.wrapping_add(register as usize).cast::<u32>();
        // SAFETY: `new` asked for 4 KiB of mapped, aligned registers of a PL011; the offset is one of them.
        unsafe { address.read_volatile() }
    }

    fn write(&mut self, register: Register, value: u32) {
        let address = self.base.wrapping_add(register as usize).cast::<u32>();
        // SAFETY: as in `read`; no register of a PL011 makes the device access memory while DMA is off, as it is.
        unsafe { address.write_volatile(value) }
    }
}
