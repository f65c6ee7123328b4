//! What a system error says of itself (DDI 0487 D24.2.40, "ISS encoding for an SError exception").

use core::fmt;

/// ISS.IDS: the rest is the implementation's own. A core without the RAS extension has nothing else.
const IDS: u64 = 1 << 24;
/// ISS.DFSC: what kind of error it is.
const DFSC: u64 = 0x3f;
/// DFSC: an asynchronous system error, for which AET and EA hold.
const ASYNCHRONOUS: u64 = 0x11;
/// ISS.EA: how the bus answered is the implementation's own as well.
const EA: u64 = 1 << 9;

/// ESR_ELx of a system error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SystemError(pub u64);

impl SystemError {
    fn kind(self) -> &'static str {
        let Self(esr) = self;
        if esr & IDS != 0 {
            return "a syndrome of this core's own";
        }
        if esr & DFSC != ASYNCHRONOUS {
            return "uncategorized";
        }
        // ISS.AET, which says what the error left of the state of the core.
        match esr >> 10 & 7 {
            0 => "uncontainable",
            1 => "unrecoverable state",
            2 => "restartable state",
            3 => "recoverable state",
            6 => "corrected",
            _ => "of a reserved kind",
        }
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bus = self.0 & (IDS | DFSC | EA) == ASYNCHRONOUS | EA;
        let external = if bus { ", external abort" } else { "" };
        write!(f, "system error: {}{external} (ISS {:#x})", self.kind(), self.0 & 0x1ff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_system_error_is_told_in_words_and_with_its_syndrome() {
        let of = |iss: u64| SystemError(0x2f << 26 | 1 << 25 | iss).to_string();
        // A Cortex-A72: no RAS, a slave error.
        assert_eq!(of(1 << 24 | 2), "system error: a syndrome of this core's own (ISS 0x1000002)");
        assert_eq!(of(0), "system error: uncategorized (ISS 0x0)");
        assert_eq!(of(0x211), "system error: uncontainable, external abort (ISS 0x211)");
        assert_eq!(of(3 << 10 | 0x11), "system error: recoverable state (ISS 0xc11)");
        assert_eq!(of(5 << 10 | 0x11), "system error: of a reserved kind (ISS 0x1411)");
    }
}
