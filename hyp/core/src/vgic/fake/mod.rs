//! For tests: a guest's interrupt controller on fake cores.

mod cpu;
mod guest;

pub(crate) use cpu::{FakeCpu, INTID, SPURIOUS};
#[cfg(test)]
pub(crate) use guest::pulse;
pub(crate) use guest::{GICR_STRIDE, Guest, SGI};
