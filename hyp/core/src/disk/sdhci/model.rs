//! For tests: a controller with a card in it, as the specifications say they behave; QEMU's has no DMA, and no faults.
//!
//! It is as strict as it can be: a sequence that a real card may refuse is a failed test, and memory is reached by DMA
//! only where the bus has it, through what the caches gave up.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use super::reg::{self, adma, card, clock, cmd, control, mode, present, status};
use crate::addr::Pa;
use crate::board::DmaWindow;
use crate::disk::Registers;
use crate::disk::model::Random;
use crate::hw::Hw;
use crate::hw::fake::{Event, FakeHw};

/// What kind of controller and card it is.
#[derive(Clone, Copy)]
pub(super) struct Make {
    pub capabilities: u32,
    pub version: u32,
    /// CSD, without its checksum.
    pub csd: u128,
    /// Version 2 or later: knows CMD8, and tells of its capacity in ACMD41.
    pub v2: bool,
    /// The upper half of the SCR.
    pub scr: u32,
    pub high_speed: bool,
    /// How often it answers ACMD41 that it is not ready.
    pub wakes_after: u32,
    /// How often it says that it is busy after a write.
    pub busy: u32,
    /// What DMA reaches; nothing where there is no bus.
    pub window: Option<DmaWindow>,
}

/// The EMMC2 of a Raspberry Pi 4 with a card of 32 GB, which here has as many sectors as there is data.
pub(super) const PI: Make = Make {
    capabilities: 0x45ee_6432,
    version: 2,
    csd: 1 << 126 | 0xecff << 48,
    v2: true,
    scr: 0x0235_8083,
    high_speed: true,
    wakes_after: 3,
    busy: 1,
    window: Some(DmaWindow { cpu: Pa(MEMORY), bus: 0xc000_0000, len: 2 << 20 }),
};
/// QEMU's.
pub(super) const QEMU: Make = Make { capabilities: 0x0521_34b4, window: None, busy: 0, ..PI };
/// A card of 1 GB from long ago: blocks of 1024 bytes, version 1.01, no CMD6.
pub(super) const OLD: Make = Make {
    version: 0,
    csd: 3983 << 62 | 7 << 47 | 10 << 80,
    v2: false,
    scr: 0x0005_0000,
    high_speed: false,
    ..QEMU
};

/// Where the fake machine's memory begins.
pub(super) const MEMORY: u64 = 0x8000_0000;
pub(super) const SECTORS: u64 = 2048;

/// Something that goes wrong, with the next commands that move data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// These bits of STATUS, before any data.
    Error(u32),
    /// The same in the middle: after so many blocks.
    After(u32, u32),
    /// The card's answer has these bits.
    Refuse(u32),
    /// The card's answer to the automatic CMD12 has these bits.
    RefuseStop(u32),
    /// Its status after a write has these bits.
    RefuseStatus(u32),
    /// The card is taken out after so many blocks.
    Remove(u32),
    /// Nothing at all happens.
    Hang,
}

pub(super) struct State {
    pub data: Vec<u8>,
    /// What goes wrong with the next commands for data, the last first; with every command where `always`.
    pub troubles: Vec<Trouble>,
    pub always: bool,
    pub present: bool,
    /// Commands given: index and argument.
    pub log: Vec<(u32, u32)>,
    /// Of data commands: by DMA or not.
    pub dma: Vec<bool>,
    pub interrupts: u32,
    /// Registers read as random numbers.
    pub noise: Option<Random>,
    registers: [u32; 64],
    status: u32,
    app: bool,
    wakes_after: u32,
    state: u32,
    busy: u32,
    errors: u32,
    khz: u32,
    buffer: Vec<u8>,
    taken: usize,
    transfer: Option<Transfer>,
}

#[derive(Clone, Copy)]
struct Transfer {
    at: usize,
    left: u32,
    done: u32,
    read: bool,
    auto: bool,
    stop_at: Option<(u32, u32)>,
    remove_at: Option<u32>,
    stop_bits: u32,
    status_bits: u32,
    /// A register of the card and not sectors.
    register: bool,
}

/// The controller.
pub(super) struct Model {
    hw: &'static FakeHw,
    pub make: Make,
    pub state: RefCell<State>,
}

const READY: u32 = 1;
const IDENT: u32 = 2;
const STANDBY: u32 = 3;
const TRANSFER: u32 = 4;
const DATA: u32 = 5;
const RECEIVE: u32 = 6;
const PROGRAM: u32 = 7;
const RCA: u32 = 0xb368_0000;

