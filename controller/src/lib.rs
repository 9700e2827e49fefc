//! The management controller and its command line: the daemon `repave-controller`, the command
//! `repave`, and the library under both. What decides here is pure: a declared
//! [`policy`], the [`balance`] between what it wants and what the fleet is, and a
//! [simulation](simulate) of both. The rest reads keys and the image library.

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
pub mod library_place;
pub mod metrics;
pub mod owner_only;
mod page;
pub mod policy;
pub mod power;
pub mod records;
pub mod shelf;
pub mod simulate;
pub mod store;
pub mod views;
