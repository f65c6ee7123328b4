//! `monitor_line` of `tessera_core::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tessera_fuzz::run("monitor_line", bytes));
