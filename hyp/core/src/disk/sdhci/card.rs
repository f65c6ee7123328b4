//! Finding out about a card and making it ready (SD Physical Layer 4.2, 4.3, and chapter 5 for its registers).

use core::fmt;

use super::host::{DEFAULT_SPEED, Fault, HIGH_SPEED, Host, r1, r1b, r2, r3};
use super::reg::{self, capability, card, cmd, control};
use crate::disk::{Registers, SECTOR_SIZE};
use crate::hw::Hw;

/// Why there is no disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// The controller does not reset, or has no clock.
    Controller,
    /// Nothing answers.
    NoCard,
    /// The card does not work with 3.3 V, or is no SD card.
    Voltage,
    /// The card did not do this command.
    Command(u32, Fault),
    /// The card is locked with a password.
    Locked,
    /// The card's description of itself is none that is known.
    Unknown,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("the SD controller does not react"),
            Self::NoCard => f.write_str("there is no SD card: insert one and reset the board"),
            Self::Voltage => f.write_str("the card is no SD card for 3.3 V"),
            Self::Command(index, fault) => {
                write!(f, "the SD card fails at command {index}: {fault}")
            }
            Self::Locked => f.write_str("the SD card is locked with a password"),
            Self::Unknown => f.write_str("the SD card is of a kind that is not known"),
        }
    }
}

/// What matters of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Card {
    pub sectors: u64,
    /// Addresses are of sectors; of bytes otherwise.
    pub by_sector: bool,
    pub read_only: bool,
    /// Its address, as commands carry it.
    pub rca: u32,
}

/// Argument of CMD8: 2.7 to 3.6 V, and a pattern to be echoed (4.3.13).
const IF_COND: u32 = 0x1aa;
/// Fields of ACMD41 and its response: capacity, power, 3.2 to 3.4 V, and that the card is ready (4.2.3.1).
const OCR_HIGH_CAPACITY: u32 = 1 << 30;
const OCR_MAX_POWER: u32 = 1 << 28;
const OCR_3V3: u32 = 0x0030_0000;
const OCR_READY: u32 = 1 << 31;
/// How long a card may take to get ready, and how long to leave it alone between questions, in microseconds.
const READY_PATIENCE: u64 = 1_000_000;
const READY_PAUSE: u64 = 1_000;
/// Argument of ACMD6 for four lines.
const FOUR_LINES: u32 = 2;
/// Argument of CMD6: take function 1, high speed, of group 1 and leave the others (4.3.10).
const TAKE_HIGH_SPEED: u32 = 0x80ff_fff1;

/// Makes the card of `host` ready for reads and writes. `fast`: at 50 MHz, where both can.
pub(super) fn start<R: Registers>(
    host: &mut Host<R>,
    hw: &impl Hw,
    fast: bool,
) -> Result<Card, InitError> {
    host.reset(hw).map_err(|_| InitError::Controller)?;
    let mut setup = Setup { host, hw, rca: 0 };
    let by_sector = setup.wake()?;
    setup.identify()?;
    let [low, high @ ..] = setup.long(cmd::SEND_CSD)?;
    let csd = Csd::new(low, high);
    let sectors = csd.sectors().ok_or(InitError::Unknown)?;
    setup.ask(r1b(cmd::SELECT), setup.rca).and_then(|status| match status & card::LOCKED {
        0 => Ok(()),
        _ => Err(InitError::Locked),
    })?;
    setup.clock(DEFAULT_SPEED)?;
    setup.widen(fast)?;
    setup.ask(r1(cmd::SET_BLOCK_LENGTH), SECTOR_SIZE as u32)?;
    // Lines that are too slow for the clock show it here.
    setup.ask_data(cmd::READ_ONE, 0, &mut [0; SECTOR_SIZE as usize / 4])?;
    Ok(Card { sectors, by_sector, read_only: csd.read_only(), rca: setup.rca })
}

struct Setup<'a, R, H> {
    host: &'a mut Host<R>,
    hw: &'a H,
    rca: u32,
}

