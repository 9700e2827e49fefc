//! `repave pool`, `pause`, `resume` and `type`: the pool as it is declared, and how it keeps it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::remote::Remote;
use super::table::{Table, width};
use super::watch::watch;
use super::{Failure, print, print_json};
use crate::policy::Policy;
use crate::views::TypeView;

/// Where the policy is.
pub(super) const POLICY: &str = "/v1/policy";

#[derive(Debug, Args)]
pub(super) struct Pool {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the pool: its limits, its server types, and whether it is balanced.
    Show,
    /// The policy: what the pool should be.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Print the policy in force, as TOML.
    Get,
    /// Declare the pool anew, without asking. `repave apply` shows first what would be moved.
    Set {
        /// The policy, a TOML file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Type {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: TypeCommand,
}

#[derive(Debug, Subcommand)]
enum TypeCommand {
    /// List server types, and how many servers each wants and has.
    List {
        /// Draw the table anew once a second.
        #[arg(long)]
        watch: bool,
    },
}

/// Arguments of `repave pause` and `repave resume`.
#[derive(Debug, Args)]
pub(super) struct Switch {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Pool) -> Result<(), Failure> {
    let Pool { remote, command } = arguments;
    let client = remote.client()?;
    match command {
        Command::Show => show(&client, remote.json),
        Command::Policy(PolicyCommand::Get) => get(&client, remote.json),
        Command::Policy(PolicyCommand::Set { file }) => {
            let policy = Policy::read(file)?;
            let etag = tag(&client)?;
            set(&client, remote.json, &policy, etag.as_deref())
        }
    }
}

fn show(client: &Client, json: bool) -> Result<(), Failure> {
    let (policy, types) = (client.get(POLICY)?, client.get("/v1/types")?);
    let balancer: Value = client.fetch("/v1/balancer")?;
    if json {
        let (policy, types): (Value, Value) = (policy.json()?, types.json()?);
        let all = json!({ "policy": policy, "types": types, "balancer": balancer });
        return print_json(&all);
    }
    let pool = policy.json::<Policy>()?.pool;
    let state = if balancer["paused"] == json!(true) { "paused" } else { "running" };
    let budget = pool.failure_budget;
    print(&format!(
        "pool         {}\nbalancer     {state}\nconcurrency  {} servers moved at once\n\
         failures     {} in {} s stop it\n\
         freeze       more than {} of the servers silent for {} s\n",
        pool.name,
        pool.concurrency,
        budget.failures,
        budget.window_s,
        pool.freeze_share,
        pool.silent_after_s
    ))?;
    print(&table(&types.json::<Vec<TypeView>>()?))
}

fn get(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get(POLICY)?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let text = toml::to_string(&answer.json::<Policy>()?);
    let text =
        text.map_err(|error| Failure::Refused(format!("not to be said in TOML: {error}")))?;
    print(text.trim_end())
}

/// The tag of the policy in force, so that nobody else's is replaced unseen.
pub(super) fn tag(client: &Client) -> Result<Option<String>, Failure> {
    match client.get(POLICY) {
        Ok(answer) => Ok(answer.etag),
        Err(ClientError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Puts a policy in force.
pub(super) fn set(
    client: &Client,
    json: bool,
    policy: &Policy,
    etag: Option<&str>,
) -> Result<(), Failure> {
    let body = serde_json::to_value(policy).map_err(std::io::Error::from)?;
    let answer = client.put(POLICY, &body, etag)?;
    match answer.value()? {
        Some(value) if json => print_json(&value),
        None if json => print_json(&json!({})),
        _ => print(&format!("the policy of pool {} is in force", policy.pool.name)),
    }
}

/// Stops the balancer, or lets it go on.
pub(super) fn switch(arguments: &Switch, action: &str) -> Result<(), Failure> {
    let client = arguments.remote.client()?;
    let answer = client.post(&format!("/v1/balancer/{action}"), None)?;
    match answer.value()? {
        Some(value) if arguments.remote.json => print_json(&value),
        None if arguments.remote.json => print_json(&json!({})),
        _ if action == "pause" => {
            print("the balancer is paused: nothing is moved until `repave resume`")
        }
        _ => print("the balancer is running"),
    }
}

pub(super) fn run_type(arguments: &Type) -> Result<(), Failure> {
    let Type { remote, command: TypeCommand::List { watch: again } } = arguments;
    let client = remote.client()?;
    let next = || -> Result<String, ClientError> {
        let answer = client.get("/v1/types")?;
        let json = || answer.json::<Value>().map(|value| value.to_string());
        if remote.json { json() } else { answer.json::<Vec<TypeView>>().map(|all| table(&all)) }
    };
    match (*again, remote.json) {
        (true, _) => watch(next),
        (false, true) => print_json(&client.fetch::<Value>("/v1/types")?),
        (false, false) => print(&next()?),
    }
}

fn table(types: &[TypeView]) -> String {
    let heads = ["TYPE", "IMAGE", ">VERSION", ">MIN", ">MAX", ">WANTED", ">HAVE", ">UP", ">LOAD"];
    let mut table = Table::new(&heads);
    for one in types {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        table.row([
            one.name.clone(),
            one.image.clone(),
            or_none(one.version.map(|version| version.to_string())),
            one.min.to_string(),
            one.max.to_string(),
            one.wanted.to_string(),
            one.have.to_string(),
            one.up.to_string(),
            or_none(one.load_milli.map(|load| format!("{:.2}", f64::from(load) / 1000.0))),
        ]);
    }
    table.text(width())
}
