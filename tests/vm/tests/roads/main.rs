//! Roads on virtual machines, one program, so that they run side by side. Each has a lab of its
//! own; what takes longer than `make test` has is behind the feature `full`.

#[cfg(feature = "full")]
mod blocks;
mod boot;
#[cfg(feature = "full")]
mod boot_loaders;
mod database;
mod disks;
mod faults;
mod field_log;
mod firmware;
mod first_status;
#[cfg(feature = "full")]
mod full;
#[cfg(feature = "full")]
mod network;
#[cfg(feature = "full")]
mod panics;
mod refusals;
mod road;
#[cfg(feature = "full")]
mod swapped;
#[cfg(feature = "full")]
mod tables;
mod trust;
mod watchdog;
