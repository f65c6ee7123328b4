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

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const LCRH_8N1_FIFO: u32 = 0x70;
    const CR_ON: u32 = 0x301;

    /// A UART with what is around it: bytes that left, the line as the vGIC would see it.
    #[derive(Default)]
    struct Bench {
        uart: Vuart,
        sent: Vec<u8>,
        line: bool,
        waiting: std::collections::VecDeque<u8>,
    }

    impl Bench {
        fn apply(&mut self, effect: Effect) {
            self.sent.extend(effect.transmit);
            if let Some(level) = effect.line {
                assert_ne!(level, self.line, "a level was reported that had not changed");
                self.line = level;
            }
            if effect.room {
                self.refill();
            }
            assert_eq!(self.line, self.uart.line());
        }
        fn refill(&mut self) {
            while self.uart.rx_room() > 0 {
                let Some(byte) = self.waiting.pop_front() else { return };
                let effect = self.uart.receive(byte);
                self.apply(effect);
            }
        }
        fn type_text(&mut self, text: &[u8]) {
            self.waiting.extend(text);
            self.refill();
        }
        fn read(&mut self, offset: u64) -> u32 {
            let (value, effect) = self.uart.read(offset, 4);
            self.apply(effect);
            value
        }
        fn write(&mut self, offset: u64, value: u32) {
            let effect = self.uart.write(offset, 4, value);
            self.apply(effect);
        }

        /// What `pl011_startup` of Linux does, from `pl011_hwinit` to `pl011_enable_interrupts`.
        fn linux_startup(&mut self) {
            self.write(reg::ICR, 0x7f0);
            let _saved = self.read(reg::IMSC);
            self.write(reg::IMSC, int::RX | int::RT);
            self.write(reg::IMSC, 0);
            self.write(reg::IFLS, 0x12);
            self.write(reg::CR, CR_ON);
            self.write(reg::ICR, int::RT | int::RX);
            for _ in 0..64 {
                if self.read(reg::FR) & fr::RXFE != 0 {
                    break;
                }
                self.read(reg::DR);
            }
            self.write(reg::IMSC, int::RT | int::RX);
            // pl011_set_termios
            self.write(reg::CR, 0);
            self.write(reg::FBRD, 1);
            self.write(reg::IBRD, 13);
            self.write(reg::LCRH, LCRH_8N1_FIFO);
            self.write(reg::CR, CR_ON);
        }

        /// What `pl011_int` does: returns what was read; `to_send` shrinks by half a FIFO a turn.
        fn linux_interrupt(&mut self, to_send: &mut Vec<u8>) -> Vec<u8> {
            let mut got = Vec::new();
            let mut passes = 0;
            loop {
                let status = self.read(reg::RIS) & self.read(reg::IMSC);
                if status == 0 {
                    return got;
                }
                self.write(reg::ICR, status & !(int::TX | int::RT | int::RX));
                if status & (int::RX | int::RT) != 0 {
                    while self.read(reg::FR) & fr::RXFE == 0 {
                        got.push(self.read(reg::DR) as u8);
                    }
                }
                if status & int::TX != 0 {
                    for _ in 0..FIFO_DEPTH / 2 {
                        if to_send.is_empty() {
                            break;
                        }
                        let byte = to_send.remove(0);
                        self.write(reg::DR, byte.into());
                    }
                    if to_send.is_empty() {
                        let mask = self.read(reg::IMSC);
                        self.write(reg::IMSC, mask & !int::TX);
                    }
                }
                passes += 1;
                assert!(passes < 256, "the interrupt handler does not come to an end");
            }
        }
    }

    #[test]
    fn the_amba_bus_finds_a_pl011_of_revision_r1p5() {
        let mut b = Bench::default();
        let id = |b: &mut Bench, base: u64| {
            (0..4).fold(0, |id, i| id | (b.read(base + 4 * i) & 0xff) << (8 * i))
        };
        assert_eq!(id(&mut b, 0xfe0), 0x0034_1011);
        assert_eq!(id(&mut b, 0xff0), 0xb105_f00d);
    }

    #[test]
    fn an_early_console_that_sets_nothing_up_is_heard() {
        let mut b = Bench::default();
        for &byte in b"hello" {
            assert_eq!(b.read(reg::FR) & fr::TXFF, 0);
            b.write(reg::DR, byte.into());
            assert_eq!(b.read(reg::FR) & fr::BUSY, 0);
        }
        assert_eq!(b.sent, b"hello");
        assert!(!b.line);
    }

    #[test]
    fn linux_sends_a_long_text_by_interrupt() {
        let mut b = Bench::default();
        b.linux_startup();
        let text: Vec<u8> = (0..500u32).map(|i| b'a' + (i % 26) as u8).collect();
        // pl011_start_tx: the first byte without an interrupt, the rest once the mask is open.
        b.write(reg::DR, text[0].into());
        let mask = b.read(reg::IMSC);
        b.write(reg::IMSC, mask | int::TX);
        assert!(b.line);
        let mut rest = text[1..].to_vec();
        let _ = b.linux_interrupt(&mut rest);
        assert!(rest.is_empty() && !b.line);
        assert_eq!(b.sent, text);
    }

    #[test]
    fn linux_reads_a_pasted_text_of_any_length_by_interrupt() {
        let mut b = Bench::default();
        b.linux_startup();
        for length in [1, 2, 15, 16, 17, 31, 32, 33, 1000] {
            let text: Vec<u8> = (0..length).map(|i| i as u8).collect();
            b.type_text(&text);
            assert!(b.line);
            let got = b.linux_interrupt(&mut Vec::new());
            assert_eq!(got, text);
            assert!(!b.line);
        }
        assert_eq!(b.read(reg::RIS) & int::OE, 0);
    }

    #[test]
    fn what_is_typed_while_the_port_is_closed_waits() {
        let mut b = Bench::default();
        b.write(reg::CR, cr::UARTEN | cr::TXE);
        b.type_text(b"early");
        assert_eq!(b.read(reg::FR) & fr::RXFE, fr::RXFE);
        b.write(reg::CR, CR_ON);
        assert_eq!(b.read(reg::FR) & fr::RXFE, 0);
        assert_eq!(b.read(reg::DR), b'e'.into());
    }

    #[test]
    fn a_full_console_is_shown_as_a_full_fifo_and_raises_the_interrupt_when_it_drains() {
        let mut b = Bench::default();
        b.linux_startup();
        b.write(reg::DR, b'x'.into());
        let mask = b.read(reg::IMSC);
        b.write(reg::IMSC, mask | int::TX);
        assert!(b.line);
        let effect = b.uart.hold_transmit(true);
        b.apply(effect);
        assert!(!b.line);
        assert_eq!(b.read(reg::FR) & (fr::TXFF | fr::TXFE | fr::BUSY), fr::TXFF | fr::BUSY);
        b.write(reg::DR, b'y'.into());
        assert!(!b.line);
        assert_eq!(b.sent, b"xy");
        let effect = b.uart.hold_transmit(false);
        b.apply(effect);
        assert!(b.line);
        assert_eq!(b.read(reg::FR) & (fr::TXFF | fr::TXFE | fr::BUSY), fr::TXFE);
    }

    #[test]
    fn the_receive_interrupt_follows_the_trigger_level() {
        for (select, level) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (7, 28)] {
            let mut b = Bench::default();
            b.write(reg::LCRH, LCRH_8N1_FIFO);
            b.write(reg::IFLS, select << 3);
            for count in 1..=32 {
                b.type_text(b"x");
                assert_eq!(b.read(reg::RIS) & int::RX != 0, count >= level, "{select} {count}");
            }
            assert_eq!(b.read(reg::FR) & fr::RXFF, fr::RXFF);
            for left in (0..32).rev() {
                b.read(reg::DR);
                assert_eq!(b.read(reg::RIS) & int::RX != 0, left >= level);
                assert_eq!(b.read(reg::RIS) & int::RT != 0, left > 0);
            }
        }
    }

    #[test]
    fn a_character_too_many_is_an_overrun_that_the_guest_can_see_and_clear() {
        let mut b = Bench::default();
        let _ = b.uart.receive(b'a');
        let _ = b.uart.receive(b'b');
        assert_eq!(b.read(reg::RSR), 1 << 3);
        assert_eq!(b.read(reg::RIS) & int::OE, int::OE);
        b.write(reg::RSR, 0);
        assert_eq!(b.read(reg::RSR), 0);
        assert_eq!(b.read(reg::DR), b'a'.into());
        let _ = b.uart.receive(b'c');
        assert_eq!(b.read(reg::DR), u32::from(b'c') | 1 << 11);
        assert_eq!(b.read(reg::RSR), 1 << 3);
        b.write(reg::ICR, int::OE);
        assert_eq!(b.read(reg::RIS), 0);
        let _ = b.uart.receive(b'd');
        assert_eq!(b.read(reg::DR), b'd'.into());
    }

    #[test]
    fn without_the_fifos_one_character_waits() {
        let mut b = Bench::default();
        assert_eq!(b.uart.rx_room(), 1);
        b.type_text(b"ab");
        assert_eq!(b.uart.rx_room(), 0);
        assert_eq!(b.read(reg::FR) & (fr::RXFF | fr::RXFE), fr::RXFF);
        assert_eq!(b.read(reg::RIS), int::RX | int::RT);
        assert_eq!((b.read(reg::DR), b.read(reg::DR)), (b'a'.into(), b'b'.into()));
        assert_eq!(b.read(reg::DR), 0);
    }

    #[test]
    fn a_looped_back_byte_is_received_and_not_sent() {
        let mut b = Bench::default();
        b.write(reg::CR, CR_ON | cr::LBE);
        b.write(reg::DR, b'l'.into());
        assert_eq!(b.uart.rx_room(), 0);
        assert_eq!(b.read(reg::DR), b'l'.into());
        assert!(b.sent.is_empty());
    }

    #[test]
    fn the_registers_keep_the_bits_that_they_have() {
        let mut b = Bench::default();
        for (offset, mask) in [
            (reg::ILPR, 0xff),
            (reg::IBRD, 0xffff),
            (reg::FBRD, 0x3f),
            (reg::LCRH, 0xff),
            (reg::CR, 0xff87),
            (reg::IFLS, 0x3f),
            (reg::IMSC, 0x7ff),
            (reg::DMACR, 7),
        ] {
            b.write(offset, u32::MAX);
            assert_eq!(b.read(offset), mask, "{offset:#x}");
            b.write(offset, 0);
            assert_eq!(b.read(offset), 0, "{offset:#x}");
        }
        for offset in [0x008, 0x04c, 0x080, 0x800, 0xfdc, 0x1000, !3] {
            b.write(offset, u32::MAX);
            assert_eq!(b.read(offset), 0, "{offset:#x}");
        }
    }

    #[test]
    fn narrow_accesses_reach_the_low_bytes() {
        let mut u = Vuart::new();
        assert_eq!(u.write(reg::DR, 1, 0xffff_ff41).transmit, Some(0x41));
        let _ = u.write(reg::IBRD, 2, 0xabcd_1234);
        assert_eq!(u.read(reg::IBRD, 2).0, 0x1234);
        assert_eq!(u.read(reg::IBRD, 1).0, 0x34);
        assert_eq!(u.read(reg::IBRD + 1, 1).0, 0x12);
        assert_eq!(u.read(reg::IBRD + 2, 2).0, 0);
        let _ = u.write(reg::IBRD + 1, 1, 0xff);
        assert_eq!(u.read(reg::IBRD, 4).0, 0x1234);
        let _ = u.receive(b'q');
        assert_eq!(u.read(reg::DR + 1, 1).0, 0);
        assert_eq!(u.read(reg::DR, 1).0, b'q'.into());
    }

    #[test]
    fn a_reset_lets_the_line_fall() {
        let mut b = Bench::default();
        b.write(reg::IMSC, int::ALL);
        b.write(reg::DR, 0);
        assert!(b.line);
        let effect = b.uart.reset();
        b.apply(effect);
        assert!(!b.line);
        assert_eq!(b.uart.reset(), Effect::NONE);
    }
}
