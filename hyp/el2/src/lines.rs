//! The interrupt lines of the board's devices: one that stays asserted gets breaks (`tessera_core::storm`).
//!
//! Each line interrupts one core, which handles it, switches it off and on.

use tessera_core::addr::{IntId, VmId};
use tessera_core::guest::Guest;
use tessera_core::hw::Hw;
use tessera_core::lock::Mutex;
use tessera_core::monitor::LineFacts;
use tessera_core::storm::{Break, Line};

use crate::hw::El2;
use crate::{care, console, gic, guests};

/// A device that interrupts.
#[derive(Clone, Copy)]
enum Device {
    Disk,
    Uart,
}

impl Device {
    const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Uart => "UART",
        }
    }
}

/// In the order of [`LINES`].
const DEVICES: [Device; 2] = [Device::Disk, Device::Uart];

/// The lines, and which interrupt each is: 0 where there was none yet.
static LINES: Mutex<[(Line, IntId); 2]> = Mutex::new([(Line::new(), IntId(0)); 2]);

/// What there was to do at an interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// Something for the guest of this core, and for nobody else.
    Own,
    /// Something for others too, or for the board.
    Others,
}

/// Handles an interrupt of a device of the board; for whom.
pub fn interrupt(intid: IntId) -> Work {
    let Some((device, work)) = handle(intid) else {
        log::warn!("interrupt {intid}, which nobody waits for, is switched off");
        gic::disable_spi(intid);
        return Work::Nothing;
    };
    note(device, intid, work != Work::Nothing);
    work
}

/// Whose interrupt it was, and what there was to do.
fn handle(intid: IntId) -> Option<(Device, Work)> {
    let disk = guests::disk_interrupt(intid).map(|work| (Device::Disk, work));
    disk.or_else(|| Some((Device::Uart, console::interrupt(intid, typed)?)))
}

/// Moves what was typed to guest `id`.
fn typed(id: VmId) {
    if let Some(vm) = guests::get(id).and_then(Guest::vm) {
        vm.feed_uart(&El2);
    }
}

fn note(device: Device, intid: IntId, useful: bool) {
    if let Some(pause) = handled(device, intid, useful) {
        switch_off(device, intid, pause);
    }
}

/// Whether the line is to have a break. What follows from that takes other locks.
fn handled(device: Device, intid: IntId, useful: bool) -> Option<Break> {
    let [disk, uart] = &mut *LINES.lock();
    let (line, at) = match device {
        Device::Disk => disk,
        Device::Uart => uart,
    };
    *at = intid;
    line.handled(useful, || (El2.now(), El2.counter_hz()))
}

#[cold]
fn switch_off(device: Device, intid: IntId, pause: Break) {
    gic::disable_spi(intid);
    care::look_at(pause.until);
    if pause.first {
        let whose = device.name();
        log::error!(
            "interrupt {intid} of the board's {whose} stays asserted with nothing to do: it is switched off for {} ms, then tried again",
            pause.ms
        );
    }
}

/// Switches lines on whose break is over; when the next one is.
pub fn look() -> Option<u64> {
    let now = El2.now();
    let over = |index: usize| {
        let mut lines = LINES.lock();
        let (line, intid) = lines.get_mut(index)?;
        line.comes_back(now).then_some(*intid)
    };
    for intid in [0, 1].into_iter().filter_map(over) {
        // What came meanwhile is found without an interrupt.
        let _ = handle(intid);
        gic::unmask_spi(intid);
    }
    LINES.lock().iter().filter_map(|(line, _)| line.until()).min()
}

/// Line number `n` of those that have interrupted.
pub fn facts(n: usize) -> Option<LineFacts> {
    let lines = *LINES.lock();
    let known = lines.iter().zip(DEVICES).filter(|((_, intid), _)| intid.0 != 0);
    let ((line, intid), device) = { known }.nth(n)?;
    Some(LineFacts {
        intid: *intid,
        device: device.name(),
        count: line.count(),
        for_nothing: line.for_nothing(),
        off: line.until().is_some(),
    })
}
