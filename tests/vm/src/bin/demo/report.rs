//! The report: a file for programs, a table for people.

use std::fs;
use std::path::Path;

use anyhow::Result;
use repave_controller_stub::TimelineEvent;
use repave_vm::Figures;
use serde_json::json;

use crate::screen::Screen;

/// The table's columns after an order was accepted, in the order of the road.
const EVENTS: [&str; 7] =
    ["written", "audited", "configured", "sealed", "armed", "left", "target-up"];
/// DESIGN's bar for the guest's uptime at its first status.
const FIRST_STATUS_BAR_MS: u64 = 3_000;

/// Writes `report.json`.
pub(crate) fn write(path: &Path, figures: &[Figures]) -> Result<()> {
    let servers: Vec<_> = figures
        .iter()
        .map(|figures| {
            json!({
                "id": figures.server,
                "name": figures.name,
                "timeline": figures.timeline,
                "first_status_uptimes_ms": figures.first_status_uptimes_ms,
                "peak_memory_kib": figures.peak_memory_kib,
            })
        })
        .collect();
    let report = json!({ "servers": servers });
    Ok(fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?)
}

/// Shows the roads as a table, seconds from the accepted order, and the bars.
pub(crate) fn show(figures: &[Figures], screen: &mut Screen) {
    screen.line("");
    let header: String = EVENTS.iter().map(|event| format!("{event:>11}")).collect();
    screen.line(&format!("{:7} {:7}{header}   (seconds after the order)", "server", "became"));
    for figures in figures {
        for road in roads(&figures.timeline) {
            let reached = |name: &str| road.iter().find(|event| event.event == name);
            let seconds = |name: &&str| match reached(name) {
                Some(event) => format!("{:11.1}", event.at_s - road[0].at_s),
                None => format!("{:>11}", "-"),
            };
            let columns: String = EVENTS.iter().map(seconds).collect();
            let became = road[0].server_type.as_deref().unwrap_or("?");
            screen.line(&format!("{:7} {became:7}{columns}", figures.name));
        }
    }
    screen.line("");
    for figures in figures {
        let uptimes = &figures.first_status_uptimes_ms;
        let seconds: Vec<String> =
            uptimes.iter().map(|ms| format!("{:.1} s", *ms as f64 / 1e3)).collect();
        let met = uptimes.iter().all(|ms| *ms <= FIRST_STATUS_BAR_MS);
        let verdict = if met { "met" } else { "MISSED" };
        screen.line(&format!(
            "{:7} first status at a guest uptime of {} (at most 3.0 s: {verdict}){}",
            figures.name,
            seconds.join(" and "),
            figures.memory_words(),
        ));
    }
    screen.line("");
}

/// The part of a timeline that belongs to each order.
fn roads(timeline: &[TimelineEvent]) -> Vec<&[TimelineEvent]> {
    let starts: Vec<usize> =
        (0..timeline.len()).filter(|&at| timeline[at].event == "directive-accepted").collect();
    let ends = starts.iter().skip(1).copied().chain([timeline.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &timeline[start..end]).collect()
}
