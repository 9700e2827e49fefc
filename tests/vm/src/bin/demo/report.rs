//! The report: a file for programs, a table for people. All of it comes from the controller's
//! events, but for the power button and what the agent says of its memory on the console.

use std::fs;
use std::path::Path;

use anyhow::Result;
use repave_controller::fleet::{EventKind, Standing};
use repave_controller::views::EventView;
use repave_protocol::{Side, Stage};
use repave_vm::{memory_words, peak_memory_kib};
use serde::Serialize;
use serde_json::json;

use crate::pool::Pool;
use crate::screen::Screen;

/// The table's columns after an order was accepted, in the order of the road.
const EVENTS: [&str; 7] =
    ["written", "audited", "configured", "sealed", "armed", "left", "target-up"];
/// DESIGN's bar for the guest's uptime at its first status.
const FIRST_STATUS_BAR_MS: u64 = 3_000;

/// One line of a server's timeline.
#[derive(Clone, Debug, Serialize)]
struct Line {
    event: &'static str,
    at_s: f64,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    server_type: Option<String>,
}

/// What one server did.
#[derive(Clone, Debug, Serialize)]
struct Server {
    id: String,
    name: String,
    timeline: Vec<Line>,
    first_status_uptimes_ms: Vec<u64>,
    peak_memory_kib: Option<u64>,
}

/// What was decided.
#[derive(Clone, Debug, Serialize)]
struct Decision {
    at_s: f64,
    server: String,
    from: Option<String>,
    to: Option<String>,
    why: String,
}

/// Writes `report.json`, and shows it as tables.
pub(crate) fn report(pool: &Pool<'_>, path: &Path, screen: &mut Screen) -> Result<()> {
    let begin_ms = pool.nodes.iter().map(|node| node.powered_on_ms).min().unwrap_or_default();
    let seconds = |at_ms: u64| at_ms.saturating_sub(begin_ms) as f64 / 1e3;
    let mut servers = Vec::new();
    for node in &pool.nodes {
        let own: Vec<&EventView> = pool
            .events
            .iter()
            .filter(|event| event.server.as_ref().is_some_and(|id| pool.name_of(id) == node.name))
            .collect();
        let mut timeline =
            vec![Line { event: "power-on", at_s: seconds(node.powered_on_ms), server_type: None }];
        timeline.extend(lines(&own, &seconds));
        let boots = own.iter().filter_map(|event| match event.what {
            EventKind::Boot { side: Side::Default, uptime_ms } => Some(uptime_ms),
            _ => None,
        });
        servers.push(Server {
            id: own.first().and_then(|event| event.server.clone()).unwrap_or_default(),
            name: node.name.clone(),
            timeline,
            first_status_uptimes_ms: boots.collect(),
            peak_memory_kib: node.console()?.iter().filter_map(|line| peak_memory_kib(line)).max(),
        });
    }
    let decision = |event: &EventView| match &event.what {
        EventKind::Decision { from, to, why, .. } => Some(Decision {
            at_s: seconds(event.at_ms),
            server: pool.name_of(event.server.as_deref().unwrap_or_default()),
            from: from.clone(),
            to: to.clone(),
            why: why.clone(),
        }),
        _ => None,
    };
    let decisions: Vec<Decision> = pool.events.iter().filter_map(decision).collect();
    let report = json!({ "servers": servers, "decisions": decisions });
    fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    show(&servers, &decisions, screen);
    Ok(())
}

/// The timeline out of a server's events.
fn lines(events: &[&EventView], seconds: &impl Fn(u64) -> f64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut server_type = None;
    for event in events {
        let name = match &event.what {
            EventKind::Boot { side: Side::Default, .. } => "first-status",
            EventKind::Decision { to, .. } => {
                server_type = to.clone();
                continue;
            }
            EventKind::Standing { to, .. } => match to {
                Standing::Purposing { stage, .. } => match stage {
                    Stage::Accepted => "directive-accepted",
                    Stage::Written => "written",
                    Stage::Audited => "audited",
                    Stage::Configured => "configured",
                    Stage::Sealed => "sealed",
                    Stage::Armed => "armed",
                    Stage::Planned | Stage::Unsealed => continue,
                },
                Standing::Booting => "left",
                Standing::Up => "target-up",
                _ => continue,
            },
            _ => continue,
        };
        let server_type = server_type.clone();
        lines.push(Line { event: name, at_s: seconds(event.at_ms), server_type });
    }
    lines
}

fn show(servers: &[Server], decisions: &[Decision], screen: &mut Screen) {
    screen.line("");
    let header: String = EVENTS.iter().map(|event| format!("{event:>11}")).collect();
    screen.line(&format!("{:7} {:7}{header}   (seconds after the order)", "server", "became"));
    for server in servers {
        for road in roads(&server.timeline) {
            let reached = |name: &&str| match road.iter().find(|line| line.event == *name) {
                Some(line) => format!("{:11.1}", line.at_s - road[0].at_s),
                None => format!("{:>11}", "-"),
            };
            let columns: String = EVENTS.iter().map(reached).collect();
            let became = road[0].server_type.as_deref().unwrap_or("?");
            screen.line(&format!("{:7} {became:7}{columns}", server.name));
        }
    }
    screen.line("");
    screen.line(&format!("{:>7} {:7} {:14} why", "at", "server", "decision"));
    for Decision { at_s, server, from, to, why } in decisions {
        let name = |server_type: &Option<String>| server_type.clone().unwrap_or("spare".into());
        let decision = format!("{} -> {}", name(from), name(to));
        screen.line(&format!("{at_s:6.1}s {server:7} {decision:14} {why}"));
    }
    screen.line("");
    for server in servers {
        let uptimes = &server.first_status_uptimes_ms;
        let seconds: Vec<String> =
            uptimes.iter().map(|ms| format!("{:.1} s", *ms as f64 / 1e3)).collect();
        let met = uptimes.iter().all(|ms| *ms <= FIRST_STATUS_BAR_MS);
        screen.line(&format!(
            "{:7} first status at a guest uptime of {} (at most 3.0 s: {}){}",
            server.name,
            seconds.join(", "),
            if met { "met" } else { "MISSED" },
            memory_words(server.peak_memory_kib),
        ));
    }
    screen.line("");
}

/// The part of a timeline that belongs to each order.
fn roads(timeline: &[Line]) -> Vec<&[Line]> {
    let starts: Vec<usize> =
        (0..timeline.len()).filter(|&at| timeline[at].event == "directive-accepted").collect();
    let ends = starts.iter().skip(1).copied().chain([timeline.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &timeline[start..end]).collect()
}
