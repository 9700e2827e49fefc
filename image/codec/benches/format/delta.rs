//! What a target that holds the first image fetches to become one of the others, by chunk size: the
//! agent compares chunk by chunk at their places, and fetches those that differ and the whole index.

use anyhow::Result;
use repave_image::{ChunkDigest, limits, root_bytes_of};
use serde_json::json;
use zstd::bulk::Compressor;

use crate::images::Raw;
use crate::packs::RUN_CHUNKS;
use crate::table::{Report, Row, mib};
use crate::{CHUNK_BYTES, USUAL_LEVEL};

/// An entry of the index.
const ENTRY_BYTES: u64 = 56;

pub(crate) fn measure(images: &[Raw], report: &mut Report) -> Result<()> {
    for (number, image) in images.iter().enumerate() {
        // The first one comes onto a target that holds nothing of it.
        let old = (number > 0).then(|| &images[0]);
        let rows = CHUNK_BYTES.into_iter().map(|chunk_bytes| row(old, image, chunk_bytes));
        let rows = rows.collect::<Result<_>>()?;
        let from = old.map_or("nothing", Raw::name);
        report.add(&format!("from {from} to {}", image.name()), rows);
    }
    Ok(())
}

fn row(old: Option<&Raw>, new: &Raw, chunk_bytes: u32) -> Result<Row> {
    let before = old.map_or(Ok(Vec::new()), |old| old.digests(chunk_bytes))?;
    let after = new.digests(chunk_bytes)?;
    let differs = |chunk: usize| after[chunk].is_some() && before.get(chunk) != Some(&after[chunk]);
    let mut compressor = Compressor::new(USUAL_LEVEL)?;
    let (mut chunks, mut plain_bytes, mut frame_bytes) = (0_u64, 0, 0);
    // Those that follow each other lie behind each other in a pack, since they are new together.
    let (mut requests, mut run) = (0_u64, 0);
    for chunk in (0..after.len()).filter(|chunk| differs(*chunk)) {
        let bytes = new.read(chunk as u64 * u64::from(chunk_bytes), chunk_bytes)?;
        chunks += 1;
        plain_bytes += bytes.len() as u64;
        frame_bytes += compressor.compress(&bytes)?.len() as u64;
        let follows = chunk > 0 && differs(chunk - 1) && run < RUN_CHUNKS;
        run = if follows { run + 1 } else { 1 };
        requests += u64::from(run == 1);
    }
    let index_bytes = index_bytes(&after);
    Ok(vec![
        ("chunk KiB", json!(chunk_bytes >> 10)),
        ("stored chunks", json!(after.iter().flatten().count())),
        ("differ", json!(chunks)),
        ("written MiB", json!(mib(plain_bytes))),
        ("frames MiB", json!(mib(frame_bytes))),
        ("index MiB", json!(mib(index_bytes))),
        ("fetched MiB", json!(mib(frame_bytes + index_bytes))),
        ("requests", json!(requests)),
    ])
}

/// The root, and the pages that are stored.
fn index_bytes(digests: &[Option<ChunkDigest>]) -> u64 {
    let stored = digests
        .chunks(limits::PAGE_CHUNKS as usize)
        .filter(|page| page.iter().any(Option::is_some))
        .map(|page| page.len() as u64 * ENTRY_BYTES);
    let chunks = digests.len() as u64;
    root_bytes_of(chunks, limits::PAGE_CHUNKS) + stored.sum::<u64>()
}
