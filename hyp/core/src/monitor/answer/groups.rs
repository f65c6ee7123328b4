//! What is told of groups.

use alloc::string::String;
use alloc::sync::Arc;

use tessera_abi::group::membership::{LIVES_SHIFT, State};

use crate::guest::Guest;
use crate::monitor::groups;
use crate::monitor::record::{Record, Value};
use crate::monitor::world::World;
use crate::stage2::Access;

/// Group number `n`, in a line.
#[inline(never)]
pub(super) fn list(world: &impl World, n: usize) -> Option<Record> {
    let group = *groups(world).get(n)?;
    let up = group.standings().filter(|member| member.word as u8 == State::Up as u8).count();
    Some(
        Record::row("group")
            .with("name", group.name.clone())
            .with("at", group.region.first().map(|extent| Value::Hex(extent.ipa.0)))
            .with("size", Value::Bytes(group.size()))
            .with("members", group.count() as u64)
            .with("members_up", up as u64)
            .with("changes", group.generation()),
    )
}

/// Member `n` of a group.
#[inline(never)]
pub(super) fn member(world: &impl World, group: u8, n: usize) -> Option<Record> {
    let group = *groups(world).get(usize::from(group))?;
    let member = group.standings().nth(n)?;
    let is_it = |guest: &&Guest| {
        let mut shares = guest.groups.iter();
        shares.any(|share| Arc::ptr_eq(&share.group, group) && usize::from(share.index) == n)
    };
    // There is none where the guest was left out for a problem of its own.
    let guest = world.guests().iter().find(is_it).map(|guest| String::from(guest.name()));
    let access = match member.access {
        Access::ReadWrite => "read-write",
        Access::ReadOnly => "read-only",
    };
    Some(
        Record::row("member")
            .with("index", n as u64)
            .with("guest", guest)
            .with("access", access)
            .with("state", STATES.get(usize::from(member.word as u8)).copied())
            .with("lives", member.word >> LIVES_SHIFT)
            .with("pending", Value::Hex(member.pending.into()))
            .with("changed", Value::Flag(member.changed)),
    )
}

/// [`State`] in words.
const STATES: [&str; State::Restarting as usize + 1] =
    ["down", "starting", "up", "paused", "leaving", "crashed", "restarting"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_words_that_their_numbers_stand_for() {
        use State::*;
        for state in [Down, Starting, Up, Paused, Leaving, Crashed, Restarting] {
            assert_eq!(STATES[state as usize], std::format!("{state:?}").to_lowercase());
        }
    }
}
