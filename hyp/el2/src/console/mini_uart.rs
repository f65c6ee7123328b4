//! The Raspberry Pi's mini-UART (BCM2711 ARM Peripherals 2.2), as firmware left it but for FIFOs and interrupts: what the
//! header pins have unless the configuration gives them to the PL011.
//!
//! Its registers are those of a 16550, with errata: the manual swaps the bits of IER, and its baud rate follows the
//! core's clock, which firmware keeps still where `enable_uart=1` asks for it.

/// Registers that are used, by their offsets from AUX_MU_IO_REG.
#[derive(Clone, Copy)]
enum Register {
    Io = 0x00,
    InterruptEnable = 0x04,
    InterruptIdentify = 0x08,
    LineControl = 0x0c,
    LineStatus = 0x14,
    Control = 0x20,
}

/// AUX_MU_IER: receive and transmit, by the errata; and what must be set for receive interrupts to come.
const IER_RECEIVE: u32 = 1 << 0 | 1 << 2;
const IER_TRANSMIT: u32 = 1 << 1;
/// AUX_MU_IIR: clear both FIFOs.
const IIR_CLEAR: u32 = 0b11 << 1;
/// AUX_MU_LCR: 8 bits, which takes two bits by the errata.
const LCR_8_BITS: u32 = 0b11;
/// AUX_MU_LSR.
const LSR_DATA_READY: u32 = 1 << 0;
const LSR_ROOM: u32 = 1 << 5;
const LSR_IDLE: u32 = 1 << 6;
/// Bytes of a FIFO.
const FIFO_DEPTH: usize = 8;
/// AUX_MU_CNTL: receiver and transmitter on, no flow control.
const CONTROL_ON: u32 = 0b11;

/// The driver of one UART.
pub struct MiniUart {
    base: *mut u8,
    transmit: bool,
}

// SAFETY: `base` is a device's address, the same for every core, and only used by the owner of this value.
unsafe impl Send for MiniUart {}

impl MiniUart {
    /// A driver for the UART whose registers are at `base`.
    ///
    /// # Safety
    ///
    /// As for [`super::pl011::Pl011::new`], with 64 bytes of registers of a mini-UART.
    pub const unsafe fn new(base: *mut u8) -> Self {
        Self { base, transmit: false }
    }

    /// Turns on FIFOs and the receive interrupt. The baud rate stays.
    pub fn init(&mut self) {
        self.write(Register::InterruptEnable, 0);
        self.write(Register::LineControl, LCR_8_BITS);
        self.write(Register::InterruptIdentify, IIR_CLEAR);
        self.write(Register::Control, CONTROL_ON);
        self.write(Register::InterruptEnable, IER_RECEIVE);
        self.transmit = false;
    }

    /// The next character that was received.
    pub fn getc(&mut self) -> Option<u8> {
        let ready = self.read(Register::LineStatus) & LSR_DATA_READY != 0;
        ready.then(|| self.read(Register::Io) as u8)
    }

    /// For how many bytes the transmit FIFO has room for certain: all of its eight where it is empty.
    pub fn room(&self) -> usize {
        match self.read(Register::LineStatus) & (LSR_ROOM | LSR_IDLE) {
            0 => 0,
            LSR_ROOM => 1,
            _ => FIFO_DEPTH,
        }
    }

    /// The last bit is on the line.
    pub fn is_idle(&self) -> bool {
        self.read(Register::LineStatus) & LSR_IDLE != 0
    }

    /// Sends `byte`, which is lost where there is no room.
    pub fn putc(&mut self, byte: u8) {
        self.write(Register::Io, byte.into());
    }

    /// Has an interrupt raised while the transmit FIFO has room, or no longer.
    pub fn transmit_interrupt(&mut self, on: bool) {
        if on != self.transmit {
            self.transmit = on;
            let transmit = if on { IER_TRANSMIT } else { 0 };
            self.write(Register::InterruptEnable, IER_RECEIVE | transmit);
        }
    }

    fn read(&self, register: Register) -> u32 {
        let address = self.base.wrapping_add(register as usize).cast::<u32>();
        // SAFETY: `new` asked for mapped, aligned registers of a mini-UART; the offset is one of them.
        unsafe { address.read_volatile() }
    }

    fn write(&mut self, register: Register, value: u32) {
        let address = self.base.wrapping_add(register as usize).cast::<u32>();
        // SAFETY: as in `read`; the device has no DMA.
        unsafe { address.write_volatile(value) }
    }
}
