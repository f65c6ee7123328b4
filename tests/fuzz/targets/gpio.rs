//! `gpio` of `tessera_core::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tessera_fuzz::run("gpio", bytes));
