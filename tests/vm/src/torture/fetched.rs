//! Whether a server fetched more than its disk lacked. A chunk may be fetched if it was not where it
//! belongs when the power came back; and the first one of each partition, whose head is blanked
//! whenever the target is written to.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use repave_controller_stub::Event;
use repave_image::{Chunk, ChunkDigest};
use repave_image_codec::{Images, Library, StoredImage};
use repave_protocol::Sha256;
use serde::{Deserialize, Serialize};

use crate::raw_disk::RawDisk;

/// Chunks of an image, counted by their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// That hold anything.
    pub chunks: usize,
    /// That were not on the disk, or are the first of their partitions.
    pub missing: usize,
    /// That were fetched.
    pub fetched: usize,
    /// That were fetched although they were there.
    pub needless: usize,
}

/// Compares what was fetched (`events`) with what the disk lacked `before`; the partitions are where
/// they are `after`.
///
/// # Errors
/// Something cannot be read.
pub fn compare(
    library: &Library,
    image: &StoredImage,
    (before, after): (&RawDisk, &RawDisk),
    events: &[Event],
) -> Result<Fetched> {
    let asked = asked(events);
    let (mut all, mut missing, mut fetched) = (HashSet::new(), HashSet::new(), HashSet::new());
    let partitions = &image.manifest.manifest().partitions;
    let places = partitions.iter().map(|partition| after.place_of(partition.guid));
    let places = places.collect::<Result<Vec<_>>>()?;
    for page in (0..image.index.pages()).map(|page| library.index_page(image, page)) {
        let Some(page) = page? else { continue };
        for number in page.first_chunk().. {
            let Some(chunk) = page.chunk(number) else { break };
            let Chunk::Stored(chunk) = chunk else { continue };
            let place = image.manifest.place(number).context("a chunk without a place")?;
            let partition = places[place.partition].as_ref();
            let start = partition.context("a partition of the image is not there")?.start
                + place.offset_bytes;
            let found = before.bytes(start..start + u64::from(place.len_bytes))?;
            let there = ChunkDigest::of(&found) == chunk.digest;
            all.insert(chunk.digest);
            if !there || place.offset_bytes == 0 {
                missing.insert(chunk.digest);
            }
            let pack = &image.oci.packs[chunk.pack as usize];
            let is_it = |(blob, bytes): &(Sha256, RangeInclusive<u64>)| {
                *blob == pack.sha256 && bytes.contains(&chunk.offset_bytes)
            };
            if asked.iter().any(is_it) {
                fetched.insert(chunk.digest);
            }
        }
    }
    let needless = fetched.difference(&missing).count();
    let (chunks, missing, fetched) = (all.len(), missing.len(), fetched.len());
    Ok(Fetched { chunks, missing, fetched, needless })
}

/// Which bytes of which blobs were asked for. One request brings chunks that are neighbours.
fn asked(events: &[Event]) -> Vec<(Sha256, RangeInclusive<u64>)> {
    let asked = events.iter().filter_map(|event| match event {
        Event::Blob { digest, range, .. } => Some((*digest, bytes(range.as_deref()))),
        _ => None,
    });
    asked.collect()
}

/// Of a `Range` header; all of them where the whole is asked for.
fn bytes(range: Option<&str>) -> RangeInclusive<u64> {
    let ends = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (first, last) = ends.unwrap_or_default();
    first.parse().unwrap_or(0)..=last.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_by_both_ends() {
        assert_eq!(bytes(Some("bytes=512-1023")), 512..=1023);
        assert_eq!(bytes(Some("bytes=7-")), 7..=u64::MAX);
        assert_eq!(bytes(None), 0..=u64::MAX);
    }
}
