//! The emulated PL011 UART of a guest (Arm DDI 0183, r1p5).
//!
//! Problem: every kernel for this machine model drives a PL011, polled while it boots and by interrupt later, and asks
//! the flag register before each byte. That read is an exit, so it has to be nearly free.
//!
//! Idea: the flag register is kept as a value and changed by what changes it, so that reading it is a load. Bytes
//! that the guest sends leave at once: the transmit FIFO is always empty, unless the console asks to hold back
//! ([`Vuart::hold_transmit`]), which the guest sees as a full FIFO. Received bytes wait in a FIFO of the size that
//! this revision of the device has. Functions say what they did in an [`Effect`]; the caller moves the interrupt line
//! and passes the byte on.
//!
//! Idea not taken: a transmit FIFO drained at the physical line's speed. It would need a timer an exit, and only makes
//! the guest wait.
//!
//! Registers are words at word offsets. A narrow access reaches the low bytes of the word: reads of the other bytes
//! are shifted out of the register's value, writes to them are ignored, a narrow write sets the upper bits to 0.

#[cfg(test)]
mod tests;

/// Entries of the receive FIFO with `LCRH.FEN` (DDI 0183 1.3: 32 from revision r1p5).
const FIFO_DEPTH: usize = 32;

/// Register offsets (DDI 0183 3.2, table 3-1).
mod reg {
    pub const DR: u64 = 0x000;
    pub const RSR: u64 = 0x004;
    pub const FR: u64 = 0x018;
    pub const ILPR: u64 = 0x020;
    pub const IBRD: u64 = 0x024;
    pub const FBRD: u64 = 0x028;
    pub const LCRH: u64 = 0x02c;
    pub const CR: u64 = 0x030;
    pub const IFLS: u64 = 0x034;
    pub const IMSC: u64 = 0x038;
    pub const RIS: u64 = 0x03c;
    pub const MIS: u64 = 0x040;
    pub const ICR: u64 = 0x044;
    pub const DMACR: u64 = 0x048;
    pub const PERIPH_ID0: u64 = 0xfe0;
    pub const PCELL_ID3: u64 = 0xffc;
}

/// UARTDR and UARTRSR: status of a received character (DDI 0183 3.3.1, 3.3.2).
mod status {
    /// Overrun, in the data register.
    pub const DR_OE: u16 = 1 << 11;
    /// Overrun, in the status register.
    pub const RSR_OE: u32 = 1 << 3;
}

/// UARTFR (DDI 0183 3.3.3).
mod fr {
    /// Clear to send, data set ready, data carrier detect: somebody is always there.
    pub const MODEM: u32 = 1 << 0 | 1 << 1 | 1 << 2;
    pub const BUSY: u32 = 1 << 3;
    pub const RXFE: u32 = 1 << 4;
    pub const TXFF: u32 = 1 << 5;
    pub const RXFF: u32 = 1 << 6;
    pub const TXFE: u32 = 1 << 7;
}

/// UARTLCR_H.FEN: the FIFOs are on (DDI 0183 3.3.7).
const LCRH_FEN: u32 = 1 << 4;

/// UARTCR (DDI 0183 3.3.8).
mod cr {
    pub const UARTEN: u32 = 1 << 0;
    pub const LBE: u32 = 1 << 7;
    pub const TXE: u32 = 1 << 8;
    pub const RXE: u32 = 1 << 9;
}

/// UARTIMSC, UARTRIS, UARTMIS, UARTICR (DDI 0183 3.3.10 to 3.3.13).
mod int {
    pub const RX: u32 = 1 << 4;
    pub const TX: u32 = 1 << 5;
    pub const RT: u32 = 1 << 6;
    pub const OE: u32 = 1 << 10;
    pub const ALL: u32 = 0x7ff;
}

/// Bits of the registers that only keep what is written.
mod mask {
    pub const ILPR: u32 = 0xff;
    pub const IBRD: u32 = 0xffff;
    pub const FBRD: u32 = 0x3f;
    pub const LCRH: u32 = 0xff;
    pub const CR: u32 = 0xff87;
    pub const IFLS: u32 = 0x3f;
    pub const DMACR: u32 = 0x7;
}

/// UARTIFLS after reset: both trigger levels at one half (DDI 0183 3.3.9).
const IFLS_RESET: u32 = 0x12;

/// UARTPeriphID0-3 (part 0x011, designer 0x41, revision 3: r1p5) and UARTPCellID0-3 (DDI 0183 3.3.15, 3.3.16).
const IDS: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// What an access did beyond the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Effect {
    /// A byte that the guest sent.
    pub transmit: Option<u8>,
    /// The new level of the interrupt line, where it changed.
    pub line: Option<bool>,
    /// The guest read a character or turned reception on: [`Vuart::rx_room`] may have grown.
    pub room: bool,
}

