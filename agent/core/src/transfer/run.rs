//! Turns the crank of a transfer: free buffers become jobs, completions become next jobs, index
//! pages are fetched when the schedule reaches them. On failure it first waits for the jobs under
//! way, since they own their buffers and may still write.

use std::collections::VecDeque;

use repave_image::Chunk;

use super::{Pages, Transfer, TransferError};
use crate::edges::{Slot, Workers};
use crate::event::Event;
use crate::image::Way;

/// Buffers that are free before the next chunks are begun, all together: chunks that are neighbours
/// in a pack are then asked for at the same time, and one request can bring them.
const BATCH: usize = 16;

/// Is told the bytes done, and by which way more of them come.
pub type Watch<'a> = dyn FnMut(&mut Way<'_>, u64) + 'a;

/// What a transfer works with.
pub(crate) struct Hands<'a> {
    pub(crate) way: Way<'a>,
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
    let slots = hands.workers.slots();
    let batch = (slots / 4).clamp(1, BATCH);
    let mut free: VecDeque<Slot> = (0..slots).map(Slot).collect();
    loop {
        let is_worth_it = free.len() >= batch;
        while is_worth_it
            && let Some(&slot) = free.front()
            && let Some(job) = transfer.begin_behind(slot, slots)
        {
            free.pop_front();
            hands.workers.submit(job);
        }
        while is_worth_it && let (Some(&slot), Some(chunk)) = (free.front(), transfer.next_chunk())
        {
            let image = transfer.image;
            let mut look_up = |chunk| hands.pages.chunk(image, &mut hands.way, chunk);
            let content = look_up(chunk)?;
            let is_zero = |chunk| Ok(look_up(chunk)? == Chunk::Zero);
            let chunks = transfer.chunks_of_job((chunk, content), is_zero)?;
            let job = transfer.begin(slot, (chunk, chunks, content), hands.way.mirrors);
            let job = job.ok_or(TransferError::NoPlace { chunk })?;
            free.pop_front();
            hands.workers.submit(job);
        }
        if transfer.idle() {
            return Ok(());
        }
        let completion = hands.workers.reap();
        let slot = completion.slot;
        if let Some((chunk, outcome)) = transfer.outcome(&completion) {
            hands.way.host.saw(Event::Job(chunk, slot.0, outcome));
        }
        match transfer.complete(completion, hands.way.mirrors)? {
            Some(job) => hands.workers.submit(job),
            None => free.push_back(slot),
        }
        watch(&mut hands.way, transfer.done_bytes());
    }
}
