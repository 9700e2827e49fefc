//! `repave server show`, and the words for a server that other commands print, too.

use repave_protocol::{
    Coverage, Guard, Guid, ServerId, SourceReport, Stage, WatchdogReport, WipePass, WipedRange,
};

use crate::cli::client::{Client, segment};
use crate::cli::span::age;
use crate::cli::table::{Table, shown};
use crate::cli::{Failure, print, print_json};
use crate::clock;
use crate::fleet::Standing;
use crate::views::ServerView;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(super) fn run(client: &Client, json: bool, server: &str) -> Result<(), Failure> {
    let answer = client.get(&format!("/v1/servers/{}", segment(server)))?;
    if json {
        return print_json(&answer.json::<serde_json::Value>()?);
    }
    let view: ServerView = answer.json()?;
    print(&described(&view, clock::now_ms()))
}

fn described(view: &ServerView, now_ms: u64) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let labels = view.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let lines = [
        ("id", view.id.clone()),
        ("name", or_none(&view.name)),
        ("labels", labels.collect::<Vec<_>>().join(" ")),
        ("enrolment", view.enrolment.clone()),
        (
            "standing",
            format!("{} for {}", doing(&view.standing_detail), age(&view.standing_since, now_ms)),
        ),
        ("type", or_none(&view.server_type)),
        ("image", or_none(&view.image)),
        ("wanted image", or_none(&view.wanted_image)),
        ("wiped", view.wiped.as_ref().map_or_else(|| "-".into(), wiped)),
        ("why", or_none(&view.why)),
        (
            "last seen",
            format!(
                "{} ago on its {} side, agent {}",
                age(&view.last_seen, now_ms),
                view.side,
                view.agent
            ),
        ),
        ("load", format!("{:.2} on {} CPUs", view.load_milli as f64 / 1000.0, view.cpus)),
        (
            "memory",
            format!(
                "{:.1} of {:.1} GiB",
                view.memory_used_bytes as f64 / GIB,
                view.memory_bytes as f64 / GIB
            ),
        ),
        ("disk", format!("{:.1} GB", view.disk_bytes as f64 / 1e9)),
        (
            "machine",
            format!(
                "{} {}, serial {}",
                view.architecture,
                or_none(&view.product),
                or_none(&view.serial)
            ),
        ),
        ("addresses", view.macs.join(" ")),
        ("trust", view.trust.map_or_else(|| "-".into(), |version| format!("version {version}"))),
        ("watchdog", view.watchdog.as_ref().map_or_else(|| "-".into(), guard)),
        ("bad sources", bad_sources(&view.bad_sources)),
        ("remarks", remarks(view)),
        ("log", view.logged.as_ref().map_or_else(|| "-".into(), |at| log(view, at, now_ms))),
    ];
    let wide = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, text): &(&str, String)| format!("{name:<wide$}  {}", shown(text));
    let mut text: Vec<String> = lines.iter().map(|pair| line(pair).trim_end().into()).collect();
    text.extend(failures(view, now_ms));
    text.join("\n")
}

/// What guards it, and what a watchdog did.
fn guard(report: &WatchdogReport) -> String {
    let guard = match &report.guard {
        Guard::Armed { device, timeout_s } => format!("{device}, {timeout_s} s"),
        Guard::NotArmed { reason } => format!("not armed: {reason}"),
    };
    let reset = if report.expired { "; it reset the server before this boot" } else { "" };
    format!("{guard}{reset}")
}

/// Mirrors that it was served badly by, each with what it did last.
fn bad_sources(reports: &[SourceReport]) -> String {
    let words = |SourceReport { source, lied, reason }: &SourceReport| {
        format!("{source} {}: {reason}", if *lied { "lied" } else { "failed repeatedly" })
    };
    match reports {
        [] => "-".into(),
        some => some.iter().map(words).collect::<Vec<_>>().join("; "),
    }
}

