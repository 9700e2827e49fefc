//! Random numbers, drawn at the edge and handed to whatever needs them.

use std::fmt::Write;

use rustix::rand::{GetRandomFlags, getrandom};

/// 32 bytes that nobody can guess.
pub fn bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    // Until it is done: the call gives 32 bytes whole or, cut short by a signal, none.
    while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
    bytes
}

/// The same as 64 hexadecimal digits.
pub fn hex() -> String {
    bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