impl Effect {
    /// Nothing happened.
    pub const NONE: Self = Self { transmit: None, line: None, room: false };
}

/// One emulated UART.
#[derive(Clone, Debug)]
pub struct Vuart {
    /// UARTFR, kept up to date.
    flags: u32,
    /// UARTRIS.
    raised: u32,
    /// UARTIMSC.
    enabled: u32,
    /// Level of the interrupt line that the caller knows.
    line: bool,
    /// The console cannot take more for now.
    held: bool,
    /// A character was lost since the last one that was kept.
    overrun: bool,
    status: u32,
    control: u32,
    line_control: u32,
    trigger_select: u32,
    ilpr: u32,
    ibrd: u32,
    fbrd: u32,
    dmacr: u32,
    fifo: [u16; FIFO_DEPTH],
    first: usize,
    count: usize,
}

impl Default for Vuart {
    fn default() -> Self {
        Self::new()
    }
}

impl Vuart {
    /// A UART as a boot loader leaves it: on, so that an early console that never sets it up works.
    pub const fn new() -> Self {
        Self {
            flags: fr::MODEM | fr::RXFE | fr::TXFE,
            raised: 0,
            enabled: 0,
            line: false,
            held: false,
            overrun: false,
            status: 0,
            control: cr::UARTEN | cr::TXE | cr::RXE,
            line_control: 0,
            trigger_select: IFLS_RESET,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            dmacr: 0,
            fifo: [0; FIFO_DEPTH],
            first: 0,
            count: 0,
        }
    }

    /// The guest is started anew; the line falls.
    pub fn reset(&mut self) -> Effect {
        let line = self.line.then_some(false);
        *self = Self::new();
        Effect { line, ..Effect::NONE }
    }

    /// The guest loads `size` bytes at `offset`; bits beyond the access are 0.
    #[inline]
    pub fn read(&mut self, offset: u64, size: u8) -> (u32, Effect) {
        if offset == reg::FR {
            return (self.flags, Effect::NONE);
        }
        self.read_other(offset, size)
    }

    fn read_other(&mut self, offset: u64, size: u8) -> (u32, Effect) {
        let lane = (offset & 3) as u32 * 8;
        let (word, effect) = match offset & !3 {
            // A load of the upper bytes alone is no read of the character.
            reg::DR if lane == 0 => self.read_data(),
            reg::RSR => (self.status, Effect::NONE),
            reg::FR => (self.flags, Effect::NONE),
            reg::ILPR => (self.ilpr, Effect::NONE),
            reg::IBRD => (self.ibrd, Effect::NONE),
            reg::FBRD => (self.fbrd, Effect::NONE),
            reg::LCRH => (self.line_control, Effect::NONE),
            reg::CR => (self.control, Effect::NONE),
            reg::IFLS => (self.trigger_select, Effect::NONE),
            reg::IMSC => (self.enabled, Effect::NONE),
            reg::RIS => (self.raised, Effect::NONE),
            reg::MIS => (self.raised & self.enabled, Effect::NONE),
            reg::DMACR => (self.dmacr, Effect::NONE),
            id @ reg::PERIPH_ID0..=reg::PCELL_ID3 => (identity(id), Effect::NONE),
            _ => (0, Effect::NONE),
        };
        let bits = match size {
            1 => 0xff,
            2 => 0xffff,
            _ => u32::MAX,
        };
        (word >> lane & bits, effect)
    }

    /// The guest stores the low `size` bytes of `value` at `offset`.
    #[inline]
    pub fn write(&mut self, offset: u64, size: u8, value: u32) -> Effect {
        let value = match size {
            1 => value & 0xff,
            2 => value & 0xffff,
            _ => value,
        };
        match offset {
            reg::DR => return self.write_data(value as u8),
            reg::RSR => self.status = 0,
            reg::ILPR => self.ilpr = value & mask::ILPR,
            reg::IBRD => self.ibrd = value & mask::IBRD,
            reg::FBRD => self.fbrd = value & mask::FBRD,
            reg::DMACR => self.dmacr = value & mask::DMACR,
            reg::IMSC => self.enabled = value & int::ALL,
            reg::ICR => self.raised &= !value,
            reg::LCRH => {
                self.line_control = value & mask::LCRH;
                return self.reception_changed();
            }
            reg::CR => {
                self.control = value & mask::CR;
                return self.reception_changed();
            }
            reg::IFLS => {
                self.trigger_select = value & mask::IFLS;
                self.update_receive();
            }
            _ => return Effect::NONE,
        }
        self.effect()
    }

