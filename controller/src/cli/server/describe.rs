//! `repave server describe`: a name and labels, changed where they are given and kept elsewhere.

use clap::Args;
use serde_json::json;
use ureq::http::Method;

use super::operate::{Change, change, said};
use crate::cli::Failure;
use crate::cli::client::Client;

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The server: its id, the beginning of it (4 digits or more), or its name.
    server: String,
    /// What it is called from now on.
    #[arg(long)]
    name: Option<String>,
    /// Take its name away.
    #[arg(long, conflicts_with = "name")]
    no_name: bool,
    /// A label that it gets; may be given several times.
    #[arg(long = "label", value_name = "LABEL=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A label that it loses; may be given several times.
    #[arg(long = "no-label", value_name = "LABEL")]
    no_labels: Vec<String>,
}

/// `LABEL=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("a label is LABEL=VALUE, such as rack=7".into()),
    }
}

pub(super) fn run(client: &Client, json: bool, arguments: &Describe) -> Result<(), Failure> {
    let Describe { server, name, no_name, labels, no_labels } = arguments;
    if name.is_none() && !no_name && labels.is_empty() && no_labels.is_empty() {
        let text = "nothing to change: give --name, --no-name, --label or --no-label";
        return Err(Failure::Usage(text.into()));
    }
    let answer = change(client, server, |view| {
        let mut all = view.labels.clone();
        all.retain(|label, _| !no_labels.contains(label));
        all.extend(labels.iter().cloned());
        let kept = view.name.as_ref().filter(|_| !no_name);
        let body = json!({ "name": name.as_ref().or(kept), "labels": all });
        Ok(Change { method: Method::PUT, path: "description", body: Some(body) })
    })?;
    said(&answer, json, server, "describe")
}
