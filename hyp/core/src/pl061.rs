//! The emulated PL061 GPIO of a guest that is in groups (Arm DDI 0190, r0p0).
//!
//! Problem: stock kernels have no driver for a group's doorbell, so no program of theirs can sleep until somebody rings. Idea:
//! they do have one for this device, and let programs wait for an edge of a line. Line `n` is an input that is high while the
//! guest's group `n` has something that the guest has not asked for: it rises with each interrupt of the group.
//!
//! A ring must not pay for it where nobody waits so. An edge is handed on, and latched, only while the line's interrupt is enabled
//! ([`crate::group::Share::watch`]); hardware latches it always. Whoever enables it looks at the doorbell before sleeping, as the
//! doorbell's own rule says, and misses nothing.
//!
//! All registers are of 8 bits, at word offsets. A store's upper bits are ignored, loads of other bytes read 0.

use core::sync::atomic::{Ordering::SeqCst, fence};

use tessera_abi::layout;

use crate::addr::IntId;
use crate::hw::Hw;
use crate::vm::Vm;

/// Register offsets (DDI 0190 3.2, table 3-1).
mod reg {
    /// The first and last place of GPIODATA: bits 9:2 of the address say which lines it is about.
    pub const DATA: u64 = 0x000;
    pub const DATA_LAST: u64 = 0x3fc;
    pub const DIR: u64 = 0x400;
    pub const IS: u64 = 0x404;
    pub const IBE: u64 = 0x408;
    pub const IEV: u64 = 0x40c;
    pub const IE: u64 = 0x410;
    pub const RIS: u64 = 0x414;
    pub const MIS: u64 = 0x418;
    pub const IC: u64 = 0x41c;
    pub const AFSEL: u64 = 0x420;
    pub const PERIPH_ID0: u64 = 0xfe0;
    pub const PCELL_ID3: u64 = 0xffc;
}

