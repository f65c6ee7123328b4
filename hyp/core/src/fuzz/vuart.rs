//! Accesses to the emulated UART, and bytes that come in.

use alloc::vec;
use alloc::vec::Vec;

use super::Choices;
use crate::vuart::{Effect, Vuart};

/// Registers that the checks look at (DDI 0183 3.2).
const DR: u64 = 0x00;
const FR: u64 = 0x18;
const MIS: u64 = 0x40;
/// UARTFR: nothing was received; the receive FIFO is full.
const RXFE: u32 = 1 << 4;
const RXFF: u32 = 1 << 6;
/// Entries of the FIFO.
const DEPTH: usize = 32;

/// The UART, and what its surroundings know of it.
struct Bench {
    uart: Vuart,
    line: bool,
    sent: usize,
    /// Characters that wait in the FIFO.
    waiting: usize,
}

impl Bench {
    fn apply(&mut self, effect: Effect) {
        self.sent += usize::from(effect.transmit.is_some());
        if let Some(level) = effect.line {
            assert_ne!(level, self.line, "a level was reported that had not changed");
            self.line = level;
        }
        assert_eq!(self.line, self.uart.line());
    }

    fn read(&mut self, offset: u64, size: u8) -> u32 {
        let had = self.uart.read(FR, 4).0 & RXFE == 0;
        let (value, effect) = self.uart.read(offset, size);
        assert!(size >= 4 || u64::from(value) < 1 << (8 * size), "{value:#x} of {size} bytes");
        if offset == DR && had {
            assert!(effect.room);
            self.waiting -= 1;
        }
        self.apply(effect);
        value
    }

    fn write(&mut self, offset: u64, size: u8, value: u32) {
        let (before, room) = (self.sent, self.depth_left());
        let effect = self.uart.write(offset, size, value);
        self.apply(effect);
        let looped = offset == DR && self.sent == before;
        self.waiting += usize::from(looped && room);
    }

    fn receive(&mut self, byte: u8) {
        let room = self.depth_left();
        assert!(self.uart.rx_room() == 0 || room, "there is room in a full FIFO");
        let effect = self.uart.receive(byte);
        self.apply(effect);
        self.waiting += usize::from(room);
    }

    fn depth_left(&mut self) -> bool {
        let fifo = self.uart.read(0x2c, 4).0 & 1 << 4 != 0;
        self.waiting < if fifo { DEPTH } else { 1 }
    }

    /// What is true after every access.
    fn check(&mut self) {
        let flags = self.read(FR, 4);
        assert_eq!(flags & RXFE != 0, self.waiting == 0, "{} wait", self.waiting);
        assert!(flags & RXFF == 0 || self.waiting > 0);
        assert!(self.waiting + self.uart.rx_room() <= DEPTH);
        assert_eq!(self.read(MIS, 4) != 0, self.line);
    }
}

/// A program of accesses of any size, received bytes, and the console holding back.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let mut bench = Bench { uart: Vuart::new(), line: false, sent: 0, waiting: 0 };
    while !choices.is_over() {
        let kind = choices.byte();
        let offset = match kind >> 6 {
            0 => u64::from(choices.byte() & 0x7f),
            1 => choices.next(),
            _ => u64::from(choices.byte() & 0x7c),
        };
        let size = 1 << (kind >> 3 & 3);
        match kind & 7 {
            0..=2 => drop(bench.read(offset, size)),
            3..=5 => bench.write(offset, size, choices.word()),
            6 => bench.receive(offset as u8),
            _ => {
                let effect = match kind >> 3 & 7 {
                    0 => {
                        bench.waiting = 0;
                        bench.uart.reset()
                    }
                    n => bench.uart.hold_transmit(n & 1 != 0),
                };
                bench.apply(effect);
            }
        }
        bench.check();
    }
    bench.sent
}

pub fn seeds() -> Vec<Vec<u8>> {
    let write = |offset: u8, value: u32| {
        let mut bytes = vec![0x93, offset];
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let read = |offset: u8| vec![0x90, offset];
    // FIFOs and interrupts on, text out, text in and read.
    let on = [write(0x2c, 0x70), write(0x30, 0x301), write(0x38, 0x70)].concat();
    let out = b"hi".iter().flat_map(|&byte| write(0, u32::from(byte))).collect();
    let typed = b"ls\n".iter().flat_map(|&byte| [0x86, byte & 0x7c]).collect();
    let took = [read(0), read(0x18), read(0), read(0x3c)].concat();
    let looped = [write(0x30, 0x381), write(0, 0x41), read(0)].concat();
    vec![[on, out, typed, took].concat(), looped]
}
