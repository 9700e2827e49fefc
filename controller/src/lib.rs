//! The management controller and its command line: the daemon `repave-controller`, the command
//! `repave`, and the library under both.

pub mod api;
pub mod authority;
pub mod balance;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod engine;
pub mod fleet;
pub mod key_file;
pub mod owner_only;
pub mod policy;
pub mod power;
pub mod records;
pub mod store;
