//! The controller: its registers, its clock, and commands to the card that are waited for, as the boot gives them.

use core::fmt;

use super::reg::{self, capability, clock, control, mode, present, status, version};
use crate::disk::Registers;
use crate::hw::Hw;

/// Why a command came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The card did not answer.
    Silent,
    /// The answer, or the data, arrived damaged or not at all.
    Garbled,
    /// The card answered that it did not do it.
    Refused,
    /// The controller does not do what it is told.
    Controller,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it does not answer",
            Self::Garbled => "its answer is damaged",
            Self::Refused => "it refuses",
            Self::Controller => "the controller does not react",
        })
    }
}

/// A command with its kind of response (SD Host Controller 3.00 1.6, table 1-6).
pub(super) const fn r1(index: u32) -> u32 {
    index << mode::INDEX_SHIFT | mode::RESPONSE_48 | mode::CHECK_CRC | mode::CHECK_INDEX
}
pub(super) const fn r1b(index: u32) -> u32 {
    r1(index) | mode::RESPONSE_48_BUSY
}
pub(super) const fn r2(index: u32) -> u32 {
    index << mode::INDEX_SHIFT | mode::RESPONSE_136 | mode::CHECK_CRC
}
pub(super) const fn r3(index: u32) -> u32 {
    index << mode::INDEX_SHIFT | mode::RESPONSE_48
}

/// The clock to find out about a card, the usual one, and the fast one (SD Physical Layer 4.2.1, 4.3.10), in kHz.
pub(super) const IDENTIFY: u32 = 400;
pub(super) const DEFAULT_SPEED: u32 = 25_000;
pub(super) const HIGH_SPEED: u32 = 50_000;
/// The base clock of a controller that does not tell: as fast as any, so that the card's is rather too slow.
const BASE_UNKNOWN: u32 = 200_000;
/// The longest that a card may be busy, and some more, in milliseconds (SD Physical Layer 4.6.2.2).
const BUSY: u32 = 3_000;

/// How long to wait, in microseconds: for a reset; for a clock to be stable; for the command lines to be free; for a
/// command that keeps the card busy.
const RESET_PATIENCE: u64 = 100_000;
const CLOCK_PATIENCE: u64 = 150_000;
const LINE_PATIENCE: u64 = 1_000;
const COMMAND_PATIENCE: u64 = 1_000_000;
/// The card's power and 74 clocks before the first command (SD Physical Layer 6.4.1).
const POWER_UP: u64 = 2_000;
/// At the lowest clock a write takes four clocks to arrive: bcm2711 forgets a second one that comes before.
const SLOW_WRITE: u64 = 10;

/// The controller.
#[derive(Debug)]
pub(super) struct Host<R> {
    registers: R,
    capabilities: u32,
    /// The clock that goes in, where the board knows it better than the capabilities, in kHz.
    base: Option<u32>,
    /// What HOST_CONTROL and CLOCK were given.
    control: u32,
    clock: u32,
    slow: bool,
}

impl<R: Registers> Host<R> {
    pub(super) fn new(registers: R, base: Option<u32>) -> Self {
        let capabilities = registers.read32(reg::CAPABILITIES);
        Self { registers, capabilities, base, control: 0, clock: 0, slow: true }
    }

