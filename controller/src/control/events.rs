//! What happened, in pages.

use super::{Control, ControlError};
use crate::fleet::Event;
use crate::records;
use crate::store::{EventFilter, EventRow};

impl Control {
    /// Events behind sequence `after`, oldest first, each with its sequence.
    pub async fn events(
        &self,
        filter: &EventFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Event)>, ControlError> {
        parsed(&self.store.events(filter, after, limit).await?)
    }

    /// Events below sequence `before`, newest first, each with its sequence.
    pub async fn newest_events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, Event)>, ControlError> {
        parsed(&self.store.newest_events(filter, before, limit).await?)
    }
}

fn parsed(rows: &[EventRow]) -> Result<Vec<(i64, Event)>, ControlError> {
    rows.iter().map(|row| Ok((row.sequence, records::event_of(row)?))).collect()
}
