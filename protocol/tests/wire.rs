//! The wire as others see it, through the crate's public face only: golden bytes of every message
//! (`golden/`), a folder for each attack (`hostile/`), and what must hold for any message
//! (`properties/`). `REPAVE_BLESS=1 cargo test -p repave-protocol --test wire` rewrites the golden
//! files and the attack folders after a wanted change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod example;
mod golden;
mod hostile;
mod properties;
