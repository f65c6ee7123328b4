//! Driver of SD cards behind a controller of the SD Host Controller Simplified Specification 3.00, such as the EMMC2 of a
//! Raspberry Pi 4 (SD Physical Layer Simplified Specification 6.00 for the card). Its registers are read and written by
//! 32 bits only, as that one needs.
//!
//! The card does one thing at a time, so one request is under way and others wait with their owners. What comes next is
//! a small state machine, pushed on by interrupts: the data of a part, after a write the card's status, after an error
//! the status again until the card is ready, then the part anew, three times at most. Data goes by ADMA2 where the
//! controller can and reaches the memory; otherwise a core copies it, a few blocks an interrupt. At boot the same machine
//! is polled.
//!
//! **Durability.** A write is complete when the card is no longer busy and its status, asked for afterwards, has no
//! error: then the data is on the card. A card's cache (SD 6.0) is off unless it is switched on, which this
//! driver does not do. So there is nothing left for a flush to do.
//!
//! **Cards go.** One that does not answer the question for its status any more is taken for removed: all requests come
//! back as lost, for good. One that is put in later might be another.
//!
//! Ideas not taken: UHS speeds, which need the voltage of the lines switched by a chip of each board's own; erasing for a
//! discard, which on many cards takes longer than writing.

use alloc::vec::Vec;
use core::fmt;

use crate::board::DmaWindow;
use crate::disk::{DiskDriver, DiskError, Registers, SECTOR_SIZE};
use crate::hw::Hw;

mod card;
mod driver;
mod host;
#[cfg(test)]
mod model;
mod reg;
#[cfg(test)]
mod tests;
mod work;

use card::Card;
pub use card::InitError;
pub use host::Fault;
use host::{Host, r1};
use reg::{capability, cmd, mode, status};
use work::{Dma, Work};

/// What the card is asked, and so what its answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// To move a part's data, by DMA or not.
    Data { dma: bool },
    /// For its status: after a write, or to try a part again.
    Status { again: bool },
    /// To stop a transfer that failed.
    Stop,
}

/// Tries of a part after the first.
const RETRIES: u8 = 3;
/// Questions for its status that a card may leave without an answer.
const SILENCES: u8 = 3;
/// Most events that one look at the controller handles: so many blocks are copied at most before the guest runs on.
const EVENTS: u32 = 8;
/// How long a card may be busy after an error, and how long a controller may say nothing, in seconds.
const BUSY_PATIENCE: u64 = 4;
const QUESTIONS: u16 = 100;
const PATIENCE: u64 = 10;

/// The driver.
#[derive(Debug)]
pub struct Sdhci<R> {
    host: Host<R>,
    card: Card,
    dma: Option<Dma>,
    work: Work,
    active: bool,
    dead: bool,
    step: Step,
    /// What was acknowledged and not looked at, and what was seen in this step.
    pending: u32,
    seen: u32,
    retries: u8,
    silences: u8,
    /// When something happened last, and when this part was last begun.
    latest: u64,
    began: u64,
    /// How often the card was asked for its status since then.
    questions: u16,
    events: u32,
    /// What the response of an automatic CMD12 reads as where the controller never writes it.
    stale: u32,
}

impl<R: Registers> Sdhci<R> {
    /// Takes controller and card into use; waits for the card. `windows` are what its DMA reaches; `base` is the clock
    /// that goes in, in kHz, where the board knows it: a BCM2711's capabilities always say 100 MHz.
    pub fn new(
        registers: R,
        hw: &impl Hw,
        windows: Vec<DmaWindow>,
        coherent: bool,
        base: Option<u32>,
    ) -> Result<Self, InitError> {
        let mut host = Host::new(registers, base);
        let card = Self::start_card(&mut host, hw).inspect_err(|_| host.stop())?;
        let adma2 = host.can(capability::ADMA2);
        let dma = if adma2 { Dma::new(hw, windows, coherent) } else { None };
        let stale = host.read(reg::AUTO_RESPONSE);
        host.enable_interrupt(hw);
        Ok(Self {
            host,
            card,
            dma,
            work: Work::new(),
            active: false,
            dead: false,
            step: Step::Stop,
            pending: 0,
            seen: 0,
            retries: 0,
            silences: 0,
            latest: 0,
            began: 0,
            questions: 0,
            events: 0,
            stale,
        })
    }

