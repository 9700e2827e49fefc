//! Turns the crank of a transfer: free buffers become jobs, completions become next jobs, index
//! pages are fetched when the schedule reaches them. On failure it first waits for the jobs under
//! way, since they own their buffers and may still write.

use std::collections::VecDeque;

use repave_image::{Chunk, IndexPage};

use super::{Transfer, TransferError};
use crate::edges::{Host, Link, Slot, Workers};
use crate::image::TrustedImage;

/// Is told the bytes done.
pub(crate) type Watch<'a> = dyn FnMut(&mut dyn Link, &mut dyn Host, u64) + 'a;

/// Runs `transfer` to its end. `watch` is told the bytes done after each completion.
pub(crate) fn run(
    transfer: &mut Transfer<'_>,
    link: &mut dyn Link,
    host: &mut dyn Host,
    workers: &mut dyn Workers,
    watch: &mut Watch<'_>,
) -> Result<(), TransferError> {
    let outcome = crank(transfer, link, host, workers, watch);
    if outcome.is_err() {
        let mut drained = std::mem::take(&mut transfer.tasks);
        while !drained.is_empty() {
            drained.remove(&workers.reap().slot);
        }
    }
    outcome
}

fn crank(
    transfer: &mut Transfer<'_>,
    link: &mut dyn Link,
    host: &mut dyn Host,
    workers: &mut dyn Workers,
    watch: &mut Watch<'_>,
) -> Result<(), TransferError> {
    let mut free: VecDeque<Slot> = (0..workers.slots()).map(Slot).collect();
    let mut pages = Pages::default();
    loop {
        while let (Some(&slot), Some(chunk)) = (free.front(), transfer.next_chunk()) {
            let content = pages.chunk(transfer.image, link, host, chunk)?;
            let job =
                transfer.begin(slot, chunk, content).ok_or(TransferError::NoPlace { chunk })?;
            free.pop_front();
            workers.submit(job);
        }
        if transfer.idle() {
            return Ok(());
        }
        let completion = workers.reap();
        let slot = completion.slot;
        match transfer.complete(completion)? {
            Some(job) => workers.submit(job),
            None => free.push_back(slot),
        }
        watch(link, host, transfer.done_bytes());
    }
}

/// The one index page that is in use, so that memory does not grow with the image.
#[derive(Default)]
struct Pages {
    current: Option<(u64, Option<IndexPage>)>,
}

impl Pages {
    fn chunk(
        &mut self,
        image: &TrustedImage,
        link: &mut dyn Link,
        host: &mut dyn Host,
        chunk: u64,
    ) -> Result<Chunk, TransferError> {
        let number = image.root().page_of(chunk);
        let page = match self.current.take() {
            Some((current, page)) if current == number => page,
            _ => image.page_with(link, host, chunk)?,
        };
        let content = match &page {
            // A page that is not stored has zeroes only.
            None => Some(Chunk::Zero),
            Some(page) => page.chunk(chunk),
        };
        self.current = Some((number, page));
        content.ok_or(TransferError::NoPlace { chunk })
    }
}
