//! The keys that are for the console and not for a guest.
//!
//! Idea: the switch key acts at once and the key after it may correct it. So one stroke goes round the guests as often
//! as wanted, and no clock has to tell a lone stroke from the first of two. Idea not taken: the switch key twice for the
//! key itself; whoever goes round the guests quickly would send it by accident.

/// Ctrl-].
pub(super) const SWITCH: u8 = 0x1d;

/// What a byte from the terminal means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// Input of the focused guest.
    Pass(u8),
    /// The next guest gets the focus.
    Next,
    /// The guest of this index gets the focus.
    Pick(usize),
    /// The guest that had the focus gets it back, and a [`SWITCH`] byte as input.
    Literal,
    /// The guest that had the focus gets it back; the keys are explained.
    Help,
}

/// Whether the last byte was the switch key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys {
    switched: bool,
}

impl Keys {
    /// Takes the next byte from the terminal, with `guests` guests to choose from.
    pub(super) fn feed(&mut self, byte: u8, guests: usize) -> Key {
        let after_switch = core::mem::replace(&mut self.switched, byte == SWITCH);
        match byte {
            SWITCH => Key::Next,
            b'?' if after_switch => Key::Help,
            b'0' if after_switch => Key::Literal,
            b'1'..=b'9' if after_switch && usize::from(byte - b'0') <= guests => {
                Key::Pick(usize::from(byte - b'1'))
            }
            _ => Key::Pass(byte),
        }
    }
}
