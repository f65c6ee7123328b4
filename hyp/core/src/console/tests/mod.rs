//! The console as guests, the terminal and whoever types find it.

mod flow;
mod forgery;
mod keys;
mod monitor;
mod screen;

use super::source::LINE_MAX;
use super::*;
use crate::fuzz::Random;
use std::format;
use std::string::String;
use std::vec::Vec;

const WEB: VmId = VmId(0);
const DB: VmId = VmId(1);
const SWITCH: u8 = 0x1d;
const MONITOR_KEY: u8 = 0x1c;
const TINY: Sizes = Sizes { output: 0, backlog: 1024, input: 8 };

fn console() -> Console {
    Console::new(&["web", "db"], Sizes::default())
}

fn print(c: &mut Console, vm: VmId, text: impl AsRef<[u8]>) {
    text.as_ref().iter().for_each(|&byte| c.guest_output(vm, byte));
}

fn press(c: &mut Console, keys: &[u8]) {
    for &key in keys {
        assert_eq!(c.physical_input(key), None);
    }
}

fn input(c: &mut Console, vm: VmId) -> Vec<u8> {
    core::iter::from_fn(|| c.take_input(vm)).collect()
}

/// What comes out, in pieces of `piece` bytes.
fn shown_by(c: &mut Console, piece: usize) -> String {
    let mut all = Vec::new();
    let mut buffer = std::vec![0; piece];
    loop {
        let count = c.take_output(&mut buffer);
        if count == 0 {
            assert!(!c.has_output());
            return String::from_utf8_lossy(&all).into_owned();
        }
        all.extend_from_slice(&buffer[..count]);
    }
}

fn shown(c: &mut Console) -> String {
    shown_by(c, 16)
}
