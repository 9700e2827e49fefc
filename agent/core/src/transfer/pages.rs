//! The pages of the chunk index that are in use: a few of them, so that memory does not grow with
//! the image, and the several passes over a small one fetch each page once.

use std::collections::VecDeque;

use repave_image::{Chunk, IndexPage};

use super::TransferError;
use crate::image::{TrustedImage, Way};

/// Pages kept: 4 GiB of image in chunks of 256 KiB, and 900 KiB of memory.
const KEPT: usize = 4;

/// Pages of one image's index; the one used last is in front.
#[derive(Debug, Default)]
pub(crate) struct Pages(VecDeque<(u64, IndexPage)>);

impl Pages {
    /// What a chunk of the image holds.
    pub(crate) fn chunk(
        &mut self,
        image: &TrustedImage,
        way: &mut Way<'_>,
        chunk: u64,
    ) -> Result<Chunk, TransferError> {
        match self.page_with(image, way, chunk)? {
            // A page that is not stored has zeroes only.
            None => Ok(Chunk::Zero),
            Some(page) => page.chunk(chunk).ok_or(TransferError::NoPlace { chunk }),
        }
    }

    /// The page with a chunk's entry; `None` if all its chunks are zero.
    pub(crate) fn page_with(
        &mut self,
        image: &TrustedImage,
        way: &mut Way<'_>,
        chunk: u64,
    ) -> Result<Option<&IndexPage>, TransferError> {
        let number = image.root().page_of(chunk);
        let place = self.0.iter().position(|(kept, _)| *kept == number);
        let page = match place.and_then(|place| self.0.remove(place)) {
            Some((_, page)) => page,
            None => match image.page_with(way, chunk)? {
                Some(page) => page,
                None => return Ok(None),
            },
        };
        self.0.truncate(KEPT - 1);
        self.0.push_front((number, page));
        Ok(self.0.front().map(|(_, page)| page))
    }
}
