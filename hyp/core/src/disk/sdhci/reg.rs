//! Registers of the controller (SD Host Controller 3.00 2.2), each as the 32-bit word that holds it, and what cards
//! understand (SD Physical Layer 4.7, 4.9).

/// Offsets.
pub const BLOCKS: u64 = 0x04;
pub const ARGUMENT: u64 = 0x08;
pub const COMMAND: u64 = 0x0c;
pub const RESPONSE: u64 = 0x10;
/// The last word of the response, where that of an automatic CMD12 is found (2.2.7).
pub const AUTO_RESPONSE: u64 = 0x1c;
pub const DATA: u64 = 0x20;
pub const PRESENT: u64 = 0x24;
pub const HOST_CONTROL: u64 = 0x28;
pub const CLOCK: u64 = 0x2c;
pub const STATUS: u64 = 0x30;
pub const STATUS_ENABLE: u64 = 0x34;
pub const SIGNAL_ENABLE: u64 = 0x38;
pub const CAPABILITIES: u64 = 0x40;
pub const ADMA_ADDRESS: u64 = 0x58;
pub const VERSION: u64 = 0xfc;

/// Fields of BLOCKS: block count above the block size (2.2.2, 2.2.3).
pub const BLOCK_COUNT_SHIFT: u32 = 16;

/// Fields of COMMAND: the transfer mode in the lower half (2.2.5), the command in the upper (2.2.6).
pub mod mode {
    pub const DMA: u32 = 1 << 0;
    pub const COUNT: u32 = 1 << 1;
    pub const AUTO_CMD12: u32 = 1 << 2;
    pub const READ: u32 = 1 << 4;
    pub const MULTIPLE: u32 = 1 << 5;
    pub const RESPONSE_136: u32 = 1 << 16;
    pub const RESPONSE_48: u32 = 2 << 16;
    pub const RESPONSE_48_BUSY: u32 = 3 << 16;
    pub const CHECK_CRC: u32 = 1 << 19;
    pub const CHECK_INDEX: u32 = 1 << 20;
    pub const DATA: u32 = 1 << 21;
    pub const ABORT: u32 = 3 << 22;
    pub const INDEX_SHIFT: u32 = 24;
}

/// Fields of PRESENT (2.2.9).
pub mod present {
    pub const COMMAND_INHIBIT: u32 = 1 << 0;
    pub const DATA_INHIBIT: u32 = 1 << 1;
}

/// Fields of HOST_CONTROL: bus and DMA (2.2.10), and in the second byte the card's power (2.2.11).
pub mod control {
    pub const WIDTH_4: u32 = 1 << 1;
    pub const HIGH_SPEED: u32 = 1 << 2;
    pub const ADMA2_32: u32 = 2 << 3;
    pub const POWER_3V3: u32 = 0xf << 8;
}

/// Fields of CLOCK: clock (2.2.14), data timeout (2.2.15), resets (2.2.16).
pub mod clock {
    pub const INTERNAL_ENABLE: u32 = 1 << 0;
    pub const STABLE: u32 = 1 << 1;
    pub const CARD_ENABLE: u32 = 1 << 2;
    pub const DIVISOR_HIGH_SHIFT: u32 = 6;
    pub const DIVISOR_LOW_SHIFT: u32 = 8;
    pub const TIMEOUT_SHIFT: u32 = 16;
    pub const RESET_ALL: u32 = 1 << 24;
    pub const RESET_COMMAND: u32 = 1 << 25;
    pub const RESET_DATA: u32 = 1 << 26;
    /// A data timeout is 2^(13 + n) ticks, with n up to this.
    pub const TIMEOUT_BASE: u32 = 13;
    pub const TIMEOUT_MAX: u32 = 14;
    /// The largest divisors: of version 3, and of those before, which take powers of two alone.
    pub const DIVISOR_MAX: u32 = 0x3ff;
    pub const DIVISOR_MAX_OLD: u32 = 0x80;
}

/// Fields of STATUS and its two masks (2.2.17, 2.2.18).
pub mod status {
    pub const COMMAND_DONE: u32 = 1 << 0;
    pub const TRANSFER_DONE: u32 = 1 << 1;
    pub const WRITE_READY: u32 = 1 << 4;
    pub const READ_READY: u32 = 1 << 5;
    pub const COMMAND_TIMEOUT: u32 = 1 << 16;
    pub const DATA_TIMEOUT: u32 = 1 << 20;
    /// Of commands, data, the automatic CMD12 and ADMA.
    pub const ERRORS: u32 = 0x037f << 16;
    /// All that is of interest.
    pub const ALL: u32 = COMMAND_DONE | TRANSFER_DONE | WRITE_READY | READ_READY | ERRORS;
}

/// Fields of CAPABILITIES (2.2.25).
pub mod capability {
    pub const TIMEOUT_CLOCK: u32 = 0x3f;
    pub const TIMEOUT_MHZ: u32 = 1 << 7;
    pub const BASE_CLOCK_SHIFT: u32 = 8;
    pub const ADMA2: u32 = 1 << 19;
    pub const HIGH_SPEED: u32 = 1 << 21;
}

/// Fields of VERSION (2.2.39).
pub mod version {
    pub const SHIFT: u32 = 16;
    pub const V3: u32 = 2;
}

/// Fields of a 32-bit ADMA2 descriptor (1.13.4).
pub mod adma {
    pub const VALID: u64 = 1 << 0;
    pub const END: u64 = 1 << 1;
    pub const TRANSFER: u64 = 0b10 << 4;
    pub const LENGTH_SHIFT: u32 = 16;
    pub const ADDRESS_SHIFT: u32 = 32;
    pub const SIZE: usize = 8;
}

/// Commands of the card (SD Physical Layer 4.7.4).
pub mod cmd {
    pub const GO_IDLE: u32 = 0;
    pub const ALL_SEND_CID: u32 = 2;
    pub const SEND_RELATIVE_ADDRESS: u32 = 3;
    pub const SET_BUS_WIDTH: u32 = 6;
    pub const SWITCH_FUNCTION: u32 = 6;
    pub const SELECT: u32 = 7;
    pub const SEND_IF_COND: u32 = 8;
    pub const SEND_CSD: u32 = 9;
    pub const STOP: u32 = 12;
    pub const SEND_STATUS: u32 = 13;
    pub const SET_BLOCK_LENGTH: u32 = 16;
    pub const READ_ONE: u32 = 17;
    pub const READ_MANY: u32 = 18;
    pub const WRITE_ONE: u32 = 24;
    pub const WRITE_MANY: u32 = 25;
    pub const SEND_OP_COND: u32 = 41;
    pub const SEND_SCR: u32 = 51;
    pub const APP: u32 = 55;
}

/// Fields of a card's status (SD Physical Layer 4.10.1).
pub mod card {
    pub const OUT_OF_RANGE: u32 = 1 << 31;
    pub const LOCKED: u32 = 1 << 25;
    /// Everything that means that what was asked was not done.
    pub const ERRORS: u32 = OUT_OF_RANGE | 0x7d << 24 | 0xf9 << 16 | 1 << 15;
    pub const READY: u32 = 1 << 8;
    pub const STATE_SHIFT: u32 = 9;
    pub const STATE: u32 = 0xf;
}