    pub(super) fn can(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Whether the card is at high speed.
    pub(super) fn is_fast(&self) -> bool {
        self.control & control::HIGH_SPEED != 0
    }

    #[inline]
    pub(super) fn read(&self, register: u64) -> u32 {
        self.registers.read32(register)
    }

    pub(super) fn write(&self, hw: &impl Hw, register: u64, value: u32) {
        self.registers.write32(register, value);
        if self.slow {
            self.pause(hw, SLOW_WRITE);
        }
    }

    /// What happened since it was last asked.
    pub(super) fn take_status(&self) -> u32 {
        let now = self.registers.read32(reg::STATUS);
        if now != 0 {
            self.registers.write32(reg::STATUS, now);
        }
        now & status::ALL
    }

    /// Waits until `done`, at most so many microseconds; whether it came to that.
    fn wait(&self, hw: &impl Hw, micros: u64, mut done: impl FnMut() -> bool) -> bool {
        let begin = hw.now();
        let patience = (hw.counter_hz() / 1_000_000).saturating_mul(micros);
        loop {
            if done() {
                return true;
            }
            if hw.now().saturating_sub(begin) > patience {
                return false;
            }
        }
    }

    /// Waits so many microseconds.
    #[inline(never)]
    pub(super) fn pause(&self, hw: &impl Hw, micros: u64) {
        self.wait(hw, micros, || {
            // Nothing depends on it: it spaces the looks at the clock.
            self.read(reg::PRESENT);
            false
        });
    }

    /// Resets everything, powers the card and gives it the identification clock.
    pub(super) fn reset(&mut self, hw: &impl Hw) -> Result<(), Fault> {
        (self.control, self.clock, self.slow) = (0, 0, true);
        self.reset_part(hw, clock::RESET_ALL)?;
        self.control = control::POWER_3V3;
        if self.can(capability::ADMA2) {
            self.control |= control::ADMA2_32;
        }
        self.write(hw, reg::HOST_CONTROL, self.control);
        self.clock = self.timeout() << clock::TIMEOUT_SHIFT;
        self.set_clock(hw, IDENTIFY)?;
        self.write(hw, reg::SIGNAL_ENABLE, 0);
        self.write(hw, reg::STATUS_ENABLE, status::ALL);
        self.pause(hw, POWER_UP);
        Ok(())
    }

    /// Resets what waits for a response and for data.
    pub(super) fn reset_lines(&self, hw: &impl Hw) -> Result<(), Fault> {
        self.reset_part(hw, clock::RESET_COMMAND | clock::RESET_DATA)?;
        self.take_status();
        Ok(())
    }

    fn reset_part(&self, hw: &impl Hw, part: u32) -> Result<(), Fault> {
        self.registers.write32(reg::CLOCK, self.clock | part);
        match self.wait(hw, RESET_PATIENCE, || self.read(reg::CLOCK) & part == 0) {
            true => Ok(()),
            false => Err(Fault::Controller),
        }
    }

    /// Ends all that is under way, interrupts included, without waiting long.
    pub(super) fn stop(&self) {
        self.registers.write32(reg::SIGNAL_ENABLE, 0);
        self.registers.write32(reg::CLOCK, clock::RESET_ALL);
        // At least until it was seen once: DMA ends with the bus transaction that is under way.
        for _ in 0..1000 {
            if self.read(reg::CLOCK) & clock::RESET_ALL == 0 {
                break;
            }
        }
    }

    /// From now on what happens raises the interrupt.
    pub(super) fn enable_interrupt(&self, hw: &impl Hw) {
        self.write(hw, reg::SIGNAL_ENABLE, status::ALL);
    }

    /// The data timeout to set: the shortest that lets a card be busy for as long as it may.
    fn timeout(&self) -> u32 {
        let unit = if self.can(capability::TIMEOUT_MHZ) { 1000 } else { 1 };
        let khz = (self.capabilities & capability::TIMEOUT_CLOCK) * unit;
        if khz == 0 {
            return clock::TIMEOUT_MAX;
        }
        let power = (khz * BUSY).next_power_of_two().ilog2();
        power.saturating_sub(clock::TIMEOUT_BASE).min(clock::TIMEOUT_MAX)
    }

    /// Gives the card a clock of at most `khz` (2.2.14, 3.2.1).
    pub(super) fn set_clock(&mut self, hw: &impl Hw, khz: u32) -> Result<(), Fault> {
        let v3 = self.read(reg::VERSION) >> version::SHIFT & 0xff >= version::V3;
        let (bits, max) = match v3 {
            true => (0xff, clock::DIVISOR_MAX),
            false => (0x3f, clock::DIVISOR_MAX_OLD),
        };
        let base = self.base.unwrap_or_else(|| {
            match self.capabilities >> capability::BASE_CLOCK_SHIFT & bits {
                0 => BASE_UNKNOWN,
                mhz => mhz * 1000,
            }
        });
        let divisor = match base.div_ceil(2 * khz) {
            _ if base <= khz => 0,
            divisor if v3 => divisor,
            divisor => divisor.next_power_of_two(),
        };
        let divisor = divisor.min(max);
        let fields = (divisor & 0xff) << clock::DIVISOR_LOW_SHIFT
            | divisor >> 8 << clock::DIVISOR_HIGH_SHIFT;
        let timeout = self.clock & 0xf << clock::TIMEOUT_SHIFT;
        self.write(hw, reg::CLOCK, timeout);
        self.clock = timeout | fields | clock::INTERNAL_ENABLE;
        self.write(hw, reg::CLOCK, self.clock);
        if !self.wait(hw, CLOCK_PATIENCE, || self.read(reg::CLOCK) & clock::STABLE != 0) {
            return Err(Fault::Controller);
        }
        self.clock |= clock::CARD_ENABLE;
        self.write(hw, reg::CLOCK, self.clock);
        self.slow = khz <= IDENTIFY;
        Ok(())
    }

    /// Sets more of HOST_CONTROL.
    pub(super) fn set_control(&mut self, hw: &impl Hw, bits: u32) {
        self.control |= bits;
        self.write(hw, reg::HOST_CONTROL, self.control);
    }

    /// Begins a command; its end is seen in the status.
    pub(super) fn issue(&self, hw: &impl Hw, command: u32, argument: u32) -> Result<(), Fault> {
        let busy = command & mode::RESPONSE_48_BUSY == mode::RESPONSE_48_BUSY;
        let lines = match busy || command & mode::DATA != 0 {
            true => present::COMMAND_INHIBIT | present::DATA_INHIBIT,
            false => present::COMMAND_INHIBIT,
        };
        if !self.wait(hw, LINE_PATIENCE, || self.read(reg::PRESENT) & lines == 0) {
            return Err(Fault::Controller);
        }
        self.write(hw, reg::ARGUMENT, argument);
        self.write(hw, reg::COMMAND, command);
        Ok(())
    }

    /// Gives a command and waits for its end. `data` is what the card sends with it, if it does.
    pub(super) fn command(
        &self,
        hw: &impl Hw,
        command: u32,
        argument: u32,
        data: &mut [u32],
    ) -> Result<u32, Fault> {
        let busy = command & mode::RESPONSE_48_BUSY == mode::RESPONSE_48_BUSY;
        let (mut command, mut want) = (command, status::COMMAND_DONE);
        if busy || !data.is_empty() {
            want |= status::TRANSFER_DONE;
        }
        if !data.is_empty() {
            command |= mode::DATA | mode::READ;
            let blocks = size_of_val(data) as u32 | 1 << reg::BLOCK_COUNT_SHIFT;
            self.write(hw, reg::BLOCKS, blocks);
        }
        self.take_status();
        self.issue(hw, command, argument)?;
        let mut seen = 0;
        let mut data = data.iter_mut();
        let ended = self.wait(hw, COMMAND_PATIENCE, || {
            seen |= self.take_status();
            if seen & status::READ_READY != 0 {
                data.by_ref().for_each(|word| *word = self.read(reg::DATA));
            }
            seen & status::ERRORS != 0 || seen & want == want
        });
        if ended && seen & status::ERRORS == 0 {
            return Ok(self.read(reg::RESPONSE));
        }
        self.reset_lines(hw)?;
        Err(match seen & status::ERRORS {
            status::COMMAND_TIMEOUT => Fault::Silent,
            _ if seen == 0 => Fault::Controller,
            _ => Fault::Garbled,
        })
    }
}
