//! `repave event`: what happened, and what is happening. A stream that ends is begun again behind
//! the last event that came, so that none is lost and none comes twice.

mod line;
mod stream;

use std::thread;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, value_parser};
use serde_json::{Value, json};

use super::client::{Client, query, segment};
use super::remote::Remote;
use super::table::{Table, width};
use super::watch::end_on_interrupt;
use super::{Failure, print, print_json};
use crate::fleet::EventKind;
use crate::views::{EventView, Page, ServerView};
use line::line;

/// Between two tries at a stream. It is tried for ever: who follows wants to see it come back.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Event {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what happened.
    List(List),
    /// Print what happens, as it does, until Ctrl-C. With --json, an object a line.
    Follow {
        /// Begin behind this event, by its sequence number; without it, with what happens next.
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<i64>,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only those about a server: its id, the beginning of it, or its name.
    #[arg(long)]
    server: Option<String>,
    /// Only those of a kind.
    #[arg(long, value_parser = PossibleValuesParser::new(EventKind::NAMES))]
    kind: Option<String>,
    /// The first behind this one, by its sequence number; without it, the newest.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<i64>,
    /// The newest before this one, by its sequence number.
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "after")]
    before: Option<i64>,
    /// At most so many.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=500))]
    limit: u32,
}

pub(super) fn run(arguments: &Event) -> Result<(), Failure> {
    let client = arguments.remote.client()?;
    match &arguments.command {
        Command::List(list) => run_list(&client, arguments.remote.json, list),
        Command::Follow { after } => follow(&client, arguments.remote.json, *after),
    }
}

fn run_list(client: &Client, json: bool, list: &List) -> Result<(), Failure> {
    let server = match &list.server {
        Some(text) => {
            let view: ServerView = client.fetch(&format!("/v1/servers/{}", segment(text)))?;
            Some(view.id)
        }
        None => None,
    };
    let parameters = [
        ("server", server),
        ("kind", list.kind.clone()),
        ("after", list.after.map(|sequence| sequence.to_string())),
        ("before", list.before.map(|sequence| sequence.to_string())),
        ("limit", Some(list.limit.to_string())),
    ];
    let answer = client.get(&query("/v1/events", &parameters))?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let mut events = answer.json::<Page<EventView>>()?.items;
    events.sort_by_key(|event| event.sequence);
    let mut table = Table::new(&[">SEQUENCE", "AT", "SERVER", "KIND", "WHAT"]);
    for event in &events {
        table.row(line(event));
    }
    print(&table.text(width()))
}

fn follow(client: &Client, json: bool, after: Option<i64>) -> Result<(), Failure> {
    end_on_interrupt()?;
    let mut last = after;
    loop {
        match follow_once(client, json, &mut last) {
            Err(Failure::Client(error)) if error.may_pass() => thread::sleep(PAUSE),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
}

/// One stream, until it ends.
fn follow_once(client: &Client, json: bool, last: &mut Option<i64>) -> Result<(), Failure> {
    let after = last.map(|sequence| sequence.to_string());
    let body = client.stream(&query("/v1/events/stream", &[("after", after)]))?;
    for data in stream::events(body) {
        // A stream that breaks off is begun again; what is whole of it was printed.
        let Ok(data) = data else { break };
        let value: Value = serde_json::from_str(&data).unwrap_or_else(|_| json!({}));
        let event: EventView = client.understand(value.clone())?;
        if last.is_some_and(|last| event.sequence <= last) {
            continue;
        }
        *last = Some(event.sequence);
        if json { print(&value.to_string())? } else { print(&one_line(&event))? }
    }
    thread::sleep(PAUSE);
    Ok(())
}

fn one_line(event: &EventView) -> String {
    let [_, at, server, kind, what] = line(event);
    let mut table = Table::new(&["", "", "", ""]);
    table.row([at, format!("{server:<12}"), format!("{kind:<10}"), what]);
    table.text(width()).lines().nth(1).unwrap_or_default().into()
}
