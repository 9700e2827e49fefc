//! What an image's format costs and saves on real bytes: chunk size, compression level, digest, index
//! encoding, pack size. `make bench-format`; its figures and what was chosen by them are in
//! docs/decisions/0024. How fast images are written is not measured here: `make bench` does.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "format/chunks.rs"]
mod chunks;
#[path = "format/delta.rs"]
mod delta;
#[path = "format/digests.rs"]
mod digests;
#[path = "format/images.rs"]
mod images;
#[path = "format/index.rs"]
mod index;
#[path = "format/packs.rs"]
mod packs;
#[path = "format/table.rs"]
mod table;

use std::path::Path;

use anyhow::{Context, Result};

use images::Raw;
use table::Report;

/// Chunk sizes that are compared: all that the format allows.
const CHUNK_BYTES: [u32; 7] =
    [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];
/// The one for which packs and index are looked at.
const USUAL_CHUNK_BYTES: u32 = repave_image_codec::CHUNK_BYTES;
/// The importer's level, for whatever is not about levels.
const USUAL_LEVEL: i32 = 3;

fn main() -> Result<()> {
    // `cargo bench` passes flags of its own; words are raw images, the first the one that is there
    // before the others.
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let images = Raw::open_all(words.map(Into::into).collect())?;
    let mut report = Report::new(&images);
    digests::measure(&mut report);
    chunks::measure(&images[0], &mut report)?;
    delta::measure(&images, &mut report)?;
    let shelf = packs::measure(&images, &mut report)?;
    index::measure(&shelf, &mut report)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/bench");
    report.write(&folder.join("format.json")).context("cannot write the report")
}
