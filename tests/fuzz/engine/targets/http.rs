//! Fuzzes `repave_fuzz::http`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::http(data));
