//! A group: guests that share a region of memory and ring each other. `docs/groups.md` tells how it is used.
//!
//! A guest finds the group's three places and its interrupt in its device tree, at a node that is compatible with
//! [`COMPATIBLE`]: the doorbell page, the membership page and the region, in this order.

/// `compatible` of the group's node.
pub const COMPATIBLE: &str = "tessera,group";
/// `compatible` of the second node of a region that the guest may only read.
pub const READ_ONLY_REGION: &str = "tessera,read-only-region";
/// Most members of a group: a bit of [`doorbell::PENDING`] each.
pub const MAX_MEMBERS: usize = 32;

/// Registers of the doorbell page, by their offset: 32 bits each, little-endian. Each member has a page of its own. Any other
/// access takes the external abort that nothing answers with.
pub mod doorbell {
    /// Write only. A member's index rings that member; [`ALL`] rings all others. The own index, and one that nobody has, ring
    /// nobody. Reads as zero.
    pub const RING: u64 = 0x00;
    /// Read only: who rang since this was read last, a bit each by index. The read clears it. The
    /// group's interrupt comes when this was 0 and no longer is.
    pub const PENDING: u64 = 0x04;
    /// Read only: 1 where the membership page has changed since this was read last. The read clears it. The
    /// group's interrupt comes when this was 0 and no longer is.
    pub const CHANGED: u64 = 0x08;
    /// Read only: the own index.
    pub const INDEX: u64 = 0x0c;
    /// Read only: how many members the group has, whatever their state.
    pub const MEMBERS: u64 = 0x10;
    /// Read only: 1 where the guest may write to the region, else 0.
    pub const WRITABLE: u64 = 0x14;

    /// What rings all others.
    pub const ALL: u32 = u32::MAX;
}

/// The membership page: all members read the same one, none can write it. Offsets; numbers are little-endian.
pub mod membership {
    /// 32 bits: [`MAGIC_VALUE`].
    pub const MAGIC: u64 = 0x00;
    /// "TGRP" in the order of bytes.
    pub const MAGIC_VALUE: u32 = 0x5052_4754;
    /// 32 bits: 1. It grows where what is described here changes its meaning.
    pub const VERSION: u64 = 0x04;
    /// 32 bits: how many members there are.
    pub const MEMBERS: u64 = 0x08;
    /// 64 bits: how often any of the members' words changed, counted after the change.
    pub const GENERATION: u64 = 0x10;
    /// 64 bits: bytes of the region.
    pub const SIZE: u64 = 0x18;
    /// First of the members' words, 64 bits each, by index: a [`State`] in bits 7:0, and above them how many lives of the guest
    /// have begun to run, so that who looks late sees that a member started anew in between.
    pub const WORDS: u64 = 0x40;
    /// Where in a word the lives are.
    pub const LIVES_SHIFT: u32 = 8;

    /// Where a member is in its life.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    #[repr(u8)]
    pub enum State {
        /// It is off, and nothing of it can touch the region.
        Down = 0,
        /// It is built and loaded, and does not run yet.
        Starting = 1,
        /// It runs.
        Up = 2,
        /// It stands still until somebody resumes it.
        Paused = 3,
        /// It ends; its vCPUs may still run and write.
        Leaving = 4,
        /// It failed and stays off: nothing of it can touch the region.
        Crashed = 5,
        /// It failed, and waits until it is started again: nothing of it can touch the region.
        Restarting = 6,
    }
}
