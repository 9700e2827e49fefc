//! When the simulator's event is the dump's. Equal, but for two things, each with its reason:
//!
//! - **digests**: the image that a replay makes up has the shape of the field's and other bytes, and
//!   an order names it by its digest. So digests are not compared.
//! - **lengths of journal writes**: a record holds the server's key, and the trust document with the
//!   CA, neither of which is in a dump. So a write to the state partition is compared by its place.
//!
//! Times are not compared either; they are no part of an event.

use std::ops::Range;

use repave_core::event::{Call, Event};
use repave_core::journal::Record;
use repave_image::ImageManifest;
use repave_protocol::{Order, Sha256};

/// Whether two calls are the same. `state` is the state partition on disk 0.
pub(super) fn call(told: &Call, made: &Call, state: &Range<u64>) -> bool {
    match (told, made) {
        (
            Call::Write { disk: 0, offset_bytes, .. },
            Call::Write { disk: 0, offset_bytes: made, .. },
        ) if state.contains(offset_bytes) => offset_bytes == made,
        _ => told == made,
    }
}

/// Whether two events are.
pub(super) fn event(told: &Event, made: &Event, state: &Range<u64>) -> bool {
    match (told, made) {
        (Event::Call(told, reason), Event::Call(made, made_reason)) => {
            call(told, made, state) && reason == made_reason
        }
        (Event::Journal(Some((sequence, told))), Event::Journal(Some((made_sequence, made)))) => {
            sequence == made_sequence && record(told) == record(made)
        }
        (Event::Answered(generation, told), Event::Answered(made_generation, made)) => {
            generation == made_generation && order(told) == order(made)
        }
        (Event::Image(_, pages, told), Event::Image(_, made_pages, made)) => {
            pages == made_pages && manifest(told).is_some() && manifest(told) == manifest(made)
        }
        _ => told == made,
    }
}

fn no_digest() -> Sha256 {
    Sha256::from_bytes([0; 32])
}

fn record(record: &Record) -> Record {
    let mut record = record.clone();
    if let Some(accepted) = &mut record.accepted {
        accepted.digest = no_digest();
    }
    if let Some(purposing) = &mut record.purposing {
        purposing.manifest = no_digest();
    }
    if let Some(seal) = &mut record.seal {
        seal.manifest = no_digest();
    }
    record
}

fn order(order: &Order) -> Order {
    let mut order = order.clone();
    if let Order::Purpose(purpose) = &mut order {
        purpose.image.manifest = no_digest();
    }
    order
}

fn manifest(config: &str) -> Option<ImageManifest> {
    let mut manifest: ImageManifest = serde_json::from_str(config).ok()?;
    manifest.index.root_sha256 = no_digest();
    Some(manifest)
}
