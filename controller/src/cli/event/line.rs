//! An event in words.

use repave_protocol::{ServerId, Side};

use crate::cli::server::doing;
use crate::fleet::EventKind;
use crate::views::EventView;

/// Sequence, time, server, kind, and what happened, by whom.
pub(super) fn line(event: &EventView) -> [String; 5] {
    let short = |id: &String| id.parse().map_or_else(|_| id.clone(), |id: ServerId| id.short());
    let mut what = words(&event.what);
    if let Some(actor) = &event.actor {
        what.push_str(&format!(" (by {actor})"));
    }
    [
        event.sequence.to_string(),
        event.at.clone(),
        event.server.as_ref().map_or_else(|| "-".into(), short),
        event.what.name().into(),
        what,
    ]
}

fn words(kind: &EventKind) -> String {
    let spare = |name: &Option<String>| name.clone().unwrap_or_else(|| "spare".into());
    match kind {
        EventKind::Enrolled { by } => format!("enrolled by {by}"),
        EventKind::Boot { side, uptime_ms } => {
            let side = match side {
                Side::Default => "default side",
                Side::Target => "target",
            };
            format!("{side} up, {:.1} s after its kernel began", *uptime_ms as f64 / 1e3)
        }
        EventKind::Standing { from, to, cause } => {
            format!("{} -> {}: {cause}", from.name(), doing(to))
        }
        EventKind::Decision { from, to, image, why } => {
            let image = image.as_ref().map(|image| format!(" ({image})")).unwrap_or_default();
            format!("{} -> {}{image}: {why}", spare(from), spare(to))
        }
        EventKind::Order { generation, order } => {
            format!("order {order}, generation {}", generation.0)
        }
        EventKind::Quarantine { image, code, count } => {
            format!("{image} quarantined after {count} failures, the last {code}")
        }
        EventKind::Watchdog { note, .. } | EventKind::Source { note, .. } => note.clone(),
        EventKind::Balancer { note } => note.clone(),
        EventKind::Power { action, outcome } => format!("{action}: {outcome}"),
        EventKind::Operator { action, subject, detail } => {
            let parts = [Some(action), subject.as_ref(), detail.as_ref()];
            parts.into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
        }
    }
}
