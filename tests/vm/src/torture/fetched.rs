//! Whether a server fetched more than its disk lacked. A chunk may be fetched if it was not where it
//! belongs when the power came back; and the first one of each partition, whose head is blanked
//! whenever the target is written to.

use std::collections::HashSet;

use anyhow::{Context, Result};
use repave_controller_stub::Event;
use repave_image::Chunk;
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
            let there = before.digest(start..start + u64::from(place.len_bytes))? == chunk.sha256;
            all.insert(chunk.sha256);
            if !there || place.offset_bytes == 0 {
                missing.insert(chunk.sha256);
            }
            let pack = &image.oci.packs[chunk.pack as usize];
            if asked.contains(&(pack.sha256, chunk.offset_bytes)) {
                fetched.insert(chunk.sha256);
            }
        }
    }
    let needless = fetched.difference(&missing).count();
    let (chunks, missing, fetched) = (all.len(), missing.len(), fetched.len());
    Ok(Fetched { chunks, missing, fetched, needless })
}

/// Which blobs were asked for, from which byte on.
fn asked(events: &[Event]) -> HashSet<(Sha256, u64)> {
    let asked = events.iter().filter_map(|event| match event {
        Event::Blob { digest, range, .. } => Some((*digest, first_byte(range.as_deref()))),
        _ => None,
    });
    asked.collect()
}

/// Of a `Range` header; 0 where the whole is asked for.
fn first_byte(range: Option<&str>) -> u64 {
    let first = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next());
    first.and_then(|first| first.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_by_their_first_byte() {
        assert_eq!(first_byte(Some("bytes=512-1023")), 512);
        assert_eq!(first_byte(Some("bytes=7-")), 7);
        assert_eq!(first_byte(None), 0);
    }
}
