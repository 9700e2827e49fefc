//! Fuzzes `repave_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::config(data));
