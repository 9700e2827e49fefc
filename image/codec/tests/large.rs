//! Images as large as disks get: what is a hole in the source is not read, and what has too many
//! chunks for an index is refused before anything of it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{BARE_BOOT, Bench, MIB};
use repave_image_codec::{
    Images as _, ImportError, ImportOptions, Imported, Source, import_source,
};

const TIB: u64 = 1 << 40;
const TAIL_BYTES: u64 = 4096;

/// A file system at the beginning, a block of noise at the end, and a hole in between.
struct Sparse {
    head: Vec<u8>,
    size_bytes: u64,
    read_bytes: AtomicU64,
}

impl Sparse {
    fn new(bench: &Bench, size_bytes: u64) -> Arc<Self> {
        let head = common::ext4(bench, 16 * MIB);
        Arc::new(Self { head, size_bytes, read_bytes: AtomicU64::new(0) })
    }

    fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
}

impl Source for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        self.read_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        for (at, byte) in (offset_bytes..).zip(buffer) {
            let in_head = usize::try_from(at).ok().and_then(|at| self.head.get(at));
            let in_tail = if at < self.size_bytes - TAIL_BYTES { 0 } else { 0x5a };
            *byte = in_head.copied().unwrap_or(in_tail);
        }
        Ok(())
    }

    fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        let is_head = offset_bytes < self.head.len() as u64;
        let tail = self.size_bytes - TAIL_BYTES;
        Ok(Some(if is_head { offset_bytes } else { tail.max(offset_bytes) }))
    }
}

fn import(bench: &Bench, source: &Arc<Sparse>) -> Result<Imported, ImportError> {
    let descriptor = bench.descriptor(BARE_BOOT)?;
    let options = ImportOptions::new("large", 1);
    let source = Arc::clone(source) as Arc<dyn Source>;
    import_source(source, &descriptor, &options, &bench.library, &bench.key, &mut |_| {})
}

#[test]
fn two_tebibytes_of_holes_are_not_read_and_the_last_block_is() {
    let bench = Bench::new();
    let source = Sparse::new(&bench, 2 * TIB);
    let imported = import(&bench, &source).unwrap();
    assert_eq!(imported.summary.chunks, 8 << 20);
    assert!(source.read_bytes() < 64 * MIB, "{} bytes were read", source.read_bytes());
    // The root, the first page and the last.
    assert_eq!(imported.summary.index_bytes, 32 + 2048 * 32 + 2 * 4096 * 56);
    let stored = bench.library.read(&imported.reference).unwrap();
    let pages = 0..stored.index.pages();
    let stored_pages: Vec<u64> = pages.filter(|page| stored.index.page(*page).is_some()).collect();
    assert_eq!(stored_pages, [0, 2047]);
}

#[test]
fn more_chunks_than_an_index_may_have_are_refused_with_a_way_out() {
    let bench = Bench::new();
    let source = Sparse::new(&bench, 32 * TIB + 4096 * 256 * 1024);
    let error = import(&bench, &source).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("take larger chunks"), "{error}: {cause}");
    assert!(source.read_bytes() < MIB, "{} bytes were read", source.read_bytes());
}
