//! What system tests are made of: a board to start, a console to talk to, and files to boot from.
//!
//! A test builds a [`Scene`] (a directory with a configuration, its bundle and a disk), starts a [`Target`] in it, and
//! from then on only reads and types what a user would. [`Target`] knows a board as something with a console and a
//! power switch ([`Board`]), so that the same tests run on each [`Machine`]: those that [`qemu`] emulates, and a board on a
//! shelf behind a [`serial`] port. The [`harness`] runs each test on each machine that it fits.
//!
//! One board runs at a time, because two emulated ones on a small machine are five times slower, and time-outs would
//! have to be told from hang-ups.

pub mod artefacts;
pub mod checksums;
pub mod config;
pub mod disk;
pub mod fuzz;
pub mod harness;
pub mod machine;
mod monitor;
pub mod qemu;
pub mod random;
pub mod report;
pub mod scene;
pub mod screen;
pub mod serial;
pub mod target;

pub use config::Guest;
pub use disk::Partition;
pub use machine::{Boot, EMULATED, EVERY, GICV3, Machine, RASPI4B, VIRT};
pub use qemu::{DiskFault, Qemu};
pub use scene::Scene;
pub use target::{Board, Target};
pub use tessera_control::Value;
