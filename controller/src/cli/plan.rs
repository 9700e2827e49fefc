//! `repave plan` and `repave apply`: what a round of balancing would move and why, and doing it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::client::{Answer, Client};
use super::remote::Remote;
use super::table::{Table, shown, width};
use super::{Failure, pool, print, print_json};
use crate::control::{Applied, Plan};
use crate::policy::Policy;

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// A policy to plan under, a TOML file; without it, the policy in force.
    policy: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    /// A policy to put in force, a TOML file. What a round under it would move is shown first.
    /// Without it, a round under the policy in force is carried out now.
    policy: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn plan(arguments: &PlanArguments) -> Result<(), Failure> {
    let policy = arguments.policy.as_deref().map(Policy::read).transpose()?;
    let client = arguments.remote.client()?;
    let answer = match &policy {
        Some(policy) => under(&client, policy)?,
        None => client.get("/v1/plan")?,
    };
    if arguments.remote.json {
        return print_json(&answer.json::<Value>()?);
    }
    print(&described(&answer.json()?))
}

fn under(client: &Client, policy: &Policy) -> Result<Answer, Failure> {
    let body = serde_json::to_value(policy).map_err(io::Error::from)?;
    Ok(client.post("/v1/plan", Some(&body))?)
}

pub(super) fn apply(arguments: &ApplyArguments) -> Result<(), Failure> {
    match &arguments.policy {
        Some(policy) => apply_policy(arguments, policy),
        None => apply_now(&arguments.remote),
    }
}

/// The tag is from before the plan: a policy that somebody else sets while the operator reads is
/// not replaced unseen.
fn apply_policy(arguments: &ApplyArguments, path: &Path) -> Result<(), Failure> {
    let ApplyArguments { yes, remote, .. } = arguments;
    let policy = Policy::read(path)?;
    if !yes && (remote.json || !io::stdin().is_terminal()) {
        let text = "nobody can be asked here: look at `repave plan`, then give --yes";
        return Err(Failure::Usage(text.into()));
    }
    let client = remote.client()?;
    let etag = pool::tag(&client)?;
    let plan = under(&client, &policy)?;
    if !remote.json {
        print(&described(&plan.json()?))?;
    }
    if !yes && !agreed(&format!("put this policy in force for pool {}?", policy.pool.name))? {
        return Err(Failure::Refused("left as it is".into()));
    }
    pool::set(&client, remote.json, &policy, etag.as_deref())
}

fn apply_now(remote: &Remote) -> Result<(), Failure> {
    let answer = remote.client()?.post("/v1/apply", None)?;
    if remote.json {
        return print_json(&answer.json::<Value>()?);
    }
    let applied: Applied = answer.json()?;
    print(&described(&applied.plan))?;
    print(&format!("{} of {} moves made", applied.made, applied.plan.moves.len()))
}

/// Asks on the terminal; only a clear yes is one.
fn agreed(question: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|source| Failure::File { what: "read", path: "standard input".into(), source })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn described(plan: &Plan) -> String {
    let mut wanted = Table::new(&["TYPE", ">WANTED", ">HAVE", ">UP", ">LOAD"]);
    for one in &plan.wanted {
        let load = one.load.map_or_else(|| "-".into(), |load| load.to_string());
        let (want, have, up) = (one.wanted, one.have, one.up);
        let numbers = [want.to_string(), have.to_string(), up.to_string()];
        wanted.row([one.server_type.clone()].into_iter().chain(numbers).chain([load]));
    }
    let mut moves = Table::new(&["SERVER", "FROM", "TO", "WHY"]);
    for one in &plan.moves {
        let spare = || "spare".to_owned();
        let to = match (&one.to, one.version) {
            (Some(to), Some(version)) => format!("{to} (version {version})"),
            (to, _) => to.clone().unwrap_or_else(spare),
        };
        let from = one.from.clone().unwrap_or_else(spare);
        moves.row([one.title.clone(), from, to, one.why.clone()]);
    }
    let mut text = wanted.text(width());
    if plan.moves.is_empty() {
        text.push_str("\n\nnothing to move");
    } else {
        text.push_str(&format!("\n\n{}", moves.text(width())));
    }
    for note in &plan.notes {
        text.push_str(&format!("\nnote: {}", shown(note)));
    }
    text
}