fn log(view: &ServerView, at: &str, now_ms: u64) -> String {
    format!("of a failure {} ago: repave server log {}", age(at, now_ms), title(view))
}

/// What a wipe covered, disk by disk, and what it did not.
fn wiped(coverage: &Coverage) -> String {
    let range = |range: &WipedRange| {
        format!(
            "{} (serial {}): {} of {} bytes from byte {} read back as zero",
            range.disk,
            range.serial.as_deref().unwrap_or("none"),
            range.read_back_bytes,
            range.length_bytes,
            range.offset_bytes,
        )
    };
    let missing = |disk: &Guid| format!("NOT WIPED: disk {disk}, which was away or not named");
    let ranges = coverage.ranges.iter().map(range);
    ranges.chain(coverage.missing.iter().map(missing)).collect::<Vec<_>>().join("; ")
}

fn failures(view: &ServerView, now_ms: u64) -> Option<String> {
    let mut table = Table::new(&["FAILED IMAGE", ">TIMES", ">LAST", "CODE", "QUARANTINED"]);
    for failure in &view.failures {
        let quarantined = if failure.quarantined { "yes" } else { "no" };
        table.row([
            failure.image.clone(),
            failure.count.to_string(),
            age(&failure.last, now_ms),
            failure.code.clone(),
            quarantined.into(),
        ]);
    }
    (!view.failures.is_empty()).then(|| format!("\n{}", table.text(None)))
}

/// What people call it: its name, or the beginning of its id.
pub(super) fn title(view: &ServerView) -> String {
    let short = || view.id.parse().map_or_else(|_| view.id.clone(), |id: ServerId| id.short());
    view.name.clone().unwrap_or_else(short)
}

/// Where it stands, with how far and how fast.
pub(in crate::cli) fn doing(standing: &Standing) -> String {
    match standing {
        Standing::Purposing { stage, percent, bytes_per_s: 0 } => {
            format!("purposing, {}, {percent} %", stage_name(*stage))
        }
        Standing::Purposing { stage, percent, bytes_per_s } => {
            let rate = *bytes_per_s as f64 / 1e6;
            format!("purposing, {}, {percent} %, {rate:.0} MB/s", stage_name(*stage))
        }
        Standing::Wiping { pass, percent, bytes_per_s } => {
            let pass = match pass {
                WipePass::Zeroing => "zeroing",
                WipePass::ReadingBack => "reading back",
            };
            format!("wiping, {pass}, {percent} %, {:.0} MB/s", *bytes_per_s as f64 / 1e6)
        }
        other => other.name().into(),
    }
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Accepted => "accepted",
        Stage::Planned => "planned",
        Stage::Unsealed => "unsealed",
        Stage::Written => "written",
        Stage::Audited => "audited",
        Stage::Configured => "configured",
        Stage::Sealed => "sealed",
        Stage::Armed => "armed",
    }
}

/// What is out of the ordinary: a fault, a hand on it, an image that it does not have yet.
pub(super) fn remarks(view: &ServerView) -> String {
    let mut remarks = Vec::new();
    match &view.standing_detail {
        Standing::Failed { code, message } => remarks.push(format!("{code}: {message}")),
        Standing::Quarantined { code } => remarks.push(code.clone()),
        Standing::Suspended { reason } => remarks.push(reason.clone()),
        _ => {}
    }
    let said = |note: &Option<String>| note.as_ref().map(|note| format!(": {note}"));
    if view.cordoned {
        remarks.push(format!("cordoned{}", said(&view.cordon_note).unwrap_or_default()));
    }
    let pin_note = said(&view.pin_note).unwrap_or_default();
    remarks.extend(view.pinned.iter().map(|pinned| format!("pinned to {pinned}{pin_note}")));
    let other = view.wanted_image.iter().filter(|wanted| view.image.as_ref() != Some(wanted));
    remarks.extend(other.map(|wanted| format!("wants {wanted}")));
    remarks.join(", ")
}
