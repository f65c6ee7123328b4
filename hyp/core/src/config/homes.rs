//! Which core is the home of each vCPU that shares cores.
//!
//! A vCPU starts at home, and one with a reserve stays there: what is promised is a part of that core, so nothing has to be
//! counted while guests run, and whether too much was promised is known before any does. Promises are placed first, those
//! with the least choice and the largest before others, each where least is promised yet; all else goes where its shares are
//! worth most. A guest's own vCPUs go to different cores where they can.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::check::about;
use super::problem::Problem;
use super::{Sharing, VmConfig};
use crate::addr::CpuId;
use crate::words::List;

/// All of a core, in percent.
const WHOLE: u64 = 100;
/// Most guests, and most cores, that a message names.
const NAMED: usize = 8;

/// A guest that shares cores, and which they are.
#[derive(Clone)]
struct Sharer<'a> {
    vm: &'a VmConfig,
    sharing: Sharing,
    cpus: Vec<CpuId>,
}

impl<'a> Sharer<'a> {
    fn new(vm: &'a VmConfig, cpus: &[CpuId]) -> Option<Self> {
        Some(Self { vm, sharing: vm.sharing?, cpus: cpus.into() })
    }

    fn reserve(&self) -> u64 {
        u64::from(self.sharing.reserve.unwrap_or(0))
    }
}

/// What there is on a core so far.
#[derive(Clone, Copy, Default)]
struct Load {
    shares: u64,
    reserve: u64,
}

/// Holds the promises against each other as far as guests name their cores.
pub(super) fn check(vms: &[VmConfig]) -> Vec<Problem> {
    let named = vms.iter().filter(|vm| !vm.cpus.is_empty());
    check_promises(named.filter_map(|vm| Sharer::new(vm, &vm.cpus)))
}

/// Where a guest's vCPUs may run, and where each is at home.
pub(super) struct Place {
    pub(super) cpus: Vec<CpuId>,
    pub(super) homes: Vec<CpuId>,
}

/// The place of each guest that shares cores, in the order of `vms`, on a board of `cores` cores; or what is in the way.
pub(super) fn settle(vms: &[VmConfig], cores: usize) -> Result<Vec<Place>, Vec<Problem>> {
    let owned = |core: &CpuId| vms.iter().any(|vm| vm.sharing.is_none() && vm.cpus.contains(core));
    let all = (0..=u8::MAX).take(cores).map(CpuId);
    let free: Vec<CpuId> = all.filter(|core| !owned(core)).collect();
    let sharers: Vec<Sharer<'_>> = vms
        .iter()
        .filter_map(|vm| Sharer::new(vm, if vm.cpus.is_empty() { &free } else { &vm.cpus }))
        .collect();
    let nowhere = sharers.iter().filter(|sharer| sharer.cpus.is_empty()).map(|sharer| {
        let what =
            format!("no core is left, for others have all {cores} to themselves; have one share");
        about(sharer.vm, "cpu-policy", what)
    });
    let mut problems: Vec<Problem> = nowhere.collect();
    if problems.is_empty() {
        problems = check_promises(sharers.iter().cloned());
    }
    let homes = if problems.is_empty() { homes(&sharers) } else { None };
    let homes = homes.ok_or(problems)?;
    let place = |(sharer, homes): (Sharer<'_>, _)| Place { cpus: sharer.cpus, homes };
    Ok(sharers.into_iter().zip(homes).map(place).collect())
}

/// Guests whose reserve does not fit beside those of the guests before them.
fn check_promises<'a>(sharers: impl Iterator<Item = Sharer<'a>>) -> Vec<Problem> {
    let mut kept: Vec<Sharer<'_>> = Vec::new();
    let mut problems = Vec::new();
    for sharer in sharers.filter(|sharer| sharer.reserve() > 0) {
        kept.push(sharer);
        if homes(&kept).is_none()
            && let Some(last) = kept.pop()
        {
            problems.push(about(last.vm, "cpu-reserve", too_much(&last, &kept)));
        }
    }
    problems
}

/// Says that what is promised to `sharer` does not fit beside what is to `kept`.
fn too_much(sharer: &Sharer<'_>, kept: &[Sharer<'_>]) -> String {
    let mut what =
        format!("{} % of a core for each of its vCPUs does not fit on ", sharer.reserve());
    for (n, core) in sharer.cpus.iter().take(NAMED).enumerate() {
        what += &format!("{} {core}", if n == 0 { "core" } else { ", core" });
    }
    let meets = |other: &&Sharer<'_>| other.cpus.iter().any(|core| sharer.cpus.contains(core));
    let names = kept.iter().filter(meets).map(|other| other.vm.name.as_str());
    let names: Vec<&str> = names.take(NAMED).collect();
    if !names.is_empty() {
        what += &format!(" beside the reserves of {}", List(&names));
    }
    what + ", for a core has 100 %; lower a reserve, or choose other `cpus`"
}

/// The homes of the vCPUs of each of `sharers`; `None` where more than a core would be promised of one.
fn homes(sharers: &[Sharer<'_>]) -> Option<Vec<Vec<CpuId>>> {
    let last = sharers.iter().flat_map(|sharer| &sharer.cpus).max();
    let mut loads = vec![Load::default(); last.map_or(0, |last| 1 + usize::from(last.0))];
    let mut homes = vec![Vec::new(); sharers.len()];
    let mut left: Vec<_> = sharers.iter().zip(&mut homes).collect();
    // The first of those that are least in this.
    let turn =
        |sharer: &Sharer<'_>| (sharer.reserve() == 0, sharer.cpus.len(), Reverse(sharer.reserve()));
    while let Some(next) = (0..left.len()).min_by_key(|&n| left.get(n).map(|(who, _)| turn(who))) {
        let (sharer, homes) = left.remove(next);
        for _ in 0..sharer.vm.vcpus {
            homes.push(home(sharer, homes, &mut loads)?);
        }
    }
    Some(homes)
}

/// The home of the next vCPU of `sharer`, behind those of `before`, which is counted.
fn home(sharer: &Sharer<'_>, before: &[CpuId], loads: &mut [Load]) -> Option<CpuId> {
    let (shares, reserve) = (u64::from(sharer.sharing.shares), sharer.reserve());
    let rank = |&core: &CpuId| {
        let load = loads.get(usize::from(core.0))?;
        let siblings = before.iter().filter(|home| **home == core).count();
        let promised = if reserve > 0 { load.reserve } else { 0 };
        // What is promised is nobody else's: shares divide the rest.
        let crowd = (load.shares + shares) * WHOLE / (WHOLE + 1 - load.reserve);
        (load.reserve + reserve <= WHOLE).then_some((siblings, promised, crowd, core))
    };
    let (.., home) = sharer.cpus.iter().filter_map(rank).min()?;
    let load = loads.get_mut(usize::from(home.0))?;
    load.shares += shares;
    load.reserve += reserve;
    Some(home)
}
