//! A guest's watchdog: stores, loads and time that passes.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::life::StopReason;
use crate::watchdog::{Frame, Signal, Watchdog};

/// Registers of the control frame (DEN0094), and one that both frames have.
const REGISTERS: [u64; 7] = [0, 0, 8, 0xc, 0x10, 0x14, 0xfcc];

/// A program of accesses at times that do not go back. A hang comes after a warning and stays; what it asks for is in the
/// future; while it is disabled nothing changes by itself. Returns how many signals there were.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let mut watchdog = Watchdog::new(StopReason::WatchdogReset);
    let (mut time, mut before, mut signals) = (0u64, Signal::Quiet, 0);
    while !choices.is_over() {
        let what = choices.byte();
        let passes = if what & 0x60 == 0 { choices.next() } else { choices.below(0x1_0000) };
        time = time.saturating_add(passes);
        let frame = if what & 1 != 0 { Frame::Control } else { Frame::Refresh };
        let wild = what & 0x18 == 0;
        let offset = if wild { choices.below(0x1100) } else { choices.pick(&REGISTERS) };
        let size = if wild { 1 << choices.below(4) } else { 4 };
        let passed = watchdog.signal(time);
        assert!(passed != Signal::Hang || before != Signal::Quiet, "a hang without a warning");
        let wrote = what & 2 != 0;
        if wrote {
            let value = if what & 4 != 0 { choices.word() } else { choices.byte().into() };
            watchdog.write(frame, offset, size, value, time);
        } else {
            let value = watchdog.read(frame, offset, size, time);
            assert!(size == 4 || value == 0);
        }
        let signal = watchdog.signal(time);
        if before == Signal::Hang {
            assert_eq!((signal, watchdog.deadline()), (Signal::Hang, None));
        }
        assert!(signal != Signal::Hang || passed != Signal::Quiet, "a hang without a warning");
        if !wrote {
            assert_eq!(signal, passed, "a load changed it");
        }
        if let Some(deadline) = watchdog.deadline() {
            assert!(deadline > time, "{deadline} has passed at {time}");
        }
        signals += usize::from(signal != before);
        before = signal;
    }
    signals
}

pub fn seeds() -> Vec<Vec<u8>> {
    // An offset, enabled, and time that passes.
    let store = |offset: u8, value: u8| vec![0x2b, 1, 0, offset, value];
    let wait = vec![0x29, 0xff, 0xff, 0];
    let started = [store(2, 200), store(0, 1)].concat();
    vec![
        [&started[..], &wait, &wait, &wait].concat(),
        [&started[..], &wait, &store(0, 1), &wait].concat(),
        Random(1).bytes(200),
        Random(2).bytes(200),
    ]
}
