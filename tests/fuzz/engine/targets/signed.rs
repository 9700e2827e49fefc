//! Fuzzes `repave_fuzz::signed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::signed(data));
