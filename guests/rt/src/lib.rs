//! Run-time of the bare-metal test guests.
//!
//! A guest of ours must tell what a machine does, down to the syndrome of a fault, and must do so the same way on bare
//! QEMU and under Tessera, so that a test that fails in one place and not in the other names the culprit. So this
//! crate is a machine's minimum and nothing else: an arm64 Image header and entry, exception vectors that can come back
//! from any fault ([`trap::attempt`]), an MMU with an identity map, the device tree, and thin drivers. It was an idea to
//! use an existing run-time crate; those end the program at the first unexpected exception, which here is the product.
//!
//! A guest is `tessera_rt::guest!(main);` and `fn main(machine: &'static Machine)`; its `build.rs` links with
//! `rt/image.ld`.
#![no_std]

pub mod console;
pub mod cpu;
pub mod dma;
pub mod exec;
pub mod fdt;
pub mod fp;
pub mod gic;
pub mod group;
pub mod machine;
pub mod mmio;
pub mod mmu;
pub mod psci;
pub mod report;
pub mod smp;
mod start;
pub mod timer;
pub mod trap;
pub mod virtio;

pub use machine::{GroupNode, Machine};
pub use tessera_abi as abi;

/// Makes `$main`, a `fn(&'static Machine)`, what the boot CPU runs; the machine is switched off when it returns.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[allow(unsafe_code, reason = "the run-time finds the guest's main function by this name")]
        #[unsafe(no_mangle)]
        fn rt_guest_main(machine: &'static $crate::Machine) {
            $main(machine)
        }
    };
}
