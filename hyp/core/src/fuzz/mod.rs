//! One entry for each thing that takes bytes from a guest or a user: [`TARGETS`].
//!
//! Problem: a fuzzer, a loop in `cargo test` and the replay of what once failed should all do the same with the bytes
//! that they have. Idea: an entry is a function from bytes to a verdict. It takes them for a file, or for a program of a
//! guest's accesses, and compares what comes of it with a model, or with what must always be true. Who feeds it is not
//! its business: `cargo test` does with seeded noise, `tests/fuzz` by what the last input reached.

mod button;
mod bytes;
mod control;
mod exits;
mod files;
mod gpio;
mod monitor;
mod queue;
mod trees;
mod vgic;
mod virtio;
mod vuart;
mod watchdog;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use bytes::input;
pub(crate) use bytes::{Choices, Random};

/// Something that takes bytes from outside.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes the bytes, and panics where something is wrong. Returns how much of them was good for something, so that a
    /// loop that tests nothing is found out.
    pub run: fn(&[u8]) -> usize,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "board", run: trees::board, seeds: trees::board_seeds },
    Target { name: "bundle", run: trees::bundle, seeds: trees::bundle_seeds },
    Target { name: "config", run: trees::config, seeds: trees::config_seeds },
    Target { name: "control_port", run: control::run, seeds: control::seeds },
    Target { name: "exits", run: exits::run, seeds: exits::seeds },
    Target { name: "fdt", run: trees::fdt, seeds: trees::board_seeds },
    Target { name: "gpio", run: gpio::run, seeds: gpio::seeds },
    Target { name: "kernel", run: files::kernel, seeds: files::kernel_seeds },
    Target { name: "monitor_line", run: monitor::line, seeds: monitor::line_seeds },
    Target { name: "monitor_protocol", run: monitor::protocol, seeds: monitor::protocol_seeds },
    Target { name: "partitions", run: files::partitions, seeds: files::partition_seeds },
    Target { name: "power_button", run: button::run, seeds: button::seeds },
    Target { name: "vgic_any", run: vgic::any_accesses, seeds: vgic::seeds },
    Target { name: "vgic_v2", run: vgic::v2, seeds: vgic::seeds },
    Target { name: "vgic_v3", run: vgic::v3, seeds: vgic::seeds },
    Target { name: "virtio_blk", run: virtio::blk, seeds: virtio::seeds },
    Target { name: "virtio_queue", run: queue::run, seeds: queue::seeds },
    Target { name: "vuart", run: vuart::run, seeds: vuart::seeds },
    Target { name: "watchdog", run: watchdog::run, seeds: watchdog::seeds },
];
