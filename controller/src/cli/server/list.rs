//! `repave server list`, once or as it goes.

use clap::Args;
use clap::builder::PossibleValuesParser;
use repave_protocol::ServerId;
use serde_json::{Value, json};

use super::operate::all;
use super::show::{doing, remarks};
use crate::cli::client::{Client, ClientError, query};
use crate::cli::span::age;
use crate::cli::table::{Table, width};
use crate::cli::watch::watch;
use crate::cli::{Failure, print, print_json};
use crate::clock;
use crate::fleet::Standing;
use crate::views::ServerView;

/// Servers asked for at once.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that stand so.
    #[arg(long, value_parser = PossibleValuesParser::new(Standing::NAMES))]
    standing: Option<String>,
    /// Only those of a type.
    #[arg(long = "type", value_name = "TYPE")]
    server_type: Option<String>,
    /// Draw the table anew once a second.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(client: &Client, json: bool, arguments: &List) -> Result<(), Failure> {
    let path = query(
        "/v1/servers",
        &[
            ("standing", arguments.standing.clone()),
            ("type", arguments.server_type.clone()),
            ("limit", Some(PAGE.to_string())),
        ],
    );
    let next = || -> Result<String, ClientError> {
        let items = all(client, &path)?;
        if json { Ok(json!({ "items": items }).to_string()) } else { table(client, items) }
    };
    match (arguments.watch, json) {
        (true, _) => watch(next),
        (false, true) => print_json(&json!({ "items": all(client, &path)? })),
        (false, false) => print(&next()?),
    }
}

fn table(client: &Client, items: Vec<Value>) -> Result<String, ClientError> {
    let now_ms = clock::now_ms();
    let heads = ["SERVER", "NAME", "TYPE", "IMAGE", "STANDING", ">LOAD", ">SEEN", "REMARKS"];
    let mut table = Table::new(&heads);
    for item in items {
        let view: ServerView = client.understand(item)?;
        let short = view.id.parse().map(|id: ServerId| id.short());
        table.row([
            short.unwrap_or_else(|_| view.id.clone()),
            view.name.clone().unwrap_or_default(),
            view.server_type.clone().unwrap_or_else(|| "-".into()),
            view.image.clone().unwrap_or_else(|| "-".into()),
            doing(&view.standing_detail),
            format!("{:.2}", view.load_milli as f64 / 1000.0),
            age(&view.last_seen, now_ms),
            remarks(&view),
        ]);
    }
    Ok(table.text(width()))
}
