//! `repave token` and `repave join-token`: secrets that the controller draws and shows once. They
//! go to standard output, or to a new file that only its owner can read.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::client::{Answer, Client, segment};
use super::remote::Remote;
use super::span::Span;
use super::table::{Table, shown, width};
use super::{Failure, print, print_json};
use crate::clock;
use crate::control::{JoinToken, NewJoinToken, NewToken, Role, TokenInfo};

const TOKENS: &str = "/v1/tokens";
const JOIN_TOKENS: &str = "/v1/join-tokens";

#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an operator's token, and show it this once.
    Create {
        /// Its name, which is the actor's in events: 1 to 64 of a-z, 0-9 and '-'.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleName,
        /// How long it is good: a number and s, m, h or d. Without it, until it is removed.
        #[arg(long, value_name = "SPAN")]
        expires_in: Option<Span>,
        /// New file for the token, readable by its owner only.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List operators' tokens, without their secrets.
    List,
    /// End a token.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct JoinTokens {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: JoinCommand,
}

#[derive(Debug, Subcommand)]
enum JoinCommand {
    /// Make a join token: servers that show it are pending, and nothing more.
    Create {
        /// What people call it: 1 to 64 of a-z, 0-9 and '-'.
        name: String,
        /// How long it is good: a number and s, m, h or d.
        #[arg(long, default_value = "30d", value_name = "SPAN")]
        expires_in: Span,
        /// New file for the token, readable by its owner only.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List join tokens, without their secrets.
    List,
    /// End every join token of a name.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    /// Look.
    Viewer,
    /// Run the pool: policy, channels, servers.
    Operator,
    /// Say who may: tokens, trust, join tokens.
    Admin,
}

impl RoleName {
    const fn role(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

pub(super) fn run(arguments: &Token) -> Result<(), Failure> {
    let Token { remote, command } = arguments;
    let client = remote.client()?;
    match command {
        Command::Create { name, role, expires_in, out } => {
            let mut body = json!({ "name": name, "role": role.role() });
            if let Some(span) = expires_in {
                body["expires_ms"] = json!(span.end_ms());
            }
            create(&client, remote.json, TOKENS, &body, out.as_deref(), |answer| {
                Ok(answer.json::<NewToken>()?.token)
            })
        }
        Command::List => list(&client, remote.json),
        Command::Remove { name } => remove(&client, remote.json, TOKENS, name),
    }
}

pub(super) fn run_join(arguments: &JoinTokens) -> Result<(), Failure> {
    let JoinTokens { remote, command } = arguments;
    let client = remote.client()?;
    match command {
        JoinCommand::Create { name, expires_in, out } => {
            let body = json!({ "name": name, "expires_ms": expires_in.end_ms() });
            create(&client, remote.json, JOIN_TOKENS, &body, out.as_deref(), |answer| {
                Ok(answer.json::<NewJoinToken>()?.token)
            })
        }
        JoinCommand::List => list_join(&client, remote.json),
        JoinCommand::Remove { name } => remove(&client, remote.json, JOIN_TOKENS, name),
    }
}

/// The file is made before the token: a token that cannot be put away would be drawn for nothing.
fn create(
    client: &Client,
    json: bool,
    path: &str,
    body: &Value,
    out: Option<&Path>,
    token: impl Fn(&Answer) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let file = out.map(|out| {
        let failed = |source| Failure::File { what: "create", path: out.into(), source };
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
        opened.map_err(failed).map(|file| (file, out))
    });
    let Some((mut file, out)) = file.transpose()? else {
        let answer = client.post(path, Some(body))?;
        return if json { print_json(&answer.json::<Value>()?) } else { print(&token(&answer)?) };
    };
    let written = client.post(path, Some(body)).map_err(Failure::from).and_then(|answer| {
        let text = token(&answer)?;
        let failed = |source| Failure::File { what: "write", path: out.into(), source };
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(failed)
    });
    if written.is_err() {
        // It is ours and holds no token.
        let _ = std::fs::remove_file(out);
    }
    written
}

fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get(TOKENS)?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let mut table = Table::new(&["NAME", "ROLE", "MADE", "UNTIL"]);
    for one in answer.json::<Vec<TokenInfo>>()? {
        let role = format!("{:?}", one.role).to_lowercase();
        let until = one.expires_ms.map_or_else(|| "-".into(), clock::to_text);
        table.row([one.name, role, clock::to_text(one.created_ms), until]);
    }
    print(&table.text(width()))
}

fn list_join(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get(JOIN_TOKENS)?;
    if json {
        return print_json(&answer.json::<Value>()?);
    }
    let mut table = Table::new(&["NAME", "UNTIL"]);
    for one in answer.json::<Vec<JoinToken>>()? {
        table.row([one.name, clock::to_text(one.expires_ms)]);
    }
    print(&table.text(width()))
}

fn remove(client: &Client, json: bool, path: &str, name: &str) -> Result<(), Failure> {
    client.delete(&format!("{path}/{}", segment(name)))?;
    if json { print_json(&json!({})) } else { print(&format!("{}: removed", shown(name))) }
}
