//! Fuzzes `repave_fuzz::loader`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::loader(data));