    /// Puts `byte` into the receive FIFO; where that is full the byte is lost and the guest told of an overrun.
    /// Callers that ask [`Vuart::rx_room`] first lose none.
    pub fn receive(&mut self, byte: u8) -> Effect {
        self.push(byte);
        self.effect()
    }

    /// Characters that [`Vuart::receive`] can take now: 0 while the guest has reception off.
    #[inline]
    pub fn rx_room(&self) -> usize {
        let on = cr::UARTEN | cr::RXE;
        if self.control & on != on || self.control & cr::LBE != 0 {
            return 0;
        }
        self.depth().saturating_sub(self.count)
    }

    /// Shows the guest a full transmit FIFO (`hold`) or an empty one. A byte that it sends nevertheless is passed on:
    /// drivers fill half a FIFO after an interrupt without looking.
    pub fn hold_transmit(&mut self, hold: bool) -> Effect {
        if hold != self.held {
            self.held = hold;
            self.raised = if hold { self.raised & !int::TX } else { self.raised | int::TX };
            self.flags &= !(fr::TXFE | fr::TXFF | fr::BUSY);
            self.flags |= if hold { fr::TXFF | fr::BUSY } else { fr::TXFE };
        }
        self.effect()
    }

    /// Level of the interrupt line.
    pub fn line(&self) -> bool {
        self.line
    }

    fn read_data(&mut self) -> (u32, Effect) {
        if self.count == 0 {
            return (0, Effect::NONE);
        }
        let entry = self.fifo.get(self.first).copied().unwrap_or(0);
        self.first = (self.first + 1) % FIFO_DEPTH;
        self.count -= 1;
        self.status = u32::from(entry >> 8);
        self.update_receive();
        (u32::from(entry), Effect { room: true, ..self.effect() })
    }

    fn write_data(&mut self, byte: u8) -> Effect {
        // The FIFO drains through its trigger level at once, which is what raises the interrupt (DDI 0183 2.8.2).
        if !self.held {
            self.raised |= int::TX;
        }
        let transmit = if self.control & cr::LBE != 0 {
            self.push(byte);
            None
        } else {
            Some(byte)
        };
        Effect { transmit, ..self.effect() }
    }

    fn push(&mut self, byte: u8) {
        if self.count >= self.depth() {
            self.overrun = true;
            self.status |= status::RSR_OE;
            self.raised |= int::OE;
            return;
        }
        let flag = if self.overrun { status::DR_OE } else { 0 };
        self.overrun = false;
        if let Some(entry) = self.fifo.get_mut((self.first + self.count) % FIFO_DEPTH) {
            *entry = u16::from(byte) | flag;
        }
        self.count += 1;
        self.update_receive();
    }

    fn reception_changed(&mut self) -> Effect {
        self.update_receive();
        Effect { room: true, ..self.effect() }
    }

    /// Brings the flags and interrupts of reception in line with the FIFO (DDI 0183 2.8.1, 2.8.4). The time-out is over
    /// as soon as a character waits: nobody waits for a line that is idle.
    fn update_receive(&mut self) {
        self.flags &= !(fr::RXFE | fr::RXFF);
        if self.count == 0 {
            self.flags |= fr::RXFE;
            self.raised &= !(int::RX | int::RT);
            return;
        }
        if self.count >= self.depth() {
            self.flags |= fr::RXFF;
        }
        self.raised |= int::RT;
        if self.count >= self.trigger() {
            self.raised |= int::RX;
        } else {
            self.raised &= !int::RX;
        }
    }

    fn depth(&self) -> usize {
        if self.line_control & LCRH_FEN != 0 { FIFO_DEPTH } else { 1 }
    }

    /// Characters that raise the receive interrupt (UARTIFLS.RXIFLSEL, DDI 0183 3.3.9).
    fn trigger(&self) -> usize {
        if self.line_control & LCRH_FEN == 0 {
            return 1;
        }
        match self.trigger_select >> 3 {
            0 => FIFO_DEPTH / 8,
            1 => FIFO_DEPTH / 4,
            2 => FIFO_DEPTH / 2,
            3 => FIFO_DEPTH * 3 / 4,
            // 5 to 7 are reserved: as 4.
            _ => FIFO_DEPTH * 7 / 8,
        }
    }

    #[inline]
    fn effect(&mut self) -> Effect {
        let level = self.raised & self.enabled != 0;
        let line = (level != self.line).then_some(level);
        self.line = level;
        Effect { line, ..Effect::NONE }
    }
}

fn identity(offset: u64) -> u32 {
    let index = (offset - reg::PERIPH_ID0) / 4;
    IDS.get(index as usize).copied().unwrap_or(0).into()
}
