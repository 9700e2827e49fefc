//! `repave channel`: which version of an image each of its channels points at.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::segment;
use super::remote::Remote;
use super::table::{Table, width};
use super::{Failure, print, print_json};
use crate::control::Channel;
use crate::policy::ImageChannel;

#[derive(Debug, Args)]
pub(super) struct Channels {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the channels of every image.
    List,
    /// Point a channel at a version that the controller's library has.
    Set {
        /// Image and channel, as NAME:CHANNEL.
        channel: ImageChannel,
        /// The version.
        version: u64,
    },
}

pub(super) fn run(arguments: &Channels) -> Result<(), Failure> {
    let Channels { remote, command } = arguments;
    let client = remote.client()?;
    match command {
        Command::List => {
            let answer = client.get("/v1/channels")?;
            if remote.json {
                return print_json(&answer.json::<Value>()?);
            }
            let mut table = Table::new(&["CHANNEL", ">VERSION", ">BEFORE"]);
            for (name, channel) in answer.json::<BTreeMap<String, Channel>>()? {
                let before = channel.previous.map_or_else(|| "-".into(), |v| v.to_string());
                table.row([name, channel.version.to_string(), before]);
            }
            print(&table.text(width()))
        }
        Command::Set { channel, version } => {
            let (image, name) = (segment(&channel.name), segment(&channel.channel));
            let path = format!("/v1/channels/{image}/{name}");
            let answer = client.put(&path, &json!({ "version": version }), None)?;
            match answer.value()? {
                Some(value) if remote.json => print_json(&value),
                None if remote.json => print_json(&json!({})),
                _ => print(&format!("{channel} points at version {version}")),
            }
        }
    }
}
