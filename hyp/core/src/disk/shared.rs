//! The disk as guests share it: who may reach which sectors, and whose turn it is.
//!
//! To be kept behind one spin lock a board. The lock order is: a guest's device, then the disk. So a core that takes
//! completions holds the disk's lock for one [`Disk::complete`] at a time and lets go of it before it turns to the
//! device whose request that was.
//!
//! **Fairness.** As long as the disk has room, all comes through. A request that finds none makes its owner wait in
//! line; from then on whoever comes waits behind it, though there be room that moment. When requests complete
//! [`Disk::next_waiting`] calls the owners in turn, and each may then submit a few requests. So a guest with a
//! thousand requests and a guest with one get the same number through, and nobody waits for more than one round.
//!
//! **No owner is forgotten.** Someone waits only while the driver is full, so that a completion is yet to come which
//! will call him, or while the loop over `next_waiting` that follows a completion is not through, which ends only at an
//! empty line or a full driver.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use super::{
    Accepted, DiskDriver, DiskError, DiskOp, DiskRequest, SECTOR_SIZE, SubmitError, Tag, Window,
};
use crate::addr::VmId;
use crate::hw::Hw;

/// A disk on which nothing comes forward is looked at after this many seconds, and is overdue the second time: a board
/// that was held up itself is not the disk's fault.
const PATIENCE_SECONDS: u64 = 5;
/// Requests that an owner may submit when its turn has come.
const QUANTUM: u8 = 4;
/// Most owners: their number is the owner part of a [`Tag`].
const MAX_OWNERS: usize = 255;

/// Which device of which guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attached {
    /// The guest.
    pub vm: VmId,
    /// The number of its virtio device.
    pub device: u8,
}

/// Why a part of the disk cannot be attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareError {
    /// It does not lie on the disk.
    BeyondDisk,
    /// Another guest has some of it, and one of the two may write.
    Taken(Attached),
    /// The disk is read-only and the guest wants to write.
    ReadOnlyDisk,
    /// There are too many already.
    TooMany,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeyondDisk => f.write_str("the partition does not lie on the disk"),
            Self::Taken(by) => write!(
                f,
                "guest {} has the partition already: give it to one guest, or to all with `read-only`",
                by.vm
            ),
            Self::ReadOnlyDisk => {
                f.write_str("the board's disk is read-only: add `read-only` to the guest's disk")
            }
            Self::TooMany => write!(f, "more than {MAX_OWNERS} guest disks on one disk"),
        }
    }
}

#[derive(Debug)]
struct Owner {
    who: Attached,
    window: Window,
    waits: bool,
    may_submit: u8,
}

/// The board's disk with a driver `D`.
#[derive(Debug)]
pub struct Disk<D> {
    driver: D,
    owners: Vec<Owner>,
    waiting: VecDeque<u8>,
    /// Nothing has completed since the driver had no room.
    full: bool,
    /// Nothing has completed since this was noted.
    watch: Option<Watch>,
    /// Somebody looks by the clock.
    looked_after: bool,
    /// Requests that came back as errors.
    errors: u64,
}

/// What is under way, and since when nothing was seen of it.
#[derive(Debug)]
struct Watch {
    progress: u32,
    since: u64,
    late: bool,
}

impl<D: DiskDriver> Disk<D> {
    /// The disk, with nobody attached.
    pub fn new(driver: D) -> Self {
        Self {
            driver,
            owners: Vec::new(),
            waiting: VecDeque::new(),
            full: false,
            watch: None,
            looked_after: false,
            errors: 0,
        }
    }

    /// The driver, for the time before guests run.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Lets a device reach a window of the disk; the number is its [`Tag::owner`]. Windows may overlap only where
    /// nobody can write.
    pub fn attach(&mut self, who: Attached, window: Window) -> Result<u8, ShareError> {
        if !(Window { first: 0, sectors: self.driver.sectors(), read_only: false })
            .contains(window.first, window.sectors)
        {
            return Err(ShareError::BeyondDisk);
        }
        if self.driver.read_only() && !window.read_only {
            return Err(ShareError::ReadOnlyDisk);
        }
        let taken = self.owners.iter().find(|other| {
            other.window.overlaps(&window) && !(other.window.read_only && window.read_only)
        });
        if let Some(other) = taken {
            return Err(ShareError::Taken(other.who));
        }
        if self.owners.len() >= MAX_OWNERS {
            return Err(ShareError::TooMany);
        }
        self.owners.push(Owner { who, window, waits: false, may_submit: 0 });
        // Room for all, so that the line never grows while guests run.
        self.waiting.reserve(self.owners.len());
        Ok((self.owners.len() - 1) as u8)
    }

