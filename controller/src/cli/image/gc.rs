//! `repave image gc`: throwing away what no listed image needs.

use repave_image_codec::Library;

use super::{MIB, Output};
use crate::cli::{Failure, print, print_json};

pub(super) fn run(dry_run: bool, output: &Output) -> Result<(), Failure> {
    let collected = {
        let way_out = "a registry collects its own garbage";
        let folder = output.place.folder("gc", way_out)?;
        Library::open(folder)?.collect(dry_run)?
    };
    if output.json {
        return print_json(&collected);
    }
    let what = if dry_run { "would be thrown away" } else { "thrown away" };
    print(&format!(
        "{} blobs ({:.1} MiB) {what}, {} ({:.1} MiB) kept",
        collected.removed_blobs,
        collected.removed_bytes as f64 / MIB,
        collected.kept_blobs,
        collected.kept_bytes as f64 / MIB,
    ))
}
