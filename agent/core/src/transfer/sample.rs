//! Which chunks are looked at to find out whether a target shares anything with an image at all:
//! some of the stored ones, from all over it. Zeroes say nothing: a blank disk has them too. And
//! which are read once more in the end, when they were read back behind the writing: a disk that
//! is smaller than it says has overwritten them since.

use repave_image::Chunk;

use super::{Pages, TransferError};
use crate::image::{TrustedImage, Way};
use crate::plan::Extent;

/// Pages of the index that are looked into: of a large image, not all are fetched for this.
const PAGES: usize = 8;
/// Chunks taken from all of them. If a twentieth of the image is on the target, they all miss it once in
/// 27 times, and the price is that it is fetched.
const CHUNKS: usize = 64;

/// What chunks are looked at for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sampling<'a> {
    /// To find out whether the target shares anything with the image.
    Shared,
    /// To find out whether what was read back is still there. Of a small image, no more than a quarter
    /// is read once more; and none of the first chunks, which may have been held back.
    Again(&'a [Extent]),
}

/// Up to [`CHUNKS`] stored chunks, spread evenly but for what `seed` says.
pub(crate) fn samples(
    sampling: Sampling<'_>,
    image: &TrustedImage,
    way: &mut Way<'_>,
    pages: &mut Pages,
    seed: u64,
) -> Result<Vec<u64>, TransferError> {
    let chunks = image.manifest().manifest().index.chunks;
    let (most, held_back) = match sampling {
        Sampling::Shared => (CHUNKS, [].as_slice()),
        Sampling::Again(extents) => (CHUNKS.min((chunks / 4) as usize), extents),
    };
    let root = image.root();
    let stored: Vec<u64> = (0..root.pages()).filter(|&page| root.page(page).is_some()).collect();
    let index = &image.manifest().manifest().index;
    let mut samples = Vec::new();
    let numbers = spread(&stored, PAGES, seed);
    let from_each = most.div_ceil(numbers.len().max(1));
    for number in numbers {
        let first = number * u64::from(index.page_chunks);
        let end = index.chunks.min(first + u64::from(index.page_chunks));
        let Some(page) = pages.page_with(image, way, first)? else {
            continue;
        };
        let is_stored = |&chunk: &u64| matches!(page.chunk(chunk), Some(Chunk::Stored(_)));
        let chunks: Vec<u64> = (first..end).filter(is_stored).collect();
        samples.extend(spread(&chunks, from_each, seed));
    }
    samples.retain(|chunk| held_back.iter().all(|extent| extent.first_chunk != *chunk));
    Ok(samples)
}

/// `count` of `all`, or all there are: one from each of `count` equal parts, at the same place in
/// each, so that they are in order and differ.
fn spread(all: &[u64], count: usize, seed: u64) -> Vec<u64> {
    let count = count.min(all.len());
    let part = |number: usize| number * all.len() / count..(number + 1) * all.len() / count;
    let place = |number: usize| {
        let part = part(number);
        part.start + (seed % part.len() as u64) as usize
    };
    (0..count).map(|number| all[place(number)]).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn samples_are_in_order_differ_and_come_from_everywhere() {
        for (length, count) in [(0, 8), (1, 8), (7, 8), (8, 8), (9, 8), (1000, 8), (4096, 8)] {
            let all: Vec<u64> = (0..length).map(|number| number * 3).collect();
            for seed in [0, 1, 12_345, u64::MAX] {
                let found = spread(&all, count, seed);
                assert_eq!(found.len(), count.min(all.len()));
                assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
                let gap = 3 * 2 * length.div_ceil(count as u64);
                assert!(found.windows(2).all(|pair| pair[1] - pair[0] <= gap), "{found:?}");
            }
        }
    }
}
