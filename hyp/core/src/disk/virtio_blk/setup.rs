//! Finding a virtio disk, agreeing on features and laying out memory for it (VIRTIO 1.3 3.1 and 4.2).

use core::fmt;

use crate::addr::{PAGE_SIZE, Pa};
use crate::disk::Registers;
use crate::hw::Hw;
use crate::virtio::blk::DEVICE_ID;
use crate::virtio::blk::config::{at as config, blk_feature};
use crate::virtio::{MAGIC, desc, feature, reg, status};

/// Descriptors of the queue, if the disk has as many, and so requests under way.
const QUEUE_SIZE: u32 = 64;
/// Descriptors of a request's chain: in a table of its own where the disk takes indirect descriptors ...
const TABLE_ENTRIES: u16 = 64;
/// ... and of the queue's own otherwise.
const DIRECT_ENTRIES: u16 = 8;
/// Header and status of a chain; the rest is data.
const FRAME_ENTRIES: u16 = 2;

/// The ring memory: two frames, where a legacy device finds its rings by their distance (VIRTIO 1.3 2.7.2). The
/// second also holds the requests' control blocks.
const RING_ORDER: u8 = 1;
const USED_AT: u64 = PAGE_SIZE;
const CONTROL_AT: u64 = USED_AT + 1024;
/// Frames of the indirect tables: 64 tables of 64 descriptors.
const TABLES_ORDER: u8 = 4;

/// Why there is no disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// The registers are not those of a virtio device.
    NotVirtio,
    /// A virtio device of another kind, or none at all.
    NotADisk(u32),
    /// An interface version that is not known.
    Version(u32),
    /// The device does not agree to the features chosen.
    Features,
    /// The device has no queue, or too small a one, or has it in use.
    Queue,
    /// There is no memory for the rings.
    Memory,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtio => f.write_str("the device is no virtio-mmio device"),
            Self::NotADisk(id) => write!(f, "the virtio device is no disk but of kind {id}"),
            Self::Version(v) => write!(f, "the virtio disk has interface version {v}, not 1 or 2"),
            Self::Features => f.write_str("the virtio disk refuses the features chosen"),
            Self::Queue => f.write_str("the virtio disk has no usable queue"),
            Self::Memory => f.write_str("there is no memory for the virtio disk's rings"),
        }
    }
}

/// What the disk can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Limits {
    pub sectors: u64,
    pub read_only: bool,
    pub flush: bool,
    pub event_idx: bool,
    /// Most sectors of a discard; 0 where there is none.
    pub max_discard: u32,
    /// Most sectors of a write-zeroes; 0 where there is none.
    pub max_write_zeroes: u32,
    /// Most pieces of memory of a request.
    pub segments: usize,
    /// Most bytes of each.
    pub segment_bytes: u32,
}

/// Where the rings and the requests' memory lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Descriptors of the queue.
    pub size: u16,
    /// Requests that can be under way.
    pub slots: u16,
    /// Descriptors of a chain in the queue itself: 1 with indirect descriptors.
    pub stride: u16,
    pub desc: Pa,
    pub avail: Pa,
    pub used: Pa,
    control: Pa,
    tables: Option<Pa>,
    /// A frame of zeroes to write where the disk has no write-zeroes.
    pub zeroes: Option<Pa>,
}

/// A request's control block: header (16 bytes), status, and at 32 the range of a discard.
const CONTROL_SIZE: u64 = 48;
pub(super) const CONTROL_STATUS: u64 = 16;
pub(super) const CONTROL_RANGE: u64 = 32;

impl Layout {
    /// The control block of a request.
    #[inline]
    pub(super) fn control(&self, slot: u16) -> Pa {
        self.control.offset(u64::from(slot) * CONTROL_SIZE)
    }

    /// The descriptors of a request, and the index of the first of them.
    #[inline]
    pub(super) fn chain(&self, slot: u16) -> (Pa, u16) {
        match self.tables {
            Some(tables) => {
                (tables.offset(u64::from(slot) * u64::from(TABLE_ENTRIES) * desc::SIZE), 0)
            }
            None => {
                let first = slot * self.stride;
                (self.desc.offset(u64::from(first) * desc::SIZE), first)
            }
        }
    }
}

