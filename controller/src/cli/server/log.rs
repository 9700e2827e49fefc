//! `repave server log`: what a server's logs said when it last failed.

use crate::cli::client::{Client, segment};
use crate::cli::span::age;
use crate::cli::table::shown;
use crate::cli::{Failure, print, print_json};
use crate::clock;
use crate::views::LogView;

pub(super) fn run(client: &Client, json: bool, server: &str) -> Result<(), Failure> {
    let answer = client.get(&format!("/v1/servers/{}/log", segment(server)))?;
    if json {
        return print_json(&answer.json::<serde_json::Value>()?);
    }
    let view: LogView = answer.json()?;
    print(&told(&view, clock::now_ms()))
}

fn told(view: &LogView, now_ms: u64) -> String {
    let order = view.generation.map(|g| format!(", generation {g}")).unwrap_or_default();
    let mut lines = vec![
        format!("{} ago on its {} side{order}", age(&view.at, now_ms), view.side),
        format!("{}: {}", view.code, view.message),
    ];
    for (whose, log) in [("agent", &view.agent), ("kernel", &view.kernel)] {
        lines.push(String::new());
        lines.push(format!("last lines of the {whose}:"));
        lines.extend(log.iter().map(|line| format!("  {line}")));
    }
    lines.iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n")
}
