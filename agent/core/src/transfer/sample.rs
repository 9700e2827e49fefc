//! Which chunks are looked at to find out whether a target shares anything with an image at all:
//! some of the stored ones, from all over it. Zeroes say nothing: a blank disk has them too.

use repave_image::Chunk;

use super::{Pages, TransferError};
use crate::image::{TrustedImage, Way};

/// Pages of the index that are looked into: of a large image, not all are fetched for this.
const PAGES: u64 = 8;
/// Chunks taken from each. If a twentieth of the image is on the target, all 64 miss it once in 27
/// times, and the price is that it is fetched.
const CHUNKS: usize = 8;

/// Up to 64 stored chunks, spread evenly but for what `seed` says.
pub(crate) fn samples(
    image: &TrustedImage,
    way: &mut Way<'_>,
    pages: &mut Pages,
    seed: u64,
) -> Result<Vec<u64>, TransferError> {
    let root = image.root();
    let stored: Vec<u64> = (0..root.pages()).filter(|&page| root.page(page).is_some()).collect();
    let index = &image.manifest().manifest().index;
    let mut samples = Vec::new();
    for number in spread(&stored, PAGES as usize, seed) {
        let first = number * u64::from(index.page_chunks);
        let end = index.chunks.min(first + u64::from(index.page_chunks));
        let Some(page) = pages.page_with(image, way, first)? else {
            continue;
        };
        let is_stored = |&chunk: &u64| matches!(page.chunk(chunk), Some(Chunk::Stored(_)));
        let chunks: Vec<u64> = (first..end).filter(is_stored).collect();
        samples.extend(spread(&chunks, CHUNKS, seed));
    }
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
