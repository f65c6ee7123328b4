//! The PL011 (DDI 0183).

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use tessera_rt::console::{
    CR, DR, FR, FR_RXFE, FR_TXFF, ICR, IMSC, INT_RX, INT_TX, RIS, UART, get, put,
};
use tessera_rt::mmio::{read8, read16, read32, write8, write16, write32};
use tessera_rt::report::{check, equal};
use tessera_rt::{Machine, cpu, gic, print, println, timer, trap};

/// Divisors and line control (DDI 0183 3.3.5 to 3.3.7).
const IBRD: u64 = 0x24;
const FBRD: u64 = 0x28;
const LCR_H: u64 = 0x2c;
const MIS: u64 = 0x40;
/// FR: transmit FIFO empty.
const FR_TXFE: u32 = 1 << 7;
const UART_INTID: u32 = 33;

/// Runs the tests.
pub fn run(_: &Machine) {
    let id = (0..4).fold(0, |id, n| id | read32(UART + 0xfe0 + n * 4) << (n * 8));
    equal("it says that it is a pl011 of arm", id & 0xf_ffff, 0x4_1011);
    let cell = (0..4).fold(0, |id, n| id | read32(UART + 0xff0 + n * 4) << (n * 8));
    equal("and a primecell", cell, 0xb105_f00d);
    let (ibrd, fbrd, lcr) = (read32(UART + IBRD), read32(UART + FBRD), read32(UART + LCR_H));
    write32(UART + IBRD, 13);
    write32(UART + FBRD, 1);
    write32(UART + LCR_H, 0x70);
    equal("the divisor's whole part is kept", read32(UART + IBRD), 13);
    equal("the divisor's fraction is kept", read32(UART + FBRD), 1);
    equal("line control is kept", read32(UART + LCR_H) & 0xff, 0x70);
    write32(UART + IBRD, ibrd);
    write32(UART + FBRD, fbrd);
    write32(UART + LCR_H, lcr | 0x70);
    equal("transmitter and receiver are on", read32(UART + CR) & 0x301, 0x301);
    sizes();
    interrupts();
}

fn sizes() {
    let empty = timer::comes(|| read32(UART + FR) & (FR_TXFE | FR_TXFF) == FR_TXFE);
    check("what was sent goes out", empty);
    equal("a 16-bit read of the flags", u32::from(read16(UART + FR)), read32(UART + FR));
    equal("an 8-bit read of the flags", u32::from(read8(UART + FR)), read32(UART + FR) & 0xff);
    write8(UART + DR, b'#');
    write16(UART + DR, u16::from(b'8'));
    write32(UART + DR, u32::from(b'\n'));
}

fn interrupts() {
    write32(UART + IMSC, 0);
    write32(UART + ICR, 0x7ff);
    equal("masked, nothing is told", read32(UART + MIS), 0);
    put(b'#');
    put(b'\n');
    check("sending raises its raw status", timer::comes(|| read32(UART + RIS) & INT_TX != 0));
    write32(UART + IMSC, INT_TX | INT_RX);
    equal("the mask is kept", read32(UART + IMSC), INT_TX | INT_RX);
    equal("unmasked it is told", read32(UART + MIS) & INT_TX, INT_TX);
    write32(UART + ICR, INT_TX);
    equal("cleared it is not", read32(UART + MIS) & INT_TX, 0);
    write32(UART + IMSC, 0);
    if read32(UART + FR) & FR_RXFE != 0 {
        check("an empty receiver gives no byte", get().is_none());
    }
}

static RECEIVED: AtomicU32 = AtomicU32::new(0);

/// Answers each line `text` with `echo: text`, by receive interrupts, until the line is `quit`.
pub fn echo() {
    trap::set_handler(UART_INTID, |_| {
        RECEIVED.fetch_add(1, SeqCst);
        write32(UART + IMSC, 0);
    });
    gic::set_edge(UART_INTID, false);
    gic::enable(UART_INTID);
    write32(UART + LCR_H, 0x70);
    println!("ECHO-READY");
    let mut line = [0; 4096];
    loop {
        let length = read_line(&mut line);
        print!("echo: ");
        line[..length].iter().for_each(|byte| put(*byte));
        println!();
        if line[..length] == *b"quit" {
            break;
        }
    }
    println!("ECHO-DONE interrupts={}", RECEIVED.load(SeqCst));
}

fn read_line(line: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        while let Some(byte) = get() {
            if matches!(byte, b'\r' | b'\n') {
                return length;
            }
            if let Some(place) = line.get_mut(length) {
                *place = byte;
                length += 1;
            }
        }
        write32(UART + IMSC, INT_RX);
        cpu::wfi();
        cpu::with_irqs(|| ());
    }
}
