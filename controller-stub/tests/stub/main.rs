//! The stub from outside: over real HTTPS, with servers made by hand (`bench`), and its oracle fed
//! with histories that no honest server makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod bench;
mod faults;
mod https;
mod oracle;
