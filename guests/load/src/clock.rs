//! A guest that sleeps, counts the seconds by its timer, and answers what is typed.
//!
//! The timer is set a second ahead of its last deadline, for `load.seconds` (60) seconds. Each line that is typed is answered by
//! `answer LINE at_ms=T` with the counter's time, then and afterwards.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tessera_rt::console::{self, IMSC, INT_RX, UART};
use tessera_rt::mmio::write32;
use tessera_rt::{Machine, cpu, gic, print, println, timer, trap};

use crate::meter::nanos;
use crate::number;

const UART_INTID: u32 = 33;
const LINE: usize = 64;

static SECONDS: AtomicU64 = AtomicU64::new(0);

/// Runs it, for ever.
pub fn run(machine: &Machine) {
    let wanted = number(machine, "load.seconds", 60);
    trap::set_handler(UART_INTID, |_| write32(UART + IMSC, 0));
    trap::set_handler(timer::VIRTUAL, |_| {
        SECONDS.fetch_add(1, Relaxed);
        timer::disarm();
    });
    gic::set_edge(UART_INTID, false);
    gic::enable(UART_INTID);
    gic::enable(timer::VIRTUAL);
    println!("LOAD clock ready=1");
    let began = timer::now();
    let (mut line, mut length) = ([0; LINE], 0);
    let (mut seconds, mut latest) = (0, 0);
    timer::arm_at(began + timer::frequency());
    loop {
        answer(&mut line, &mut length);
        let now = timer::now();
        if SECONDS.load(Relaxed) != seconds && seconds < wanted {
            seconds += 1;
            let deadline = began + seconds * timer::frequency();
            if now < deadline || SECONDS.load(Relaxed) != seconds {
                println!("not ok - second {seconds} came at {now}, not {deadline}");
            }
            latest = latest.max(now.saturating_sub(deadline));
            if seconds < wanted {
                timer::arm_at(deadline + timer::frequency());
            } else {
                let passed = nanos(now - began) / 1_000_000;
                println!(
                    "LOAD clock seconds={seconds} passed_ms={passed} latest_ns={}",
                    nanos(latest)
                );
            }
        }
        write32(UART + IMSC, INT_RX);
        cpu::wfi();
        cpu::with_irqs(|| ());
    }
}

/// Takes what was typed, and answers a line that is whole.
fn answer(line: &mut [u8; LINE], length: &mut usize) {
    while let Some(byte) = console::get() {
        if !matches!(byte, b'\r' | b'\n') {
            if let Some(place) = line.get_mut(*length) {
                *place = byte;
                *length += 1;
            }
            continue;
        }
        let text = line.get(..*length).and_then(|line| core::str::from_utf8(line).ok());
        print!("answer {} ", text.unwrap_or("?"));
        println!("at_ms={}", nanos(timer::now()) / 1_000_000);
        *length = 0;
    }
}