    /// Tries a card that answers twice at full speed and then more slowly: a bad contact may need that.
    fn start_card(host: &mut Host<R>, hw: &impl Hw) -> Result<Card, InitError> {
        for _ in 0..2 {
            match card::start(host, hw, true) {
                Err(InitError::Command(..)) => {}
                result => return result,
            }
        }
        card::start(host, hw, false)
    }

    /// Begins the part.
    fn start_part(&mut self, hw: &impl Hw) {
        let work = &mut self.work;
        work.rewind();
        let table = self.dma.as_ref().and_then(|dma| dma.prepare(hw, work));
        let many = work.part > 1;
        let (read, index) = match (work.is_read(), many) {
            (true, false) => (mode::READ, cmd::READ_ONE),
            (true, true) => (mode::READ, cmd::READ_MANY),
            (false, false) => (0, cmd::WRITE_ONE),
            (false, true) => (0, cmd::WRITE_MANY),
        };
        let mut command = r1(index) | mode::DATA | read;
        if many {
            command |= mode::MULTIPLE | mode::COUNT | mode::AUTO_CMD12;
        }
        match table {
            Some(table) => {
                command |= mode::DMA;
                self.host.write(hw, reg::ADMA_ADDRESS, table);
            }
            // Some of its pieces may have been put into a table.
            None => work.rewind(),
        }
        // Both fit: the card has no more than 2^32 sectors, or 2^32 bytes.
        let unit = if self.card.by_sector { 1 } else { SECTOR_SIZE };
        let argument = (work.sector * unit) as u32;
        let blocks = SECTOR_SIZE as u32 | work.part << reg::BLOCK_COUNT_SHIFT;
        self.host.write(hw, reg::BLOCKS, blocks);
        (self.began, self.questions) = (hw.now(), 0);
        self.ask(hw, Step::Data { dma: table.is_some() }, command, argument);
    }

    /// Begins a step with a command to the card.
    fn ask(&mut self, hw: &impl Hw, step: Step, command: u32, argument: u32) {
        self.host.take_status();
        (self.step, self.seen, self.pending) = (step, 0, 0);
        self.latest = hw.now();
        let issue = |host: &Host<R>| host.issue(hw, command, argument);
        // Lines that are in use still are free after a reset, or never.
        let retry = |_| self.host.reset_lines(hw).and_then(|()| issue(&self.host));
        if issue(&self.host).or_else(retry).is_err() {
            self.stop();
        }
    }

    fn ask_status(&mut self, hw: &impl Hw, again: bool) {
        self.ask(hw, Step::Status { again }, r1(cmd::SEND_STATUS), self.card.rca);
    }

    /// The next thing that happened; the end of the request, if it is one.
    fn advance(&mut self, hw: &impl Hw, now: u32) -> Option<Result<(), DiskError>> {
        self.seen |= now;
        self.events = self.events.wrapping_add(1);
        self.latest = hw.now();
        match self.step {
            Step::Data { dma } => self.data(hw, now, dma),
            Step::Status { again } => self.status(hw, again),
            Step::Stop => {
                if self.seen & (status::COMMAND_DONE | status::ERRORS) != 0 {
                    self.recover(hw);
                }
                None
            }
        }
    }

    fn data(&mut self, hw: &impl Hw, now: u32, dma: bool) -> Option<Result<(), DiskError>> {
        const DONE: u32 = status::COMMAND_DONE | status::TRANSFER_DONE;
        // A timeout beside a completed transfer means nothing (2.2.17, table 2-22).
        let moot = if self.seen & status::TRANSFER_DONE != 0 { status::DATA_TIMEOUT } else { 0 };
        if self.seen & status::ERRORS & !moot != 0 {
            self.recover(hw);
            return None;
        }
        if now & status::COMMAND_DONE != 0 && refused(self.host.read(reg::RESPONSE)) {
            self.recover(hw);
            return None;
        }
        let ready = now & (status::READ_READY | status::WRITE_READY) != 0;
        if ready && !dma && self.work.moved < self.work.part {
            self.work.move_block(hw, &self.host);
        }
        if self.seen & DONE != DONE {
            return None;
        }
        let whole = dma || self.work.moved == self.work.part;
        if !whole || self.stopped_with_error() {
            self.recover(hw);
            return None;
        }
        if !self.work.is_read() {
            self.ask_status(hw, false);
            return None;
        }
        if let Some(used) = self.dma.as_ref().filter(|_| dma) {
            used.finish(hw, &self.work);
        }
        self.next_part(hw)
    }

