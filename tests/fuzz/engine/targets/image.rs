//! Fuzzes `repave_fuzz::image`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::image(data));