impl Model {
    pub(super) fn new(hw: &'static FakeHw, make: Make) -> &'static Self {
        // Different sectors, as far as that matters.
        let data: Vec<u8> = (0..256 * 512u32).map(|i| (i / 512 * 7 + i) as u8).collect();
        let data = data.repeat(SECTORS as usize / 256);
        let state = State {
            data,
            troubles: Vec::new(),
            always: false,
            present: true,
            log: Vec::new(),
            dma: Vec::new(),
            interrupts: 0,
            noise: None,
            registers: [0; 64],
            status: 0,
            app: false,
            wakes_after: make.wakes_after,
            state: 0,
            busy: 0,
            errors: 0,
            khz: 0,
            buffer: Vec::new(),
            taken: 0,
            transfer: None,
        };
        Box::leak(Box::new(Self { hw, make, state: RefCell::new(state) }))
    }

    pub(super) fn line(&self) -> bool {
        let state = self.state.borrow();
        state.status & state.registers[(reg::SIGNAL_ENABLE / 4) as usize] != 0
    }

    pub(super) fn khz(&self) -> u32 {
        self.state.borrow().khz
    }

    pub(super) fn control(&self) -> u32 {
        self.state.borrow().registers[(reg::HOST_CONTROL / 4) as usize]
    }

    fn raise(&self, state: &mut State, bits: u32) {
        state.status |= bits & state.registers[(reg::STATUS_ENABLE / 4) as usize];
        if state.status & state.registers[(reg::SIGNAL_ENABLE / 4) as usize] != 0 {
            state.interrupts += 1;
        }
    }

    fn set_clock(&self, state: &mut State, value: u32) {
        let mut value = value;
        if value & clock::RESET_ALL != 0 {
            state.registers = [0; 64];
            (state.status, state.transfer) = (0, None);
            value = 0;
        }
        if value & clock::RESET_DATA != 0 {
            state.transfer = None;
            state.buffer.clear();
        }
        value &= !(clock::RESET_ALL | clock::RESET_COMMAND | clock::RESET_DATA);
        if value & clock::INTERNAL_ENABLE != 0 {
            value |= clock::STABLE;
        }
        let low = value >> clock::DIVISOR_LOW_SHIFT & 0xff;
        let high = value >> clock::DIVISOR_HIGH_SHIFT & 3;
        let divisor = if self.make.version >= 2 { high << 8 | low } else { low };
        assert!(self.make.version >= 2 || divisor == 0 || divisor.is_power_of_two());
        let base = self.make.capabilities >> 8 & if self.make.version >= 2 { 0xff } else { 0x3f };
        state.khz = match value & clock::CARD_ENABLE {
            0 => 0,
            _ => base * 1000 / (2 * divisor).max(1),
        };
        state.registers[(reg::CLOCK / 4) as usize] = value;
    }

    fn answer(&self, state: &mut State, bits: u32) {
        let errors = core::mem::take(&mut state.errors);
        let ready = if state.state == PROGRAM { 0 } else { card::READY };
        state.registers[(reg::RESPONSE / 4) as usize] =
            bits | errors | state.state << card::STATE_SHIFT | ready;
        self.raise(state, status::COMMAND_DONE);
    }

    fn long(&self, state: &mut State, value: u128) {
        for word in 0..4 {
            let shift = 8 + 32 * word;
            state.registers[reg::RESPONSE as usize / 4 + word] = (value >> shift) as u32;
        }
        self.raise(state, status::COMMAND_DONE);
    }

    fn command(&self, state: &mut State, word: u32) {
        let index = word >> mode::INDEX_SHIFT;
        let argument = state.registers[(reg::ARGUMENT / 4) as usize];
        assert!(state.registers[(reg::HOST_CONTROL / 4) as usize] & control::POWER_3V3 != 0);
        assert!(state.khz != 0, "a command without a clock");
        let identified = state.state >= STANDBY && index != cmd::GO_IDLE;
        assert!(identified || state.khz <= 400, "{} kHz for CMD{index}", state.khz);
        let app = core::mem::take(&mut state.app);
        state.log.push((index, argument));
        if !state.present && index != cmd::GO_IDLE {
            return self.raise(state, status::COMMAND_TIMEOUT);
        }
        let addressed = argument == RCA;
        match (index, app) {
            (cmd::GO_IDLE, _) => {
                (state.state, state.wakes_after) = (0, self.make.wakes_after);
                self.raise(state, status::COMMAND_DONE);
            }
            (cmd::SEND_IF_COND, _) if self.make.v2 => {
                state.registers[(reg::RESPONSE / 4) as usize] = argument & 0xfff;
                self.raise(state, status::COMMAND_DONE);
            }
            (cmd::APP, _) if state.state < STANDBY || addressed => {
                state.app = true;
                self.answer(state, 1 << 5);
            }
            (cmd::SEND_OP_COND, true) => self.op_cond(state, argument),
            (cmd::ALL_SEND_CID, _) if state.state == READY => {
                state.state = IDENT;
                self.long(state, 0x0353_4453_4c33_3247_80ff_ffff_ff01_4d00);
            }
            (cmd::SEND_RELATIVE_ADDRESS, _) if state.state == IDENT => {
                state.state = STANDBY;
                state.registers[(reg::RESPONSE / 4) as usize] = RCA | 0x500;
                self.raise(state, status::COMMAND_DONE);
            }
            (cmd::SEND_CSD, _) if state.state == STANDBY && addressed => {
                self.long(state, self.make.csd);
            }
            (cmd::SELECT, _) if addressed && state.state == STANDBY => {
                self.answer(state, 0);
                state.state = TRANSFER;
                self.raise(state, status::TRANSFER_DONE);
            }
            (cmd::SEND_STATUS, _) if addressed => self.send_status(state),
            (cmd::SET_BLOCK_LENGTH, _) if state.state == TRANSFER => {
                assert_eq!(argument, 512);
                self.answer(state, 0);
            }
            (cmd::SET_BUS_WIDTH, true) if state.state == TRANSFER => {
                assert_eq!(argument, 2);
                self.answer(state, 0);
            }
            (cmd::SEND_SCR, true) => {
                let mut scr = self.make.scr.to_be_bytes().to_vec();
                scr.extend([0; 4]);
                self.register(state, word, scr);
            }
            (cmd::SWITCH_FUNCTION, false) if self.make.scr >> 24 != 0 => {
                assert_eq!(argument, 0x80ff_fff1);
                let mut functions = vec![0; 64];
                functions[16] = if self.make.high_speed { 1 } else { 0xf };
                self.register(state, word, functions);
            }
            (cmd::STOP, _) if matches!(state.state, DATA | RECEIVE) => {
                assert_eq!(word & mode::ABORT, mode::ABORT);
                state.state = if state.state == DATA { TRANSFER } else { PROGRAM };
                self.answer(state, 0);
            }
            (cmd::READ_ONE | cmd::READ_MANY, false) if state.state == TRANSFER => {
                self.begin(state, word, argument);
            }
            (cmd::WRITE_ONE | cmd::WRITE_MANY, false) if state.state == TRANSFER => {
                self.begin(state, word, argument);
            }
            _ => {
                // A command that is not for now is left without an answer, and told of in the next one.
                state.errors |= 1 << 22;
                self.raise(state, status::COMMAND_TIMEOUT);
            }
        }
    }

    fn op_cond(&self, state: &mut State, argument: u32) {
        assert_eq!(argument & 0x00ff_8000, 0x0030_0000);
        assert_eq!(argument >> 30 & 1 == 1, self.make.v2);
        let mut ocr = 0x00ff_8000;
        if state.wakes_after == 0 {
            state.state = READY;
            ocr |= 1 << 31;
            // SDHC and SDXC: CSD of version 2 (4.2.3.1).
            ocr |= ((self.make.csd >> 126) as u32 & 1) << 30;
        }
        state.wakes_after = state.wakes_after.saturating_sub(1);
        state.registers[(reg::RESPONSE / 4) as usize] = ocr;
        self.raise(state, status::COMMAND_DONE);
    }

    fn send_status(&self, state: &mut State) {
        if state.state == PROGRAM {
            if state.busy == 0 {
                state.state = TRANSFER;
            }
            state.busy = state.busy.saturating_sub(1);
        }
        self.answer(state, 0);
    }

    /// A register of the card as data.
    fn register(&self, state: &mut State, word: u32, bytes: Vec<u8>) {
        assert_eq!(state.state, TRANSFER);
        assert_eq!(word & (mode::DATA | mode::READ | mode::DMA), mode::DATA | mode::READ);
        let blocks = state.registers[(reg::BLOCKS / 4) as usize];
        assert_eq!(blocks, 1 << 16 | bytes.len() as u32);
        (state.buffer, state.taken) = (bytes, 0);
        state.transfer = Some(Transfer {
            at: 0,
            left: 1,
            done: 0,
            read: true,
            auto: false,
            stop_at: None,
            remove_at: None,
            stop_bits: 0,
            status_bits: 0,
            register: true,
        });
        self.answer(state, 0);
        self.raise(state, status::READ_READY);
    }

    fn begin(&self, state: &mut State, word: u32, argument: u32) {
        let index = word >> mode::INDEX_SHIFT;
        let many = matches!(index, cmd::READ_MANY | cmd::WRITE_MANY);
        let read = matches!(index, cmd::READ_ONE | cmd::READ_MANY);
        let blocks = state.registers[(reg::BLOCKS / 4) as usize];
        let count = blocks >> 16;
        assert_eq!(blocks & 0xffff, 512);
        assert_eq!(many, count > 1);
        assert_eq!(word & mode::READ != 0, read);
        let multiple = mode::MULTIPLE | mode::COUNT | mode::AUTO_CMD12;
        assert_eq!(word & multiple, if many { multiple } else { 0 });
        let by_sector = self.make.csd >> 126 == 1;
        let at = argument as usize * if by_sector { 512 } else { 1 };
        assert!(at.is_multiple_of(512) && at + count as usize * 512 <= state.data.len());
        let trouble = match state.always {
            true => state.troubles.last().copied(),
            false => state.troubles.pop(),
        };
        let mut transfer = Transfer {
            at,
            left: count,
            done: 0,
            read,
            auto: many,
            stop_at: None,
            remove_at: None,
            stop_bits: 0,
            status_bits: 0,
            register: false,
        };
        let mut bits = 0;
        match trouble {
            Some(Trouble::Error(bits)) => return self.raise(state, bits),
            Some(Trouble::Hang) => return,
            Some(Trouble::After(blocks, bits)) => transfer.stop_at = Some((blocks, bits)),
            Some(Trouble::Remove(blocks)) => transfer.remove_at = Some(blocks),
            Some(Trouble::Refuse(errors)) => bits = errors,
            Some(Trouble::RefuseStop(errors)) => transfer.stop_bits = errors,
            Some(Trouble::RefuseStatus(errors)) => transfer.status_bits = errors,
            None => {}
        }
        self.answer(state, bits);
        if bits != 0 {
            return;
        }
        state.state = if read { DATA } else { RECEIVE };
        state.transfer = Some(transfer);
        let dma = word & mode::DMA != 0;
        state.dma.push(dma);
        if dma {
            self.by_dma(state);
        } else if read {
            self.next_block(state);
        } else {
            (state.buffer, state.taken) = (Vec::new(), 0);
            self.raise(state, status::WRITE_READY);
        }
    }

    /// Whether something goes wrong before the next block.
    fn trouble(&self, state: &mut State) -> bool {
        let Some(transfer) = state.transfer else { return true };
        if transfer.remove_at == Some(transfer.done) {
            (state.present, state.transfer) = (false, None);
            self.raise(state, status::DATA_TIMEOUT);
            return true;
        }
        if let Some((_, bits)) = transfer.stop_at.filter(|(blocks, _)| *blocks == transfer.done) {
            state.transfer = None;
            self.raise(state, bits);
            return true;
        }
        false
    }

    /// The next block of a read into the buffer.
    fn next_block(&self, state: &mut State) {
        if self.trouble(state) {
            return;
        }
        let Some(transfer) = state.transfer else { return };
        state.buffer = state.data[transfer.at..transfer.at + 512].to_vec();
        state.taken = 0;
        self.raise(state, status::READ_READY);
    }

    /// A block is through; the end where it was the last.
    fn block_done(&self, state: &mut State) -> bool {
        let Some(transfer) = &mut state.transfer else { return true };
        transfer.at += 512;
        transfer.left -= 1;
        transfer.done += 1;
        if transfer.left != 0 {
            return false;
        }
        let Transfer { read, auto, stop_bits, status_bits, register, .. } = *transfer;
        state.transfer = None;
        if !register {
            state.state = if read { TRANSFER } else { PROGRAM };
            state.busy = self.make.busy;
            state.errors |= status_bits;
        }
        if auto {
            // A read to the very end: the card went on and found no more (4.3.3).
            let end = if read { card::OUT_OF_RANGE } else { 0 };
            state.registers[(reg::AUTO_RESPONSE / 4) as usize] =
                DATA << card::STATE_SHIFT | card::READY | stop_bits | end;
        }
        self.raise(state, status::TRANSFER_DONE);
        true
    }

    fn take_word(&self, state: &mut State) -> u32 {
        let chunk = state.buffer.get(state.taken..state.taken + 4).expect("no data to read");
        let word = u32::from_le_bytes(chunk.try_into().unwrap());
        state.taken += 4;
        if state.taken == state.buffer.len() && !self.block_done(state) {
            self.next_block(state);
        }
        word
    }

    fn put_word(&self, state: &mut State, word: u32) {
        let transfer = state.transfer.expect("no room for data");
        state.buffer.extend(word.to_le_bytes());
        if state.buffer.len() < 512 || self.trouble(state) {
            return;
        }
        let block = core::mem::take(&mut state.buffer);
        state.data[transfer.at..transfer.at + 512].copy_from_slice(&block);
        if !self.block_done(state) {
            self.raise(state, status::WRITE_READY);
        }
    }

    fn on_bus(&self, bus: u64, len: u64) -> Pa {
        let window = self.make.window.expect("DMA where there is none");
        let inside = bus.checked_sub(window.bus).expect("DMA below the window");
        assert!(inside + len <= window.len, "DMA above the window");
        window.cpu.offset(inside)
    }

    /// Whether the caches gave this up since the journal was emptied.
    fn check_synced(&self, at: Pa, len: u64) {
        let synced = |event: &Event| {
            matches!(*event, Event::DmaSync(from, bytes)
                if from <= at && at.0 + len <= from.0 + bytes)
        };
        let journal = self.hw.journal.borrow();
        assert!(journal.iter().any(synced), "{at}+{len:#x} may still be in a cache");
    }

    fn by_dma(&self, state: &mut State) {
        let control = state.registers[(reg::HOST_CONTROL / 4) as usize];
        assert_eq!(control & 3 << 3, control::ADMA2_32);
        let mut table = u64::from(state.registers[(reg::ADMA_ADDRESS / 4) as usize]);
        let mut pieces = Vec::new();
        loop {
            let at = self.on_bus(table, 8);
            self.check_synced(at, 8);
            let mut descriptor = [0; adma::SIZE];
            self.hw.read(at, &mut descriptor);
            let descriptor = u64::from_le_bytes(descriptor);
            assert_eq!(descriptor & 0b11_1101, adma::VALID | adma::TRANSFER, "{descriptor:#x}");
            let (bus, len) = (descriptor >> 32, descriptor >> 16 & 0xffff);
            assert!(len != 0 && bus.is_multiple_of(4) && len.is_multiple_of(4));
            let at = self.on_bus(bus, len);
            self.check_synced(at, len);
            pieces.extend((at.0..at.0 + len).step_by(4));
            if descriptor & adma::END != 0 {
                break;
            }
            table += 8;
        }
        let transfer = state.transfer.unwrap();
        assert_eq!(pieces.len() as u32, transfer.left * 128);
        for block in pieces.chunks(128) {
            if self.trouble(state) {
                return;
            }
            let Some(Transfer { at, read, .. }) = state.transfer else { return };
            for (word, &pa) in state.data[at..at + 512].chunks_mut(4).zip(block) {
                if read {
                    self.hw.write(Pa(pa), word);
                } else {
                    self.hw.read(Pa(pa), word);
                }
            }
            self.block_done(state);
        }
    }
}

impl Registers for &'static Model {
    fn read32(&self, offset: u64) -> u32 {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        // Time passes for those who wait: a microsecond, or more where nothing is going on.
        let idle = offset == reg::PRESENT || offset == reg::STATUS && state.status == 0;
        self.hw.clock.set(self.hw.clock.get() + if idle { 6200 } else { 62 });
        if let Some(random) = &mut state.noise {
            self.hw.clock.set(self.hw.clock.get() + 40_000_000);
            return [random.next() as u32, 0, u32::MAX, 0x0003_0001][random.below(4) as usize];
        }
        match offset {
            reg::CAPABILITIES => self.make.capabilities,
            reg::VERSION => self.make.version << 16,
            reg::STATUS => state.status,
            reg::DATA => self.take_word(state),
            reg::PRESENT => match state.transfer {
                Some(_) => present::DATA_INHIBIT,
                None => 0,
            },
            _ => state.registers[(offset / 4) as usize],
        }
    }

    fn write32(&self, offset: u64, value: u32) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        match offset {
            _ if state.noise.is_some() => {}
            reg::STATUS => state.status &= !value,
            reg::CLOCK => self.set_clock(state, value),
            reg::DATA => self.put_word(state, value),
            _ => {
                state.registers[(offset / 4) as usize] = value;
                if offset == reg::COMMAND {
                    self.command(state, value);
                }
            }
        }
    }
}
