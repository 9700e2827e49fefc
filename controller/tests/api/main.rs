//! The operators' API as a client meets it: a daemon in this process with a database of its own,
//! spoken to over TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod daemon;
mod description;
mod ending;
mod limits;
mod page;
mod pool;
mod power;
#[path = "../common/python.rs"]
mod python;
mod repeats;
mod servers;
mod stream;
mod unread;
