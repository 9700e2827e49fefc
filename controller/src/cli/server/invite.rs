//! Invitations: machines that are expected, by serial number or hardware address.

use clap::{Args, value_parser};
use serde_json::{Value, json};

use super::describe::label;
use crate::cli::client::{Client, segment};
use crate::cli::span::Span;
use crate::cli::table::{Table, shown, width};
use crate::cli::{Failure, print, print_json};
use crate::clock;
use crate::fleet::Invitation;

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// Serial number or a hardware address of the machine.
    machine: String,
    /// How many servers may come by it; a machine that is burned anew is a new server.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it is good: a number and s, m, h or d.
    #[arg(long, default_value = "30d", value_name = "SPAN")]
    expires_in: Span,
    /// What the server is called.
    #[arg(long)]
    name: Option<String>,
    /// A label that the server gets; may be given several times.
    #[arg(long = "label", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

fn path(machine: &str) -> String {
    format!("/v1/invitations/{}", segment(machine))
}

pub(super) fn run(client: &Client, json: bool, arguments: &Invite) -> Result<(), Failure> {
    let Invite { machine, uses, expires_in, name, labels } = arguments;
    let mut body = json!({ "uses": uses, "expires_ms": expires_in.end_ms() });
    if let Some(name) = name {
        body["name"] = json!(name);
    }
    if !labels.is_empty() {
        let labels = labels.iter().map(|(name, value)| (name.clone(), json!(value)));
        body["labels"] = Value::Object(labels.collect());
    }
    let answer = client.put(&path(machine), &body, None)?;
    match answer.value()? {
        Some(value) if json => print_json(&value),
        None if json => print_json(&json!({})),
        _ => print(&format!("{}: invited", shown(machine))),
    }
}

pub(super) fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/invitations")?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let mut table = Table::new(&["MACHINE", ">USES", "UNTIL", "NAME", "LABELS"]);
    for one in answer.json::<Vec<Invitation>>()? {
        let labels = one.labels.iter().map(|(name, value)| format!("{name}={value}"));
        table.row([
            one.machine.clone(),
            one.uses.to_string(),
            clock::to_text(one.expires_ms),
            one.name.clone().unwrap_or_default(),
            labels.collect::<Vec<_>>().join(" "),
        ]);
    }
    print(&table.text(width()))
}

pub(super) fn remove(client: &Client, machine: &str) -> Result<(), Failure> {
    client.delete(&path(machine))?;
    print(&format!("{}: no longer invited", shown(machine)))
}
