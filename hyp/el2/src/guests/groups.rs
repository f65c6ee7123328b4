//! Groups of guests: the memory that they share, taken once and kept as long as the board runs.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tessera_core::addr::{Ipa, Pa};
use tessera_core::config::{Config, GroupConfig};
use tessera_core::group::{Budget, Group, Member, Share};
use tessera_core::guest_mem::Extent;
use tessera_core::hw::Hw;
use tessera_core::stage2::ipa_bits;

use crate::boot::map;
use crate::hw::{El2, FRAMES};
use crate::{cache, memory};

/// Regions begin at multiples of this, so that they are mapped in large blocks.
const ALIGN: u64 = 1 << 30;

/// Makes the groups of `config`, whose files `find` finds. A region has the same address for all its members, in the upper half
/// of what a guest can have. One that cannot be had is said, and missing.
pub fn define(config: &Config, find: impl Fn(&str) -> Option<&'static [u8]>) -> Vec<Arc<Group>> {
    let mut at = Ipa(1 << (ipa_bits(map::pa_range()) - 1));
    let mut groups = Vec::new();
    let mut budgets = Vec::new();
    for (n, group) in config.groups.iter().enumerate() {
        let data = group.initial.as_deref().and_then(&find).unwrap_or_default();
        match make(group, &config.groups[..n], at, data, &mut budgets) {
            Ok(made) => groups.push(Arc::new(made)),
            Err(why) => log::error!("{}: {why}", group.name),
        }
        at = at.offset(group.size.next_multiple_of(ALIGN));
    }
    groups
}

/// What guests have in all of their groups.
type Budgets<'a> = Vec<(&'a str, Arc<Budget>)>;

/// A group with its memory, which begins with `data`. It stands behind the groups `before`.
fn make<'a>(
    group: &'a GroupConfig,
    before: &[GroupConfig],
    at: Ipa,
    data: &[u8],
    budgets: &mut Budgets<'a>,
) -> Result<Group, String> {
    const SHORT: &str = "no memory is free for it";
    let blocks = FRAMES.lock().as_mut().and_then(|frames| frames.take_bytes(group.size));
    let mut ipa = at;
    let mut region = Vec::new();
    let mut rest = data;
    for block in blocks.ok_or(SHORT)? {
        region.push(Extent { ipa, pa: block.at, len: block.bytes() });
        ipa = ipa.offset(block.bytes());
        let (now, later) = rest.split_at(rest.len().min(block.bytes() as usize));
        fill(block.at, block.bytes(), now);
        rest = later;
    }
    let page = El2.take_frames(0).ok_or(SHORT)?;
    let members = group.members.iter().map(|member| {
        let slot = before.iter().filter(|other| other.has(&member.guest)).count();
        Member::new(slot as u8, member.access, budget_of(budgets, &member.guest))
    });
    Ok(Group::new(&El2, group.name.clone(), region, page, members.collect()))
}

/// The one of the guest `name`, which is made where it is in no group yet.
fn budget_of<'a>(budgets: &mut Budgets<'a>, name: &'a str) -> Arc<Budget> {
    if let Some((_, budget)) = budgets.iter().find(|(guest, _)| *guest == name) {
        return budget.clone();
    }
    let budget = Arc::<Budget>::default();
    budgets.push((name, budget.clone()));
    budget
}

/// Fills memory with `data` and zeros, also for who looks past the caches.
fn fill(at: Pa, bytes: u64, data: &[u8]) {
    // SAFETY: whole frames that were free until now, in the direct map.
    unsafe { cache::zero_pages(memory::direct(at), bytes) };
    El2.write(at, data);
    cache::clean_invalidate(memory::direct(at), data.len() as u64);
}

/// The shares that the guest `name` has of `groups`, in the order of the configuration.
pub fn shares(
    config: &[GroupConfig],
    groups: &[Arc<Group>],
    name: &str,
) -> Result<Vec<Share>, String> {
    let mut shares = Vec::new();
    for one in config {
        let Some(index) = one.members.iter().position(|member| member.guest == name) else {
            continue;
        };
        let group = groups.iter().find(|group| group.name == one.name);
        let group = group.ok_or_else(|| format!("it has no group {}", one.name))?;
        shares.push(Share { group: group.clone(), index: index as u8 });
    }
    Ok(shares)
}