    /// Gives a request to the disk if its owner may reach the sectors: the second of two places that keep a guest
    /// inside its partition, and the one that does not depend on how the request came about.
    #[inline]
    pub fn submit(&mut self, hw: &impl Hw, request: &DiskRequest) -> Result<Accepted, SubmitError> {
        let owner = self.owners.get_mut(usize::from(request.tag.owner));
        let owner = owner.ok_or(SubmitError::Refused)?;
        if !allowed(&owner.window, request) {
            return Err(SubmitError::Refused);
        }
        let in_turn = self.waiting.is_empty() || owner.may_submit != 0;
        let result = if in_turn {
            let result = self.driver.submit(hw, request);
            self.full = result == Err(SubmitError::Full);
            result
        } else if self.check_overdue(hw) {
            // Who waits behind others asks the driver nothing: here a disk is found that has fallen silent.
            Err(SubmitError::Lost)
        } else {
            Err(SubmitError::Full)
        };
        let Some(owner) = self.owners.get_mut(usize::from(request.tag.owner)) else {
            return Err(SubmitError::Refused);
        };
        owner.may_submit = owner.may_submit.saturating_sub(1);
        if result == Err(SubmitError::Full) && !core::mem::replace(&mut owner.waits, true) {
            self.waiting.push_back(request.tag.owner);
        }
        result
    }

    /// Quietens the disk's interrupt: call it once, then [`Self::complete`] until there is nothing.
    pub fn acknowledge(&mut self) {
        self.driver.acknowledge();
    }

    /// A request that came to its end: whose it is, its number there, and how it went.
    #[inline]
    pub fn complete(&mut self, hw: &impl Hw) -> Option<(Attached, u16, Result<(), DiskError>)> {
        loop {
            let (Tag { owner, request }, result) = self.driver.complete(hw)?;
            self.full = false;
            self.watch = None;
            self.errors += u64::from(result.is_err());
            // Only what an owner submitted is under way, so this finds it.
            if let Some(owner) = self.owners.get(usize::from(owner)) {
                return Some((owner.who, request, result));
            }
        }
    }

    /// Stops a disk on which nothing has come forward for ten seconds, so that all requests come back as
    /// [`DiskError::Lost`] by [`Self::complete`]; whether it has just done so. To be called every now and then by whoever
    /// waits for requests to end: time counts from the first call.
    pub fn check_overdue(&mut self, hw: &impl Hw) -> bool {
        let Some(progress) = self.driver.progress() else {
            self.watch = None;
            return false;
        };
        let now = hw.now();
        let new = Watch { progress, since: now, late: false };
        let watch = self.watch.get_or_insert(new);
        if watch.progress != progress {
            *watch = Watch { progress, since: now, late: false };
        } else if now.saturating_sub(watch.since) > hw.counter_hz() * PATIENCE_SECONDS {
            watch.since = now;
            if core::mem::replace(&mut watch.late, true) {
                self.driver.stop();
                return true;
            }
        }
        false
    }

    /// When somebody has to [`Disk::look`], where a request is under way and nobody does: to be asked after [`Disk::submit`].
    #[inline]
    pub fn needs_look(&mut self, hw: &impl Hw) -> Option<u64> {
        if self.looked_after { None } else { self.begin_to_look(hw) }
    }

    #[inline(never)]
    fn begin_to_look(&mut self, hw: &impl Hw) -> Option<u64> {
        self.driver.progress()?;
        self.looked_after = true;
        self.check_overdue(hw);
        Some(next_look(hw))
    }

    /// Looks by the clock whether the disk still does something: whether it was just given up, as by
    /// [`Disk::check_overdue`], and when to look again, as long as something is under way.
    pub fn look(&mut self, hw: &impl Hw) -> (bool, Option<u64>) {
        let lost = self.check_overdue(hw);
        self.looked_after = !lost && self.driver.progress().is_some();
        (lost, self.looked_after.then(|| next_look(hw)))
    }

    /// Requests that came back as errors, of all owners, since the board was started.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Whose turn it is to go on, if someone waits and there is room: call it after [`Self::complete`] until there is
    /// nobody, and let each device take up its queue again.
    #[inline]
    pub fn next_waiting(&mut self) -> Option<Attached> {
        if self.full {
            return None;
        }
        let number = self.waiting.pop_front()?;
        let owner = self.owners.get_mut(usize::from(number))?;
        owner.waits = false;
        owner.may_submit = QUANTUM;
        Some(owner.who)
    }
}

/// Not before a disk that does nothing counts as late.
fn next_look(hw: &impl Hw) -> u64 {
    hw.now().saturating_add(hw.counter_hz() * PATIENCE_SECONDS + 1)
}

#[inline]
fn allowed(window: &Window, request: &DiskRequest) -> bool {
    let DiskRequest { op, sector, sectors, .. } = *request;
    if op == DiskOp::Flush {
        return true;
    }
    if sectors == 0 || !window.contains(sector, sectors) || (window.read_only && op.modifies()) {
        return false;
    }
    let memory: u64 = request.segments().iter().map(|segment| u64::from(segment.len)).sum();
    match op {
        DiskOp::Read | DiskOp::Write => Some(memory) == sectors.checked_mul(SECTOR_SIZE),
        DiskOp::Discard | DiskOp::WriteZeroes { .. } | DiskOp::Flush => memory == 0,
    }
}
