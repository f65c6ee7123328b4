//! Tests of the virtual interrupt controller.

mod cpu;
mod delivery;
mod guest;
mod model;
mod races;
mod random;
mod registers;
mod v2;
