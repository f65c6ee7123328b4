//! The registers as a driver sees them, and what Linux does with them.

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
