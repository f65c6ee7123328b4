//! A guest's GPIO: accesses, and lines that rise and fall.

use alloc::vec;
use alloc::vec::Vec;

use super::{Choices, Random};
use crate::pl061::Pl061;

const DATA: u64 = 0x3fc;
const DIR: u64 = 0x400;
const IS: u64 = 0x404;
const IE: u64 = 0x410;
const RIS: u64 = 0x414;
const MIS: u64 = 0x418;

/// A program of accesses and edges. The interrupt line is what the masked status says, and told when it changes; levels are
/// never stale; a load changes nothing. Returns how often the line changed.
pub fn run(bytes: &[u8]) -> usize {
    let mut choices = Choices::new(bytes);
    let (mut gpio, mut inputs, mut line, mut changes) = (Pl061::new(), 0u8, false, 0);
    while !choices.is_over() {
        let what = choices.byte();
        let offset =
            if what & 0x30 == 0 { choices.below(0x1100) } else { DIR + choices.below(9) * 4 };
        let changed = match what & 3 {
            0 => {
                let _ = gpio.read(offset, inputs);
                None
            }
            1 => gpio.write(offset, choices.byte(), inputs),
            _ => {
                let (n, rises) = (choices.below(10) as u8, what & 4 != 0);
                let bit = 1u8.checked_shl(n.into()).unwrap_or(0);
                inputs = if rises { inputs | bit } else { inputs & !bit };
                gpio.edge(n, rises, inputs)
            }
        };
        if let Some(level) = changed {
            assert_ne!(level, line, "a level was reported that had not changed");
            line = level;
            changes += 1;
        }
        let [data, direction, level, enabled, raised, masked] =
            [DATA, DIR, IS, IE, RIS, MIS].map(|register| gpio.read(register, inputs));
        assert_eq!(masked, raised & enabled);
        assert_eq!(line, masked != 0);
        assert_eq!(data & !direction, u32::from(inputs) & !direction);
        assert!(level <= 0xff && raised <= 0xff);
    }
    changes
}

pub fn seeds() -> Vec<Vec<u8>> {
    // Rising edges of line 0, enabled; it rises, is cleared, falls, and rises.
    let store = |register: u8, value: u8| vec![0x31, register, value];
    let set_up = [store(3, 1), store(4, 1)].concat();
    vec![
        [&set_up[..], &[0x36, 0, 0], &store(7, 1), &[0x32, 0, 0], &[0x36, 0, 0]].concat(),
        Random(1).bytes(200),
        Random(2).bytes(200),
    ]
}
