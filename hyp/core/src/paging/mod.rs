//! Translation tables: one engine for the guests' stage 2 and for EL2's own stage 1 (DDI 0487 D8).
//!
//! The problem: tables are changed while other cores walk them, frames may run out in the middle, and a mistake gives
//! a guest what is not its own.
//!
//! The idea: every change is two passes over the range. The first reads, counts the tables that will be needed and
//! refuses; then these are taken, all or none; the second writes and cannot fail. It builds a new table completely
//! before it links it, breaks a live entry before it makes another of it (DDI 0487 D8.16.1), and gives a frame back
//! only when the TLBs have forgotten it. Frames in waiting are a list through their own first descriptor, which reads
//! as invalid to a table walk: no allocation, and no limit to how many wait.
//!
//! Not taken: the `aarch64-paging` crate. It reaches tables by reference and so needs `unsafe` here, allocates while
//! it changes, and takes its break-before-make as far as checking, not doing.
//!
//! While a live entry is broken, another core's access faults although the page is there. Who handles a stage 2 fault
//! therefore translates again, under the lock that changes are made under, and retries where the access is allowed.

use core::fmt;

use crate::addr::{Ipa, Pa, VmId};
use crate::hw::Hw;

mod change;
mod descriptor;
mod edit;
pub mod el2;
mod map;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use descriptor::physical_size_field;
pub use descriptor::{Attributes, Descriptor, ENTRIES, Geometry, Level, physical_bits};
pub use tables::{Tables, Translation};

/// Why a change was refused. Nothing was changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// The address or the length is not a multiple of the page size.
    Misaligned(u64),
    /// The range ends beyond what the tables can translate or the board can address.
    OutOfRange(u64),
    /// Something is mapped there already.
    AlreadyMapped(u64),
    /// Nothing is mapped there.
    NotMapped(u64),
    /// The address is part of a block that must not be split, because what runs may run from it.
    InBlock(u64),
    /// The physical range touches memory that no guest may have.
    Forbidden(Pa),
    /// No frame is free for a table.
    OutOfFrames,
    /// The guest's number leaves no VMID for it.
    NoVmid(VmId),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned(at) => write!(f, "{at:#x} is not a multiple of the page size"),
            Self::OutOfRange(at) => write!(f, "the range at {at:#x} ends beyond the address space"),
            Self::AlreadyMapped(at) => write!(f, "{at:#x} is mapped already"),
            Self::NotMapped(at) => write!(f, "nothing is mapped at {at:#x}"),
            Self::InBlock(at) => write!(f, "{at:#x} is part of a block that must not be split"),
            Self::Forbidden(at) => write!(f, "the memory at {at} may not be mapped for a guest"),
            Self::OutOfFrames => write!(f, "no frame is free for a translation table"),
            Self::NoVmid(vm) => write!(f, "guest {vm} is beyond the last VMID"),
        }
    }
}

/// Whose addresses the tables translate: decides what a change invalidates, and what it may do at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// Stage 2 of a guest.
    Guest(VmId),
    /// Stage 1 of EL2. Code that changes these tables runs from them, and reaches them through them: a block is never
    /// broken to be split, and tables stay where they are.
    El2,
}

impl Regime {
    /// Whether blocks may be split and empty tables given back.
    const fn may_restructure(self) -> bool {
        matches!(self, Self::Guest(_))
    }

    /// Makes every core forget what it knows of the entry that translates `at`.
    fn invalidate(self, hw: &impl Hw, at: u64) {
        match self {
            Self::Guest(vm) => hw.tlb_invalidate_ipa(vm, Ipa(at)),
            Self::El2 => hw.tlb_invalidate_el2(),
        }
    }

    /// Makes every core forget all it knows of these tables.
    fn invalidate_all(self, hw: &impl Hw) {
        match self {
            Self::Guest(vm) => hw.tlb_invalidate_vm(vm),
            Self::El2 => hw.tlb_invalidate_el2(),
        }
    }
}