    /// Whether the response to the automatic CMD12 behind a write speaks of an error, of which the card's status then no
    /// longer does. (Of a read it does not count: a card that reads ahead may complain of its own end.)
    fn stopped_with_error(&self) -> bool {
        let response = self.host.read(reg::AUTO_RESPONSE);
        let there = !self.work.is_read() && self.work.part > 1 && response != self.stale;
        there && refused(response)
    }

    fn next_part(&mut self, hw: &impl Hw) -> Option<Result<(), DiskError>> {
        (self.retries, self.silences) = (0, 0);
        if !self.work.next_part() {
            return Some(Ok(()));
        }
        self.start_part(hw);
        None
    }

    /// After an error: finds out what the card does.
    #[cold]
    fn recover(&mut self, hw: &impl Hw) {
        match self.host.reset_lines(hw) {
            Ok(()) => self.ask_status(hw, true),
            Err(_) => self.stop(),
        }
    }

    /// Its answer to the question for its status (SD Physical Layer 4.10.1).
    fn status(&mut self, hw: &impl Hw, again: bool) -> Option<Result<(), DiskError>> {
        const TRANSFER: u32 = 4;
        const SENDING: u32 = 5;
        const RECEIVING: u32 = 6;
        const PROGRAMMING: u32 = 7;
        if self.seen & status::ERRORS != 0 {
            self.silences += 1;
            if self.silences >= SILENCES {
                self.stop();
            } else {
                self.recover(hw);
            }
            return None;
        }
        if self.seen & status::COMMAND_DONE == 0 {
            return None;
        }
        self.silences = 0;
        let response = self.host.read(reg::RESPONSE);
        let failed = again || refused(response);
        let ready = response & reg::card::READY != 0;
        match response >> reg::card::STATE_SHIFT & reg::card::STATE {
            TRANSFER if ready && !failed => return self.next_part(hw),
            TRANSFER if ready => return self.try_again(hw),
            TRANSFER | PROGRAMMING if !self.hangs(hw) => {
                self.ask_status(hw, failed);
            }
            SENDING | RECEIVING if !self.hangs(hw) => {
                let command = r1(cmd::STOP) | mode::ABORT;
                self.ask(hw, Step::Stop, command, 0);
            }
            // Another card, one that lost power meanwhile, or one that hangs.
            _ => self.stop(),
        }
        None
    }

    #[cold]
    fn try_again(&mut self, hw: &impl Hw) -> Option<Result<(), DiskError>> {
        self.retries += 1;
        if self.retries > RETRIES {
            return Some(Err(DiskError::Failed));
        }
        self.start_part(hw);
        None
    }

    /// Whether a card that is still busy will be so for ever: it was asked often, and for a long time.
    fn hangs(&mut self, hw: &impl Hw) -> bool {
        self.questions = self.questions.saturating_add(1);
        self.questions > QUESTIONS && self.is_over(hw, self.began, BUSY_PATIENCE)
    }

    fn is_over(&self, hw: &impl Hw, since: u64, seconds: u64) -> bool {
        hw.now().saturating_sub(since) > hw.counter_hz().saturating_mul(seconds)
    }

    /// Gives up on a controller that should have said something long ago.
    fn check_patience(&mut self, hw: &impl Hw) {
        // What it said and nobody has looked at yet is no silence: perhaps this core was held up.
        let quiet = || self.pending | self.host.read(reg::STATUS) & status::ALL == 0;
        if self.active && !self.dead && self.is_over(hw, self.latest, PATIENCE) && quiet() {
            self.stop();
        }
    }
}

impl<R: Registers> fmt::Display for Sdhci<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mhz = if self.host.is_fast() { 50 } else { 25 };
        let way = if self.dma.is_some() { "ADMA2" } else { "no DMA" };
        write!(f, "{} MiB, up to {mhz} MHz, {way}", (self.card.sectors * SECTOR_SIZE) >> 20)
    }
}

/// Whether a card's status speaks of an error.
fn refused(response: u32) -> bool {
    response & reg::card::ERRORS != 0
}
