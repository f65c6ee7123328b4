//! What touches hardware: the hypervisor image. The only crate with assembly and `unsafe` of the hypervisor; what to do
//! is decided in `tessera-core`.
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "each block says why it is sound; the other crates of the hypervisor have none"
)]

extern crate alloc;

mod accounts;
mod barrier;
mod boot;
mod cache;
mod care;
mod console;
mod cpu;
mod el1;
mod gic;
mod guests;
mod hw;
mod id;
mod interrupt;
mod lines;
mod mailbox;
mod main_loop;
mod memory;
mod monitor;
mod panic;
mod pointer_keys;
mod power;
mod provoke;
mod pulse;
mod run;
mod seat;
mod shared;
mod sysreg;
mod timer;
mod tlb;
mod usage;
