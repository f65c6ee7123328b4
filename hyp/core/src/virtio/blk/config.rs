//! What a block device tells of itself: features, limits, configuration space (VIRTIO 1.3 5.2.3 and 5.2.4).

use crate::disk::Window;
use crate::virtio::feature;

/// Device ID of a block device (VIRTIO 1.3 5).
pub const DEVICE_ID: u32 = 2;
/// Descriptors of the queue, and requests that can be under way.
pub const QUEUE_MAX: u16 = 128;
/// Most data buffers of a request.
pub const SEG_MAX: u32 = 62;
/// Most sectors of one discard.
pub const MAX_DISCARD: u32 = 0x003f_ffff;
/// Most sectors of one write-zeroes: 32 MiB, which may have to be written.
pub const MAX_WRITE_ZEROES: u32 = 0x1_0000;

/// Feature bits of a block device (VIRTIO 1.3 5.2.3).
pub(crate) mod blk_feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offsets in the configuration space (VIRTIO 1.3 5.2.4).
pub(crate) mod at {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const SEG_MAX: usize = 12;
    pub const BLK_SIZE: usize = 20;
    pub const PHYSICAL_BLOCK_EXP: usize = 24;
    pub const MIN_IO_SIZE: usize = 26;
    pub const NUM_QUEUES: usize = 34;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const MAX_DISCARD_SEG: usize = 40;
    pub const DISCARD_ALIGNMENT: usize = 44;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub const MAX_WRITE_ZEROES_SEG: usize = 52;
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    pub const SIZE: usize = 60;
}

/// The features that a guest's disk offers, without those of the transport.
pub(super) fn features(window: &Window) -> u64 {
    let writing = match window.read_only {
        true => blk_feature::RO,
        false => blk_feature::DISCARD | blk_feature::WRITE_ZEROES,
    };
    writing
        | feature::INDIRECT_DESC
        | feature::EVENT_IDX
        | blk_feature::SEG_MAX
        | blk_feature::BLK_SIZE
        | blk_feature::FLUSH
        | blk_feature::TOPOLOGY
}

/// The configuration space (VIRTIO 1.3 5.2.4), for drivers to read only.
pub(super) fn space(window: &Window) -> [u8; at::SIZE] {
    let mut space = [0; at::SIZE];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in space.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(at::CAPACITY, &window.sectors.to_le_bytes());
    put(at::SEG_MAX, &SEG_MAX.to_le_bytes());
    put(at::BLK_SIZE, &512u32.to_le_bytes());
    // Disks write blocks of 8 sectors. A partition that does not begin at one cannot profit from knowing.
    if window.first.is_multiple_of(8) {
        put(at::PHYSICAL_BLOCK_EXP, &[3]);
        put(at::MIN_IO_SIZE, &8u16.to_le_bytes());
    }
    put(at::NUM_QUEUES, &1u16.to_le_bytes());
    if !window.read_only {
        put(at::MAX_DISCARD_SECTORS, &MAX_DISCARD.to_le_bytes());
        put(at::MAX_DISCARD_SEG, &1u32.to_le_bytes());
        put(at::DISCARD_ALIGNMENT, &8u32.to_le_bytes());
        put(at::MAX_WRITE_ZEROES_SECTORS, &MAX_WRITE_ZEROES.to_le_bytes());
        put(at::MAX_WRITE_ZEROES_SEG, &1u32.to_le_bytes());
        put(at::WRITE_ZEROES_MAY_UNMAP, &[1]);
    }
    space
}