impl<R: Registers, H: Hw> Setup<'_, R, H> {
    /// A command with its response checked for its transmission only.
    fn raw(&self, command: u32, argument: u32) -> Result<u32, Fault> {
        self.host.command(self.hw, command, argument, &mut [])
    }

    /// A command whose response is the card's status; the status.
    fn ask(&self, command: u32, argument: u32) -> Result<u32, InitError> {
        let index = command >> reg::mode::INDEX_SHIFT;
        let status = self.raw(command, argument).map_err(|why| InitError::Command(index, why))?;
        match status & card::ERRORS {
            0 => Ok(status),
            _ => Err(InitError::Command(index, Fault::Refused)),
        }
    }

    /// The same for a command with which the card sends a block.
    fn ask_data(&self, index: u32, argument: u32, data: &mut [u32]) -> Result<(), InitError> {
        let result = self.host.command(self.hw, r1(index), argument, data);
        match result.map(|status| status & card::ERRORS) {
            Ok(0) => Ok(()),
            Ok(_) => Err(InitError::Command(index, Fault::Refused)),
            Err(why) => Err(InitError::Command(index, why)),
        }
    }

    /// Says that the next command is one of the application's (4.3.9).
    fn app(&self) -> Result<(), Fault> {
        // What its response says of errors is about the command before, which a card may not have known.
        self.raw(r1(cmd::APP), self.rca).map(|_| ())
    }

    fn clock(&mut self, khz: u32) -> Result<(), InitError> {
        self.host.set_clock(self.hw, khz).map_err(|_| InitError::Controller)
    }

    /// From any state to ready (4.2.3); whether the card's addresses are of sectors.
    fn wake(&self) -> Result<bool, InitError> {
        self.raw(cmd::GO_IDLE << reg::mode::INDEX_SHIFT, 0).map_err(|_| InitError::Controller)?;
        let capacity = match self.raw(r1(cmd::SEND_IF_COND), IF_COND) {
            Ok(echo) if echo & 0xfff == IF_COND => OCR_HIGH_CAPACITY | OCR_MAX_POWER,
            Ok(_) => return Err(InitError::Voltage),
            // A card of before version 2 does not know the command.
            Err(Fault::Silent) => 0,
            Err(why) => return Err(InitError::Command(cmd::SEND_IF_COND, why)),
        };
        let mut waited = 0;
        loop {
            let ocr = self.app().and_then(|()| self.raw(r3(cmd::SEND_OP_COND), OCR_3V3 | capacity));
            match ocr {
                Ok(ocr) if ocr & OCR_READY != 0 => {
                    return if ocr & OCR_3V3 == 0 {
                        Err(InitError::Voltage)
                    } else {
                        Ok(ocr & OCR_HIGH_CAPACITY != 0)
                    };
                }
                Ok(_) if waited < READY_PATIENCE => {}
                Err(Fault::Silent) if capacity == 0 => return Err(InitError::NoCard),
                Ok(_) => return Err(InitError::Command(cmd::SEND_OP_COND, Fault::Silent)),
                Err(why) => return Err(InitError::Command(cmd::SEND_OP_COND, why)),
            }
            self.host.pause(self.hw, READY_PAUSE);
            waited += READY_PAUSE;
        }
    }

    /// Gives the card its address (4.2.2).
    fn identify(&mut self) -> Result<(), InitError> {
        self.long(cmd::ALL_SEND_CID)?;
        // An address of 0 would be everybody's: then the card is to choose another.
        for _ in 0..2 {
            let index = cmd::SEND_RELATIVE_ADDRESS;
            let response = self.raw(r1(index), 0).map_err(|why| InitError::Command(index, why))?;
            self.rca = response & 0xffff_0000;
            if self.rca != 0 {
                return Ok(());
            }
        }
        Err(InitError::Unknown)
    }

    /// A command with a response of 128 bits, its checksum left out.
    fn long(&self, index: u32) -> Result<[u32; 4], InitError> {
        self.raw(r2(index), self.rca).map_err(|why| InitError::Command(index, why))?;
        Ok([0, 4, 8, 12].map(|word| self.host.read(reg::RESPONSE + word)))
    }

    /// Four data lines, and high speed where card and controller can.
    fn widen(&mut self, fast: bool) -> Result<(), InitError> {
        let app = |setup: &Self, index| setup.app().map_err(|why| InitError::Command(index, why));
        let mut scr = [0; 2];
        app(self, cmd::SEND_SCR)?;
        self.ask_data(cmd::SEND_SCR, 0, &mut scr)?;
        // The register comes with its highest byte first (5.6).
        let scr = Scr(scr[0].swap_bytes());
        if scr.four_lines() {
            app(self, cmd::SET_BUS_WIDTH)?;
            self.ask(r1(cmd::SET_BUS_WIDTH), FOUR_LINES)?;
            self.host.set_control(self.hw, control::WIDTH_4);
        }
        if !fast || !scr.has_switch() || !self.host.can(capability::HIGH_SPEED) {
            return Ok(());
        }
        let mut functions = [0; 16];
        self.ask_data(cmd::SWITCH_FUNCTION, TAKE_HIGH_SPEED, &mut functions)?;
        if took_high_speed(&functions) {
            self.host.set_control(self.hw, control::HIGH_SPEED);
            self.clock(HIGH_SPEED)?;
        }
        Ok(())
    }
}

/// Whether the response to CMD6 says that function 1 of group 1 is on: bits 379 to 376 (4.3.10.4).
fn took_high_speed(functions: &[u32; 16]) -> bool {
    let byte = functions.get(4).map_or(0, |word| word.to_le_bytes()[0]);
    byte & 0xf == 1
}

/// The upper word of the SCR (5.6).
struct Scr(u32);

impl Scr {
    fn four_lines(&self) -> bool {
        self.0 >> 16 & 0b100 != 0
    }

    /// Version 1.10 or later, which know CMD6.
    fn has_switch(&self) -> bool {
        self.0 >> 24 & 0xf != 0
    }
}

/// The card-specific data (5.3).
pub(super) struct Csd(u128);

impl Csd {
    /// From the response registers, which leave out the lowest byte.
    pub(super) fn new(low: u32, high: [u32; 3]) -> Self {
        let words = high.iter().rev().fold(0, |sum, &word| sum << 32 | u128::from(word));
        Self((words << 32 | u128::from(low)) << 8)
    }

    fn field(&self, high: u32, low: u32) -> u64 {
        (self.0 >> low) as u64 & ((1 << (high - low + 1)) - 1)
    }

    /// The capacity; `None` for versions that are not known, SDUC among them, and for impossible values.
    pub(super) fn sectors(&self) -> Option<u64> {
        match self.field(127, 126) {
            0 => {
                let block = self.field(83, 80);
                let shift = self.field(49, 47) + 2 + block;
                // Blocks of 512 to 2048 bytes (5.3.2, READ_BL_LEN).
                (9..=11).contains(&block).then(|| ((self.field(73, 62) + 1) << shift) / SECTOR_SIZE)
            }
            // Units of 512 KiB (5.3.3).
            1 => Some((self.field(69, 48) + 1) * 1024),
            _ => None,
        }
    }

    /// Written for ever or for now: PERM_WRITE_PROTECT, TMP_WRITE_PROTECT.
    pub(super) fn read_only(&self) -> bool {
        self.field(13, 12) != 0
    }
}
