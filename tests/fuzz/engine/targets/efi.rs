//! Fuzzes `repave_fuzz::efi`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::efi(data));
