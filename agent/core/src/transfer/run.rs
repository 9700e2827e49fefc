//! Turns the crank of a transfer: free buffers become jobs, completions become next jobs, index
//! pages are fetched when the schedule reaches them. On failure it first waits for the jobs under
//! way, since they own their buffers and may still write.

use std::collections::VecDeque;

use super::{Pages, Transfer, TransferError};
use crate::edges::{Host, Link, Slot, Workers};

/// Is told the bytes done.
pub(crate) type Watch<'a> = dyn FnMut(&mut dyn Link, &mut dyn Host, u64) + 'a;

/// What a transfer works with.
pub(crate) struct Hands<'a> {
    pub(crate) link: &'a mut dyn Link,
    pub(crate) host: &'a mut dyn Host,
    pub(crate) workers: &'a mut dyn Workers,
    pub(crate) pages: &'a mut Pages,
}

/// Runs `transfer` to its end. `watch` is told the bytes done after each completion.
pub(crate) fn run(
    transfer: &mut Transfer<'_>,
    hands: &mut Hands<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), TransferError> {
    let outcome = crank(transfer, hands, watch);
    if outcome.is_err() {
        let mut drained = std::mem::take(&mut transfer.tasks);
        while !drained.is_empty() {
            drained.remove(&hands.workers.reap().slot);
        }
    }
    outcome
}

fn crank(
    transfer: &mut Transfer<'_>,
    hands: &mut Hands<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), TransferError> {
    let mut free: VecDeque<Slot> = (0..hands.workers.slots()).map(Slot).collect();
    loop {
        while let (Some(&slot), Some(chunk)) = (free.front(), transfer.next_chunk()) {
            let content = hands.pages.chunk(transfer.image, hands.link, hands.host, chunk)?;
            let job =
                transfer.begin(slot, chunk, content).ok_or(TransferError::NoPlace { chunk })?;
            free.pop_front();
            hands.workers.submit(job);
        }
        if transfer.idle() {
            return Ok(());
        }
        let completion = hands.workers.reap();
        let slot = completion.slot;
        match transfer.complete(completion)? {
            Some(job) => hands.workers.submit(job),
            None => free.push_back(slot),
        }
        watch(hands.link, hands.host, transfer.done_bytes());
    }
}
