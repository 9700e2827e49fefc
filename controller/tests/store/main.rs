//! The store from outside, every case on each database that it can be kept in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commit;
mod crash;
mod events;
mod fixture;
mod lead;
mod pages;
#[path = "../common/postgres.rs"]
mod postgres;
mod races;
mod schema;
mod server;
mod tls;
mod told;
