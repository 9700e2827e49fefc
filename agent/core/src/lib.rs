//! What the agent decides; it does nothing itself. Disks, firmware, network, power, settings, time
//! and chance are traits that are passed in ([`edges`]); here are the states, the plan, the
//! transfer's schedule, the journal's records, partition tables, boot variables and boot methods.
//!
//! The core never opens a file, reads a clock or draws a random number.

pub mod agent;
pub mod alone;
mod answer;
mod backoff;
pub mod boot;
pub mod config;
pub mod default_side;
mod durable;
pub mod edges;
pub mod efi;
pub mod event;
pub mod failure;
pub mod gpt;
pub mod home;
pub mod image;
pub mod journal;
pub mod mirrors;
#[cfg(test)]
mod misread;
pub mod plan;
pub mod report;
pub mod resident;
pub mod road;
pub mod settings;
mod survey;
pub mod transfer;
pub mod trust;
pub mod watchdog;
pub mod wipe;
pub mod witness;
