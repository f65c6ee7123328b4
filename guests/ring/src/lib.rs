//! Messages and barriers between the members of a group (`docs/groups.md`).
//!
//! Members are other guests: one may lie, stop in the middle of anything, or begin a new life. So what is read from the region is
//! only ever a number that is checked here, an index that matters is kept in memory of one's own, and whoever waits for another
//! looks at the membership page, which no guest can write. A member that lies can withhold its messages or send false ones, and
//! can pass a barrier before its time: nothing more.
//!
//! The region is given as a slice of atomic words, so all of this is safe Rust and runs as threads of a host just as well. How
//! a guest rings, sleeps and reads the membership page is what it implements [`Peers`] with. It was an idea to count messages in
//! bytes; words are what is copied anyway.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod barrier;
mod mesh;
#[cfg(test)]
mod model;
mod spsc;
mod view;

pub use barrier::{Barrier, Broken, Joined, LINE};
pub use mesh::{Mesh, mesh_words};
pub use spsc::{HEADER, ReceiveError, Receiver, SendError, Sender};
pub use view::View;

/// Most members of a group.
pub const MAX_MEMBERS: usize = tessera_abi::group::MAX_MEMBERS;

/// What a member has of its group beside the region.
pub trait Peers {
    /// The own index.
    fn me(&self) -> usize;
    /// How many members there are, whatever their state: [`MAX_MEMBERS`] at most.
    fn members(&self) -> usize;
    /// The membership page's generation.
    fn generation(&self) -> u64;
    /// A member's word of the membership page.
    fn word(&self, index: usize) -> u64;
    /// Rings a member, which then sees what was stored before.
    fn ring(&self, index: usize);
    /// Waits until there may be something new: a ring or a change since the last call, or a while. `false` gives up waiting.
    fn pause(&self) -> bool;
}
