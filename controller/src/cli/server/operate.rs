//! What an operator does to servers: one request each, and a line that says how each then stands.

use clap::Args;
use serde_json::{Value, json};
use ureq::http::Method;

use super::Several;
use super::show::title;
use crate::cli::client::{Answer, Client, ClientError, segment};
use crate::cli::table::shown;
use crate::cli::{Failure, print, print_json};
use crate::views::ServerView;

/// Tries at a change that was spoilt by another: a server that reports changes its record often.
const TRIES: u32 = 10;

/// A request about one server, made from how it stands.
pub(super) struct Change {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Option<Value>,
}

/// Does one thing to each of several servers. The first that fails ends it.
pub(super) fn each(
    client: &Client,
    json: bool,
    servers: &[String],
    (action, note): (&str, Option<&str>),
) -> Result<(), Failure> {
    let body = note.map(|note| json!({ "note": note }));
    for server in servers {
        let answer = client.post(&path(server, action), body.as_ref())?;
        said(&answer, json, server, action)?;
    }
    Ok(())
}

/// Which servers are wiped, and how.
#[derive(Debug, Args)]
pub(super) struct Wipe {
    #[command(flatten)]
    pub(super) servers: Several,
    /// Serial number of the one disk to wipe; without it, the default side's and every other that is
    /// known to have held a target.
    #[arg(long, value_name = "SERIAL")]
    pub(super) disk: Option<String>,
    #[command(flatten)]
    pub(super) sure: Sure,
}

/// What somebody says who knows that data will be lost.
#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Wipe, although nothing brings the data back.
    #[arg(long)]
    yes: bool,
    /// Wipe servers whose data the policy guards, too.
    #[arg(long)]
    force: bool,
}

/// A wipe as it is asked for.
pub(super) struct Wiping<'a> {
    pub(super) sure: &'a Sure,
    pub(super) disk: Option<&'a str>,
    pub(super) retire: bool,
}

pub(super) fn wipe(
    client: &Client,
    json: bool,
    servers: &[String],
    how: &Wiping<'_>,
) -> Result<(), Failure> {
    if !how.sure.yes {
        let names = servers.iter().map(|server| shown(server)).collect::<Vec<_>>().join(", ");
        return Err(Failure::Refused(format!(
            "this destroys what {names} held, and nothing brings it back; say --yes to do it"
        )));
    }
    let mut body = json!({ "retire": how.retire, "force": how.sure.force });
    if let Some(serial) = how.disk {
        body["disk_serial"] = serial.into();
    }
    for server in servers {
        let answer = client.post(&path(server, "wipe"), Some(&body))?;
        said(&answer, json, server, "wipe")?;
    }
    Ok(())
}

pub(super) fn pin(
    client: &Client,
    json: bool,
    server: &str,
    (to, note): (&str, Option<&str>),
) -> Result<(), Failure> {
    let mut body = json!({ "type": to });
    if let Some(note) = note {
        body["note"] = note.into();
    }
    let answer = client.post(&path(server, "pin"), Some(&body))?;
    said(&answer, json, server, "pin")
}

pub(super) fn rekey(client: &Client, json: bool, server: &str, old: &str) -> Result<(), Failure> {
    let before: ServerView = client.fetch(&format!("/v1/servers/{}", segment(old)))?;
    let answer = client.post(&path(server, "rekey"), Some(&json!({ "old": before.id })))?;
    said(&answer, json, server, "rekey")
}

pub(super) fn reject(client: &Client, json: bool, servers: &[String]) -> Result<(), Failure> {
    expel(client, json, servers, ("reject", "revoke"), |enrolment| enrolment == "pending")
}

pub(super) fn revoke(client: &Client, json: bool, servers: &[String]) -> Result<(), Failure> {
    let is_in = |enrolment: &str| matches!(enrolment, "approved" | "suspended");
    expel(client, json, servers, ("revoke", "reject"), is_in)
}

/// The API has one word for both; here a pending server must be called so, lest one that is at work
/// is thrown out by mistake.
fn expel(
    client: &Client,
    json: bool,
    servers: &[String],
    (word, other): (&str, &str),
    fits: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    for server in servers {
        let answer = change(client, server, |view| {
            if fits(&view.enrolment) {
                return Ok(Change { method: Method::POST, path: "expel", body: None });
            }
            let (title, enrolment) = (shown(&title(view)), shown(&view.enrolment));
            Err(Failure::Refused(format!(
                "{title} is {enrolment}: it cannot be {word}ed; `repave server {other}` is for \
                 the others"
            )))
        })?;
        said(&answer, json, server, word)?;
    }
    Ok(())
}

/// Makes a change that depends on how the server stands, and only if it still stands so.
pub(super) fn change(
    client: &Client,
    server: &str,
    decide: impl Fn(&ServerView) -> Result<Change, Failure>,
) -> Result<Answer, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let before = client.get(&format!("/v1/servers/{}", segment(server)))?;
        let view: ServerView = before.json()?;
        let Change { method, path: action, body } = decide(&view)?;
        let path = path(&view.id, action);
        match client.send(method, &path, body.as_ref(), before.etag.as_deref()) {
            Err(error) if error.is_changed() && tries < TRIES => {}
            answer => return Ok(answer?),
        }
    }
}

/// Where something is done to a server.
pub(super) fn path(server: &str, action: &str) -> String {
    format!("/v1/servers/{}/{action}", segment(server))
}

/// Says how the server stands after what was done.
pub(super) fn said(answer: &Answer, json: bool, server: &str, done: &str) -> Result<(), Failure> {
    match (answer.value()?, json) {
        (Some(value), true) => print_json(&value),
        (None, true) => print_json(&json!({})),
        (None, false) => print(&format!("{}: {done} done", shown(server))),
        (Some(_), false) => {
            let view: ServerView = answer.json()?;
            let ServerView { enrolment, standing, .. } = &view;
            let mut text = format!("{}: {done} done, {enrolment}, {standing}", title(&view));
            if view.cordoned {
                text.push_str(", cordoned");
            }
            if let Some(pinned) = &view.pinned {
                text.push_str(&format!(", pinned to {pinned}"));
            }
            print(&shown(&text))
        }
    }
}

/// All servers that fit, page after page.
pub(super) fn all(client: &Client, base: &str) -> Result<Vec<Value>, ClientError> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let begin = after.as_ref().map(|after| format!("&after={}", segment(after)));
        let path = format!("{base}{}", begin.unwrap_or_default());
        let mut page: crate::views::Page<Value> = client.fetch(&path)?;
        items.append(&mut page.items);
        // A page that begins where it began would never end.
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(items),
        }
    }
}