/// GPIOPeriphID0-3 (part 0x061, designer 0x41, revision 0) and GPIOPCellID0-3 (DDI 0190 3.3.11, 3.3.12).
const IDS: [u8; 8] = [0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// One emulated GPIO. `inputs` are always the levels of its lines now.
#[derive(Clone, Debug, Default)]
pub struct Pl061 {
    /// What was stored to GPIODATA.
    outputs: u8,
    /// GPIODIR: which lines are outputs.
    direction: u8,
    /// GPIOIS: which are sensed by their level.
    level: u8,
    /// GPIOIBE: of the others, which by both edges.
    both: u8,
    /// GPIOIEV: of the rest, which by the rising edge, or the high level.
    event: u8,
    /// GPIOIE.
    enabled: u8,
    /// Edges that came.
    latched: u8,
    /// GPIOAFSEL, which does nothing.
    function: u8,
    /// Which lines were high when that was last looked at.
    seen: u8,
    /// Level of the interrupt line that the caller knows.
    line: bool,
}

impl Pl061 {
    /// A GPIO after reset.
    pub fn new() -> Self {
        Self::default()
    }

    /// The guest loads from `offset`; what is not there reads as 0.
    pub fn read(&self, offset: u64, inputs: u8) -> u32 {
        if !offset.is_multiple_of(4) {
            return 0;
        }
        let value = match offset {
            reg::DATA..=reg::DATA_LAST => self.pins(inputs) & lines(offset),
            reg::DIR => self.direction,
            reg::IS => self.level,
            reg::IBE => self.both,
            reg::IEV => self.event,
            reg::IE => self.enabled,
            reg::RIS => self.raised(inputs),
            reg::MIS => self.raised(inputs) & self.enabled,
            reg::AFSEL => self.function,
            reg::PERIPH_ID0..=reg::PCELL_ID3 => {
                let index = (offset - reg::PERIPH_ID0) / 4;
                IDS.get(index as usize).copied().unwrap_or(0)
            }
            _ => 0,
        };
        value.into()
    }

    /// The guest stores `value` at `offset`. Returns the new level of the interrupt line, where it changed.
    pub fn write(&mut self, offset: u64, value: u8, inputs: u8) -> Option<bool> {
        match offset {
            _ if !offset.is_multiple_of(4) => {}
            reg::DATA..=reg::DATA_LAST => {
                self.outputs = self.outputs & !lines(offset) | value & lines(offset);
            }
            reg::DIR => self.direction = value,
            reg::IS => self.level = value,
            reg::IBE => self.both = value,
            reg::IEV => self.event = value,
            reg::IE => {
                // Of what was not enabled no edge was seen. An edge of what was may be about to be told.
                let fresh = value & !self.enabled;
                self.seen = self.seen & !fresh | inputs & fresh;
                self.enabled = value;
            }
            reg::IC => self.latched &= !value,
            reg::AFSEL => self.function = value,
            _ => {}
        }
        self.update(inputs)
    }

    /// Line `n` rises or falls. A rise may follow another: it fell in between. Returns the new level of the interrupt line, where
    /// it changed.
    pub fn edge(&mut self, n: u8, rises: bool, inputs: u8) -> Option<bool> {
        let line = 1u8.checked_shl(n.into()).unwrap_or(0);
        let is_edge = rises || self.seen & line != 0;
        let wanted = self.both | if rises { self.event } else { !self.event };
        if is_edge {
            self.latched |= line & wanted & !self.direction & !self.level;
        }
        self.seen = if rises { self.seen | line } else { self.seen & !line };
        self.update(inputs)
    }

    fn pins(&self, inputs: u8) -> u8 {
        self.outputs & self.direction | inputs & !self.direction
    }

    /// GPIORIS: a level as long as it is there, an edge until it is cleared (DDI 0190 3.3.7).
    fn raised(&self, inputs: u8) -> u8 {
        let there = !(self.pins(inputs) ^ self.event);
        there & self.level | self.latched & !self.level
    }

    fn update(&mut self, inputs: u8) -> Option<bool> {
        let high = self.raised(inputs) & self.enabled != 0;
        let changed = (high != self.line).then_some(high);
        self.line = high;
        changed
    }
}

/// The lines that an access to GPIODATA is about (DDI 0190 3.3.1).
const fn lines(offset: u64) -> u8 {
    (offset >> 2) as u8
}

impl Vm {
    /// Which of its groups have something for the guest: the levels of its GPIO's lines.
    fn group_levels(&self) -> u8 {
        let pending = (0..8u8).zip(&self.groups).filter(|(_, share)| share.is_pending());
        pending.fold(0, |levels, (n, _)| levels | 1 << n)
    }

    /// What a load from the GPIO reads; `None` where the guest has none.
    pub(crate) fn gpio_read(&self, offset: u64) -> Option<u32> {
        Some(self.gpio.as_ref()?.lock().read(offset, self.group_levels()))
    }

    /// A store to the GPIO; `None` where the guest has none.
    pub(crate) fn gpio_write(&self, hw: &impl Hw, offset: u64, value: u8) -> Option<()> {
        let mut gpio = self.gpio.as_ref()?.lock();
        if offset == reg::IE {
            for (n, share) in (0..8u8).zip(&self.groups) {
                share.watch(value >> n & 1 != 0);
            }
            // Pairs with that of `Vgic::ring`: who rings finds the line watched, or is found in the levels.
            fence(SeqCst);
        }
        let line = gpio.write(offset, value, self.group_levels());
        self.gpio_line(hw, line);
        Some(())
    }

    /// The line of the group in `slot` rises or falls, while the guest has its interrupt enabled.
    #[cold]
    #[inline(never)]
    pub(crate) fn gpio_edge(&self, hw: &impl Hw, slot: u8, rises: bool) {
        let Some(gpio) = &self.gpio else { return };
        let mut gpio = gpio.lock();
        let line = gpio.edge(slot, rises, self.group_levels());
        self.gpio_line(hw, line);
    }

    /// Called under the GPIO's lock, so that two changes arrive in their order.
    fn gpio_line(&self, hw: &impl Hw, line: Option<bool>) {
        if let Some(high) = line {
            let intid = IntId(layout::GPIO_INTID);
            self.kick_others(hw, self.vgic.set_spi_level(intid, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::hint;
    use core::sync::atomic::AtomicU64;

    use tessera_abi::group::doorbell;

    use super::*;
    use crate::addr::Pa;
    use crate::group::{Group, Member, Rung, Share};
    use crate::hw::fake::FakeHw;
    use crate::machine;
    use crate::stage2::Access;

    /// As Linux sets line `n` up for rising edges.
    fn rising(n: u8) -> Pl061 {
        let mut gpio = Pl061::new();
        assert_eq!(gpio.write(reg::IEV, 1 << n, 0), None);
        assert_eq!(gpio.write(reg::IE, 1 << n, 0), None);
        gpio
    }

    #[test]
    fn a_driver_finds_the_part_that_it_looks_for() {
        let id =
            |at| (0..4u64).fold(0u32, |id, n| id | Pl061::new().read(at + 4 * n, 0) << (8 * n));
        assert_eq!((id(0xfe0), id(0xff0)), (0x0004_1061, 0xb105_f00d));
    }

    #[test]
    fn a_line_that_rises_interrupts_until_that_is_cleared_and_each_rise_does() {
        let mut gpio = rising(3);
        assert_eq!(gpio.edge(3, true, 8), Some(true));
        assert_eq!(gpio.edge(3, true, 8), None, "it is up");
        assert_eq!((gpio.read(reg::RIS, 8), gpio.read(reg::MIS, 8)), (8, 8));
        assert_eq!(gpio.write(reg::IC, 8, 8), Some(false));
        assert_eq!(gpio.edge(3, true, 8), Some(true), "it fell in between, unseen");
        assert_eq!(gpio.write(reg::IC, 8, 8), Some(false));
        assert_eq!(gpio.edge(3, false, 0), None);
        assert_eq!(gpio.edge(2, true, 4), None, "another's is not enabled");
        assert_eq!((gpio.read(reg::MIS, 4), gpio.read(0x3fc, 4)), (0, 4));
    }

    #[test]
    fn both_edges_a_falling_one_and_levels_interrupt_as_they_are_told_to() {
        let mut gpio = Pl061::new();
        gpio.write(reg::IE, 3, 0);
        gpio.write(reg::IBE, 2, 0);
        assert_eq!(gpio.edge(0, true, 1), None, "only its fall counts");
        assert_eq!(gpio.edge(0, false, 0), Some(true));
        assert_eq!(gpio.write(reg::IC, 1, 0), Some(false));
        assert_eq!(gpio.edge(0, false, 0), None, "it had fallen");
        for rises in [true, false] {
            assert_eq!(gpio.edge(1, rises, u8::from(rises) << 1), Some(true));
            assert_eq!(gpio.write(reg::IC, 2, 0), Some(false));
        }
        gpio.write(reg::IEV, 4, 0);
        gpio.write(reg::IE, 4, 0);
        assert_eq!(gpio.write(reg::IS, 4, 0), None);
        assert_eq!(gpio.edge(2, true, 4), Some(true));
        assert_eq!(gpio.write(reg::IC, 4, 4), None, "a level is not cleared");
        assert_eq!(gpio.edge(2, false, 0), Some(false));
    }

    #[test]
    fn what_is_an_output_is_what_was_stored_and_no_input_reaches_it() {
        let mut gpio = rising(0);
        gpio.write(reg::DIR, 0xf0, 0);
        gpio.write(reg::DATA + (0x30 << 2), 0xff, 0);
        assert_eq!(gpio.read(0x3fc, 0xff), 0x3f);
        assert_eq!(gpio.read(reg::DATA + (0x11 << 2), 0xff), 0x11, "those of the address");
        gpio.write(reg::DIR, 0xf1, 1);
        assert_eq!(gpio.edge(0, true, 1), None);
    }

    #[test]
    fn an_edge_is_seen_while_other_lines_are_switched_or_its_own_is_sensed_by_level() {
        let mut gpio = Pl061::new();
        gpio.write(reg::IBE, 0x28, 0);
        gpio.write(reg::IE, 8, 0);
        assert_eq!(gpio.edge(3, true, 8), Some(true));
        assert_eq!(gpio.write(reg::IC, 8, 8), Some(false));
        // It is low already when line 5 is enabled, which had been high.
        assert_eq!(gpio.write(reg::IE, 0x28, 0x20), None);
        assert_eq!(gpio.edge(3, false, 0x20), Some(true), "line 3 fell");
        assert_eq!(gpio.write(reg::IC, 8, 0x20), Some(false));
        assert_eq!(gpio.edge(5, false, 0), Some(true), "line 5 did");
        assert_eq!(gpio.write(reg::IC, 0x20, 0), Some(false));
        // Line 3 falls while it is sensed by its level: there is no edge afterwards.
        gpio.edge(3, true, 8);
        gpio.write(reg::IC, 8, 8);
        gpio.write(reg::IS, 8, 8);
        gpio.edge(3, false, 0);
        gpio.write(reg::IS, 0, 0);
        assert_eq!(gpio.edge(3, false, 0), None, "it had fallen");
    }

    /// One core enables a line by its level, at the same moment as another makes it high.
    #[test]
    fn a_level_that_is_there_when_its_interrupt_is_enabled_interrupts() {
        const ROUNDS: u64 = 60_000;
        let hw = || FakeHw::new(Pa(0x8000_0000), 1 << 18);
        let member = |()| Member::new(0, Access::ReadWrite, Arc::default());
        let members = [(); 2].map(member).into();
        let group = Group::new(&hw(), "ring".into(), Vec::new(), Pa(0x8000_3000), members);
        let group = Arc::new(group);
        let [ringer, rung] = [0, 1].map(|index| Share { group: group.clone(), index });
        let mut vm = machine::tests::vm();
        vm.groups.push(rung.clone());
        let vm = Arc::new(vm);
        rung.begin(&vm);
        let is_up = || vm.vgic.states(None).pending >> (layout::GPIO_INTID - 32) & 1 != 0;
        let mut lost = 0;
        // Rounds that began, and that the ringer is done with.
        let (begun, rang) = (AtomicU64::new(0), AtomicU64::new(0));
        let wait = |count: &AtomicU64, round: u64| {
            while count.load(SeqCst) != round {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let hw = hw();
                for round in 1..=ROUNDS {
                    wait(&begun, round);
                    // No ring is too soon.
                    hw.clock.set(round * hw.counter_hz());
                    assert_eq!(ringer.ring(&hw, 1), Rung::Done);
                    rang.store(round, SeqCst);
                }
            });
            let hw = hw();
            vm.gpio_write(&hw, reg::IS, 1).unwrap();
            vm.gpio_write(&hw, reg::IEV, 1).unwrap();
            for round in 1..=ROUNDS {
                begun.store(round, SeqCst);
                (0..round % 64).for_each(|_| hint::spin_loop());
                vm.gpio_write(&hw, reg::IE, 1).unwrap();
                wait(&rang, round);
                let up = is_up();
                vm.gpio_write(&hw, reg::IE, 0).unwrap();
                lost += u64::from(!up || is_up());
                assert_eq!(rung.read(doorbell::PENDING, 4), Some(1));
            }
        });
        assert_eq!(lost, 0, "of {ROUNDS} rounds");
    }

    #[test]
    fn a_store_beside_a_register_does_nothing_and_a_line_that_is_not_there_never_rises() {
        let mut gpio = Pl061::new();
        for offset in (0..0x1000).filter(|offset| offset % 4 != 0) {
            assert_eq!(gpio.write(offset, 0xff, 0), None);
            assert_eq!(gpio.read(offset, 0xff), 0);
        }
        assert_eq!((gpio.read(reg::IE, 0), gpio.read(0x3fc, 0)), (0, 0));
        gpio.write(reg::IBE, 0xff, 0);
        gpio.write(reg::IE, 0xff, 0);
        assert_eq!(gpio.edge(8, true, 0xff), None);
        assert_eq!(gpio.edge(200, true, 0xff), None);
    }
}
