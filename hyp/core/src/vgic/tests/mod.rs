//! Tests of the virtual interrupt controller.

mod delivery;
mod races;
mod registers;
mod v2;
