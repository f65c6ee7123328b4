//! The PL011 at its usual place, polled, and `print!`.

use core::fmt::{self, Write};

use crate::mmio;

/// Where both QEMU's `virt` and Tessera have the first UART.
pub const UART: u64 = 0x0900_0000;
/// Data register (DDI 0183 3.3.1).
pub const DR: u64 = 0x00;
/// Flag register (DDI 0183 3.3.3).
pub const FR: u64 = 0x18;
/// Control register (DDI 0183 3.3.8).
pub const CR: u64 = 0x30;
/// Interrupt mask (DDI 0183 3.3.10).
pub const IMSC: u64 = 0x38;
/// Raw interrupt status (DDI 0183 3.3.11).
pub const RIS: u64 = 0x3c;
/// Interrupt clear (DDI 0183 3.3.13).
pub const ICR: u64 = 0x44;
/// FR: transmit FIFO full.
pub const FR_TXFF: u32 = 1 << 5;
/// FR: receive FIFO empty.
pub const FR_RXFE: u32 = 1 << 4;
/// Interrupt bit of the transmitter.
pub const INT_TX: u32 = 1 << 5;
/// Interrupt bits of the receiver: level and time-out.
pub const INT_RX: u32 = 1 << 4 | 1 << 6;

/// Sends one byte.
pub fn put(byte: u8) {
    while mmio::read32(UART + FR) & FR_TXFF != 0 {}
    mmio::write32(UART + DR, u32::from(byte));
}

/// Takes one byte, where one has come.
pub fn get() -> Option<u8> {
    (mmio::read32(UART + FR) & FR_RXFE == 0).then(|| mmio::read32(UART + DR) as u8)
}

/// Line control (DDI 0183 3.3.7): 8 bits, FIFOs on.
const LCR_H: u64 = 0x2c;

/// Enables the UART, its FIFOs, transmitter and receiver, and none of its interrupts: QEMU's board leaves that to the
/// firmware.
pub fn init() {
    mmio::write32(UART + IMSC, 0);
    mmio::write32(UART + LCR_H, 0x70);
    mmio::write32(UART + CR, 0x301);
}

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

static LOCK: spin::Mutex<Uart> = spin::Mutex::new(Uart);

/// What `print!` calls: one CPU at a time.
pub fn write(args: fmt::Arguments<'_>) {
    // The UART cannot fail; a value's own Display could, and then prints less.
    let _ = LOCK.lock().write_fmt(args);
}

/// As [`write`], not minding who else prints: for the last words of a guest.
pub fn write_now(args: fmt::Arguments<'_>) {
    let _ = Uart.write_fmt(args);
}

/// Prints to the UART.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::write(format_args!($($arg)*)) };
}

/// Prints a line to the UART.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::console::write(format_args!("{}\n", format_args!($($arg)*))) };
}
