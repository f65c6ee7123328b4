//! Tests of the virtual interrupt controller.

mod cpu;
mod delivery;
mod guest;
