//! The sources (mirrors) that a server names as bad while it is purposed, and when that is news: once
//! for each source of a purposing. What makes a source bad is the server's to say.

use repave_protocol::{Generation, SourceReport, Standing as Said, Status, limits};
use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::server::Seen;

/// What was named in one purposing. It is kept until another one begins, so that it is still there to
/// be read when the target is up, and is no news when a failure is told again while the server waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSources {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<Generation>,
    /// Each with what it did last.
    pub reports: Vec<SourceReport>,
}

/// What is known after a status.
pub(super) fn known(status: &Status, before: Option<&Seen>) -> Option<Box<BadSources>> {
    let before = before.and_then(|seen| seen.bad_sources.as_deref());
    let is_purposing = matches!(status.standing, Said::Purposing { .. });
    let before = before.filter(|known| !is_purposing || known.generation == status.generation);
    let generation = before.map_or(status.generation, |known| known.generation);
    let mut reports = before.map_or_else(Vec::new, |known| known.reports.clone());
    for report in &status.bad_sources {
        // A server that names others in every status fills no record.
        let has_room = reports.len() < limits::SOURCES;
        match reports.iter_mut().find(|known| known.source == report.source) {
            Some(known) => known.clone_from(report),
            None if has_room => reports.push(report.clone()),
            None => {}
        }
    }
    (!reports.is_empty()).then(|| Box::new(BadSources { generation, reports }))
}

/// The sources that are known now and were not named in this purposing before.
pub(super) fn news(before: &Seen, now: &Seen) -> Vec<EventKind> {
    let Some(now) = &now.bad_sources else { return Vec::new() };
    let before = before.bad_sources.as_ref().filter(|known| known.generation == now.generation);
    let was_named = |report: &&SourceReport| {
        before.is_some_and(|known| known.reports.iter().any(|it| it.source == report.source))
    };
    let event = |SourceReport { source, lied, reason }: &SourceReport| {
        let (source, lied) = (source.clone(), *lied);
        let did = if lied { "is not asked any more, since it lied" } else { "failed repeatedly" };
        let note = format!("source {source} {did}: {reason}");
        EventKind::Source { source, lied, note }
    };
    now.reports.iter().filter(|report| !was_named(report)).map(event).collect()
}
