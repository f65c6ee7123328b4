//! The monitor: whoever looks after the board asks here, a person at a prompt or a program by lines.
//!
//! Problem: a person wants tables and a line that can be edited; a program wants objects and no surprises; both are to
//! see the same, on the one UART that guests use too, and a guest may be allowed to look after its neighbours. Nothing
//! may stop or slow down meanwhile.
//!
//! Idea: a verb's answer is a sequence of records ([`record`]), made one at a time when there is room to show it
//! ([`answer`]). [`shell`] shows them to a person, [`session`] to a program; neither knows what carries its bytes; [`Terminal`]
//! is both at the board's UART. What
//! they ask of the board is the trait [`World`].
//!
//! Locking: a shell or a session is behind a lock of its own, taken before every other; [`World`] takes what it needs.

mod answer;
#[cfg(any(test, feature = "fake"))]
pub(crate) mod fake;
mod json;
mod line;
mod record;
mod session;
mod shell;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod verbs;
mod world;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::group::Group;

pub use record::{Layout, Record, Value};
pub use session::{REQUEST_MAX, Session};
pub use shell::{Shell, Wish};
pub use terminal::{Port, Terminal};
pub use text::{Size, Time, title};
pub use verbs::{Asker, Command, Verb};
pub use world::{DiskFacts, Event, Events, LineFacts, Memory, World};

/// What a verb can be about.
struct Names<'a> {
    /// Guests, in their order.
    guests: Vec<&'a str>,
    /// Groups, in theirs.
    groups: Vec<&'a str>,
}

fn names(world: &impl World) -> Names<'_> {
    Names {
        guests: world.guests().iter().map(|guest| guest.name()).collect(),
        groups: groups(world).iter().map(|group| group.name.as_str()).collect(),
    }
}

/// The groups that guests are in, in the order of the guests. It is the same as long as the board runs.
#[inline(never)]
fn groups(world: &impl World) -> Vec<&Arc<Group>> {
    let mut groups: Vec<&Arc<Group>> = Vec::new();
    for share in world.guests().iter().flat_map(|guest| &guest.groups) {
        if !groups.iter().any(|group| Arc::ptr_eq(group, &share.group)) {
            groups.push(&share.group);
        }
    }
    groups
}
