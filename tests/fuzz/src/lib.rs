//! What must hold for any bytes that reach a parser of Repave: one plain function for each family
//! of parsers, which panics when it does not hold. The fuzzer calls them (`tests/fuzz/engine`, `make
//! fuzz`), and so does an ordinary test, with every input that a fuzzer found worth keeping
//! (`tests/fuzz/corpus`). How they are run and what they found is in `docs/fuzzing.md`.

mod config;
mod dhcp;
mod efi;
mod gpt;
mod http;
mod image;
mod input;
mod journal;
mod loader;
mod memory_disk;
mod signed;
#[cfg(feature = "controller")]
mod status;

pub use config::config;
pub use dhcp::dhcp;
pub use efi::efi;
pub use gpt::gpt;
pub use http::http;
pub use image::image;
pub use journal::journal;
pub use loader::loader;
pub use signed::signed;
#[cfg(feature = "controller")]
pub use status::status;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("dhcp", dhcp),
    ("efi", efi),
    ("gpt", gpt),
    ("http", http),
    ("image", image),
    ("journal", journal),
    ("loader", loader),
    ("signed", signed),
    #[cfg(feature = "controller")]
    ("status", status),
];
