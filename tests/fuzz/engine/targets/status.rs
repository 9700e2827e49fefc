//! Fuzzes `repave_fuzz::status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::status(data));
