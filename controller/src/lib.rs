//! The management controller and its command line.

pub mod authority;
pub mod cli;
pub mod fleet;
pub mod key_file;
