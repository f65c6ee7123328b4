//! EL2's own address space: the boot code's tables, and what is added to them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use tessera_core::addr::{PAGE_SIZE, Pa};
use tessera_core::board::{Board, Gic, Range};
use tessera_core::frames::Frames;
use tessera_core::lock::Mutex;
use tessera_core::paging::MapError;
use tessera_core::paging::el2::{El2Map, Section};

use super::stop;
use crate::barrier;
use crate::hw::{self, El2, FRAMES};
use crate::memory::{self, DIRECT_VA, symbol};
use crate::sysreg::mrs;

/// Tables that the boot code made (`head.S`).
const BOOT_TABLES: u32 = 8;

static MAP: Mutex<Option<El2Map>> = Mutex::new(None);

/// Bytes of the board's RAM.
static RAM: AtomicU64 = AtomicU64::new(0);
/// Bytes of the bundle.
static BUNDLE: AtomicU64 = AtomicU64::new(0);

/// Bytes of the board's RAM, and of the bundle in it.
pub fn ram_and_bundle() -> (u64, u64) {
    (RAM.load(Ordering::Relaxed), BUNDLE.load(Ordering::Relaxed))
}

/// Tables of EL2's map, without those of the image.
pub fn table_frames() -> u64 {
    let all = MAP.lock().as_ref().map_or(0, |map| u64::from(map.table_frames()));
    all.saturating_sub(u64::from(BOOT_TABLES) + hw::early_taken())
}

/// ID_AA64MMFR0_EL1.PARange.
pub fn pa_range() -> u8 {
    (mrs!("id_aa64mmfr0_el1") & 0xf) as u8
}

/// Takes the boot code's tables over.
pub fn adopt() {
    let root = memory::image_pa(symbol!(__boot_tables_start));
    *MAP.lock() = Some(El2Map::adopt(root, BOOT_TABLES, pa_range()));
}

/// Changes the map.
fn change(how: impl FnOnce(&mut El2Map)) {
    if let Some(map) = MAP.lock().as_mut() {
        how(map);
    }
    // A walk for what comes next may have begun before the tables were written, and found nothing: no barrier but this
    // one forgets that (DDI 0487 B2.3.12: DSB orders explicit accesses, and a walk is none).
    barrier::isb();
}

fn map(va: u64, pa: Pa, len: u64, section: Section) {
    change(|map| {
        if let Err(error) = map.map(&El2, va, pa, len, section) {
            stop(format_args!("EL2's own map: {error} ({len:#x} bytes at {pa})"));
        }
    });
}

/// Maps a device's registers in the direct map, whole pages. Devices may share pages: what is mapped stays.
pub fn device(registers: Range) {
    let start = registers.start.align_down(PAGE_SIZE);
    let end = Pa(registers.end().0.next_multiple_of(PAGE_SIZE));
    change(|map| add_device(map, start, end));
}

fn add_device(map: &mut El2Map, start: Pa, end: Pa) {
    let mut add = |at: Pa, len| map.map(&El2, memory::direct(at), at, len, Section::Device);
    match add(start, end.0 - start.0) {
        Ok(()) => return,
        Err(MapError::AlreadyMapped(_)) => {}
        Err(error) => stop(format_args!("EL2's map of a device at {start}: {error}")),
    }
    let mut at = start;
    while at < end {
        match add(at, PAGE_SIZE) {
            Ok(()) | Err(MapError::AlreadyMapped(_)) => at = at.offset(PAGE_SIZE),
            Err(error) => stop(format_args!("EL2's map of a device at {at}: {error}")),
        }
    }
}

/// Maps a stack of `len` bytes at `va`.
pub fn stack(va: u64, pa: Pa, len: u64) {
    map(va, pa, len, Section::Data);
}

/// Maps the board's RAM and devices, and makes free frames of the RAM that nobody keeps.
pub fn board(board: &Board<'_>, dtb: u64, dtb_len: u64) {
    let (image, image_len) = memory::image_range();
    // Not the image: its text must not be writable through a second mapping.
    let mut holes = board.no_map.clone();
    holes.push(Range { start: image, len: image_len });
    for piece in board.memory.iter().flat_map(|ram| ram.without(&holes)) {
        direct(piece);
    }
    match board.gic {
        Some(Gic::V3 { gicd, gicr }) => {
            device(gicd);
            // Only the redistributors of our cores: the region may be made for hundreds. Four 64 KiB frames each with
            // GICv4, of which GICv3 has two (IHI 0069 12.10).
            device(Range { len: gicr.len.min(board.cpus.len() as u64 * 0x4_0000), ..gicr });
        }
        // Not GICV: it is the guests'.
        Some(Gic::V2 { gicd, gicc, gich, .. }) => [gicd, gicc, gich].into_iter().for_each(device),
        None => return,
    }
    transports(board);
    RAM.store(board.memory.iter().map(|ram| ram.len).sum(), Ordering::Relaxed);
    BUNDLE.store(board.initrd.map_or(0, |initrd| initrd.len), Ordering::Relaxed);
    let ranges = |r: &Range| r.start..r.end();
    let ram: Vec<_> = board.memory.iter().map(ranges).collect();
    let mut keep: Vec<_> = board.reserved.iter().map(ranges).collect();
    keep.push(image..image.offset(image_len));
    keep.push(Pa(dtb)..Pa(dtb + dtb_len));
    keep.extend(board.initrd.as_ref().map(ranges));
    let mut frames = Frames::new();
    if let Err(error) = frames.add(&ram, &keep) {
        stop(format_args!("the board's memory: {error}; check the memory nodes of its DTB"));
    }
    *FRAMES.lock() = Some(frames);
}

/// Maps the virtio transports. There may be dozens side by side, eight a page: each run of them is mapped at once.
fn transports(board: &Board<'_>) {
    let mut run: Option<Range> = None;
    for next in board.virtio.iter().map(|transport| transport.registers) {
        match &mut run {
            Some(run) if run.end() == next.start => run.len += next.len,
            Some(next_to) if next.end() == next_to.start => {
                *next_to = Range { start: next.start, len: next_to.len + next.len };
            }
            _ => {
                run.take().into_iter().for_each(device);
                run = Some(next);
            }
        }
    }
    run.into_iter().for_each(device);
}

fn direct(ram: Range) {
    change(|map| {
        if let Err(error) = map.map_direct(&El2, DIRECT_VA, ram.start..ram.end()) {
            stop(format_args!("EL2's map of RAM at {}: {error}", ram.start));
        }
    });
}
