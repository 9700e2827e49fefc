//! Fuzzes `repave_fuzz::gpt`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::gpt(data));