/// The kind of the virtio device behind these registers; `None` where there is no virtio device, 0 where its place is
/// empty.
pub fn device_id(registers: &impl Registers) -> Option<u32> {
    (registers.read32(reg::MAGIC) == MAGIC).then(|| registers.read32(reg::DEVICE_ID))
}

/// Brings the device from any state to DRIVER_OK.
pub(super) fn set_up(
    registers: &impl Registers,
    hw: &impl Hw,
) -> Result<(Limits, Layout), InitError> {
    match device_id(registers) {
        None => return Err(InitError::NotVirtio),
        Some(DEVICE_ID) => {}
        Some(id) => return Err(InitError::NotADisk(id)),
    }
    let legacy = match registers.read32(reg::VERSION) {
        1 => true,
        2 => false,
        version => return Err(InitError::Version(version)),
    };
    if !super::reset(registers) {
        return Err(InitError::Queue);
    }
    let result = negotiate(registers, legacy).and_then(|features| {
        let mut limits = read_limits(registers, features);
        let layout = lay_out(registers, hw, legacy, features, &mut limits)?;
        Ok((limits, layout))
    });
    let ready = match result {
        Ok(_) => status::DRIVER_OK,
        Err(_) => status::FAILED,
    };
    registers.write32(reg::STATUS, registers.read32(reg::STATUS) | ready);
    result
}

/// Accepts of the features offered those that are of use; FEATURES_OK is unknown to legacy devices.
fn negotiate(registers: &impl Registers, legacy: bool) -> Result<u64, InitError> {
    const USEFUL: u64 = feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | feature::VERSION_1
        | blk_feature::SIZE_MAX
        | blk_feature::SEG_MAX
        | blk_feature::RO
        | blk_feature::FLUSH
        | blk_feature::DISCARD
        | blk_feature::WRITE_ZEROES;
    let mut now = status::ACKNOWLEDGE | status::DRIVER;
    registers.write32(reg::STATUS, status::ACKNOWLEDGE);
    registers.write32(reg::STATUS, now);
    let mut offered = 0;
    for word in 0..2 {
        registers.write32(reg::DEVICE_FEATURES_SEL, word);
        offered |= u64::from(registers.read32(reg::DEVICE_FEATURES)) << (32 * word);
    }
    // A legacy device has 32 features; what its second word reads as means nothing.
    let accepted = offered & USEFUL & if legacy { u64::from(u32::MAX) } else { u64::MAX };
    for word in 0..2 {
        registers.write32(reg::DRIVER_FEATURES_SEL, word);
        registers.write32(reg::DRIVER_FEATURES, (accepted >> (32 * word)) as u32);
    }
    if legacy {
        return Ok(accepted);
    }
    now |= status::FEATURES_OK;
    registers.write32(reg::STATUS, now);
    let agreed = registers.read32(reg::STATUS) & status::FEATURES_OK != 0;
    if !agreed || accepted & feature::VERSION_1 == 0 {
        return Err(InitError::Features);
    }
    Ok(accepted)
}

fn read_limits(registers: &impl Registers, features: u64) -> Limits {
    let has = |bit| features & bit != 0;
    let field = |at: usize| registers.read32(reg::CONFIG + at as u64);
    let optional = |bit, at| if has(bit) { field(at) } else { 0 };
    let capacity = || {
        let low = u64::from(field(config::CAPACITY));
        u64::from(field(config::CAPACITY + 4)) << 32 | low
    };
    // Two equal reads in a row are one value (VIRTIO 1.3 2.5.1: what a driver does without a generation). The disk
    // does not grow while Tessera boots, so a few tries are plenty.
    let mut sectors = capacity();
    for _ in 0..4 {
        let again = capacity();
        if core::mem::replace(&mut sectors, again) == again {
            break;
        }
    }
    let size_max = optional(blk_feature::SIZE_MAX, config::SIZE_MAX);
    let seg_max = optional(blk_feature::SEG_MAX, config::SEG_MAX);
    Limits {
        sectors,
        read_only: has(blk_feature::RO),
        flush: has(blk_feature::FLUSH),
        event_idx: has(feature::EVENT_IDX),
        max_discard: optional(blk_feature::DISCARD, config::MAX_DISCARD_SECTORS),
        max_write_zeroes: optional(blk_feature::WRITE_ZEROES, config::MAX_WRITE_ZEROES_SECTORS),
        // A disk that does not say takes one piece for certain (VIRTIO 1.3 5.2.5).
        segments: seg_max.max(1) as usize,
        segment_bytes: if size_max == 0 { u32::MAX } else { size_max },
    }
}

