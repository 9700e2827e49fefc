//! Roads on virtual machines, one program, so that they run side by side. Each has a lab of its
//! own; what takes longer than `make test` has is behind the feature `full`.

mod boot;
mod database;
mod faults;
mod field_log;
mod first_status;
#[cfg(feature = "full")]
mod full;
mod refusals;
mod road;
mod trust;
mod watchdog;
