//! What decides. Every decision of the hypervisor is a function in this crate: safe Rust without hardware, clock or
//! global state, so that it runs, and is tested, on any host. What it needs from the machine it asks of [`hw::Hw`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod attention;
pub mod board;
pub mod bucket;
pub mod bundle;
pub mod config;
pub mod console;
pub mod control;
pub mod counters;
pub mod deadlines;
pub mod disk;
pub mod errand;
pub mod exit;
pub mod fdt;
pub mod frames;
#[cfg(any(test, feature = "fake"))]
pub mod fuzz;
pub mod group;
pub mod guest;
pub mod guest_dt;
pub mod guest_mem;
pub mod hw;
pub mod id_regs;
pub mod image;
pub mod inject;
pub mod life;
pub mod lock;
pub mod machine;
pub mod monitor;
pub mod paging;
pub mod pl061;
pub mod psci;
pub mod pulse;
pub mod sched;
pub mod serror;
pub mod smccc;
pub mod snapshot;
mod sort;
pub mod stage2;
pub mod steal;
pub mod storm;
pub mod sysreg;
pub mod trace;
pub mod trng;
pub mod usage;
pub mod vcpu;
pub mod vgic;
pub mod virtio;
pub mod vm;
pub mod vtimer;
pub mod vuart;
pub mod watchdog;
mod words;