/// Takes memory and gives the device its queue.
fn lay_out(
    registers: &impl Registers,
    hw: &impl Hw,
    legacy: bool,
    features: u64,
    limits: &mut Limits,
) -> Result<Layout, InitError> {
    registers.write32(reg::QUEUE_SEL, 0);
    let max = registers.read32(reg::QUEUE_NUM_MAX).min(QUEUE_SIZE);
    let in_use = registers.read32(if legacy { reg::QUEUE_PFN } else { reg::QUEUE_READY }) != 0;
    if max <= u32::from(FRAME_ENTRIES) || in_use {
        return Err(InitError::Queue);
    }
    // At most QUEUE_SIZE, so it fits.
    let size = 1u16 << max.ilog2();
    let indirect = features & feature::INDIRECT_DESC != 0;
    let (stride, entries) = match indirect {
        true => (1, size.min(TABLE_ENTRIES)),
        false => (size.min(DIRECT_ENTRIES), size.min(DIRECT_ENTRIES)),
    };
    limits.segments = limits.segments.min(usize::from(entries.saturating_sub(FRAME_ENTRIES)));
    if limits.segments == 0 {
        return Err(InitError::Queue);
    }
    let take = |order| hw.take_frames(order).ok_or(InitError::Memory);
    let ring = take(RING_ORDER)?;
    let tables = if indirect { Some(take(TABLES_ORDER)?) } else { None };
    let zeroes = if limits.max_write_zeroes == 0 { Some(take(0)?) } else { None };
    let layout = Layout {
        size,
        slots: size / stride,
        stride,
        desc: ring,
        avail: ring.offset(u64::from(size) * desc::SIZE),
        used: ring.offset(USED_AT),
        control: ring.offset(CONTROL_AT),
        tables,
        zeroes,
    };
    write_constants(hw, &layout, entries);
    give_queue(registers, &layout, legacy);
    Ok(layout)
}

/// The descriptors that are the same for every request: its header, and the reference to its table.
fn write_constants(hw: &impl Hw, layout: &Layout, entries: u16) {
    for slot in 0..layout.slots {
        let (chain, first) = layout.chain(slot);
        let header = super::Descriptor {
            at: layout.control(slot),
            len: CONTROL_STATUS as u32,
            flags: desc::NEXT,
            next: first.wrapping_add(1),
        };
        header.store(hw, chain);
        if layout.tables.is_some() {
            // The table's whole length each time: the chain in it ends where NEXT is missing.
            let len = u32::from(entries) * desc::SIZE as u32;
            let table = super::Descriptor { at: chain, len, flags: desc::INDIRECT, next: 0 };
            table.store(hw, layout.desc.offset(u64::from(slot) * desc::SIZE));
        }
    }
    hw.fence();
}

fn give_queue(registers: &impl Registers, layout: &Layout, legacy: bool) {
    if legacy {
        registers.write32(reg::GUEST_PAGE_SIZE, PAGE_SIZE as u32);
        registers.write32(reg::QUEUE_NUM, u32::from(layout.size));
        registers.write32(reg::QUEUE_ALIGN, PAGE_SIZE as u32);
        registers.write32(reg::QUEUE_PFN, (layout.desc.0 / PAGE_SIZE) as u32);
        return;
    }
    registers.write32(reg::QUEUE_NUM, u32::from(layout.size));
    let areas = [
        (reg::QUEUE_DESC, layout.desc),
        (reg::QUEUE_DRIVER, layout.avail),
        (reg::QUEUE_DEVICE, layout.used),
    ];
    for (offset, Pa(address)) in areas {
        registers.write32(offset, address as u32);
        registers.write32(offset + 4, (address >> 32) as u32);
    }
    registers.write32(reg::QUEUE_READY, 1);
}
