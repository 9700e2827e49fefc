//! Fuzzes `repave_fuzz::dhcp`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| repave_fuzz::dhcp(data));
