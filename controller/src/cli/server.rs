//! `repave server`: what servers there are, what each is doing, and what an operator does to one.

mod describe;
mod invite;
mod list;
mod log;
mod operate;
mod power;
mod show;

use clap::{Args, Subcommand};

use super::Failure;
use super::remote::Remote;

pub(super) use show::doing;

#[derive(Debug, Args)]
pub(super) struct Server {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List servers.
    List(list::List),
    /// Show one server.
    Show(One),
    /// Show what a server's logs said when it last failed, its agent's and its kernel's.
    Log(One),
    /// Let servers in, or back in.
    Approve(Several),
    /// Turn pending servers away.
    Reject(Several),
    /// Put approved servers out of the pool: their keys are no longer believed.
    Revoke(Several),
    /// Keep the balancer from servers; they stay what they are.
    Cordon {
        #[command(flatten)]
        servers: Several,
        #[command(flatten)]
        why: Why,
    },
    /// Let the balancer at servers again.
    Uncordon(Several),
    /// Have a server be of one type and no other.
    Pin {
        #[command(flatten)]
        server: One,
        /// The type, as the policy names it.
        #[arg(value_name = "TYPE")]
        server_type: String,
        #[command(flatten)]
        why: Why,
    },
    /// Let servers be of any type again.
    Unpin(Several),
    /// Take servers' purpose away, and keep the balancer from giving them another.
    Drain {
        #[command(flatten)]
        servers: Several,
        #[command(flatten)]
        why: Why,
    },
    /// Take servers out of the pool for good: they go to default and stay there.
    Retire {
        #[command(flatten)]
        servers: Several,
        /// Wipe them, too.
        #[arg(long)]
        wipe: bool,
        #[command(flatten)]
        sure: operate::Sure,
    },
    /// Wipe what servers were from their disks, read all of it back, and keep them in default.
    Wipe(operate::Wipe),
    /// Forget what failed on servers, so that it is tried again.
    Clear(Several),
    /// Give a server a name and labels.
    Describe(describe::Describe),
    /// Let a server take over from another, whose machine it is: its disk or key was replaced.
    Rekey {
        #[command(flatten)]
        server: One,
        /// The server that the machine was before.
        #[arg(long, value_name = "SERVER")]
        old: String,
    },
    /// How a server's power is reached, and orders to it.
    Power(power::Power),
    /// Expect a machine: its server is approved at its first status.
    Invite(invite::Invite),
    /// List the machines that are expected.
    Invitations,
    /// Expect a machine no longer.
    Uninvite {
        /// The machine, as it was invited.
        machine: String,
    },
}

/// A server, as people name it.
#[derive(Debug, Args)]
struct One {
    /// The server: its id, the beginning of it (4 digits or more), or its name.
    server: String,
}

/// Several servers.
#[derive(Debug, Args)]
struct Several {
    /// The servers: ids, beginnings of them (4 digits or more), or names.
    #[arg(required = true, value_name = "SERVER")]
    servers: Vec<String>,
}

/// Why something is done.
#[derive(Debug, Args)]
struct Why {
    /// Why: one line, kept and shown while it lasts.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub(super) fn run(arguments: &Server) -> Result<(), Failure> {
    let Server { remote, command } = arguments;
    let client = remote.client()?;
    let each = |action: &str, several: &Several| {
        operate::each(&client, remote.json, &several.servers, (action, None))
    };
    let noted = |action: &str, several: &Several, why: &Why| {
        operate::each(&client, remote.json, &several.servers, (action, why.note.as_deref()))
    };
    match command {
        Command::List(list) => list::run(&client, remote.json, list),
        Command::Show(one) => show::run(&client, remote.json, &one.server),
        Command::Log(one) => log::run(&client, remote.json, &one.server),
        Command::Approve(several) => each("approve", several),
        Command::Reject(several) => operate::reject(&client, remote.json, &several.servers),
        Command::Revoke(several) => operate::revoke(&client, remote.json, &several.servers),
        Command::Cordon { servers, why } => noted("cordon", servers, why),
        Command::Uncordon(several) => each("uncordon", several),
        Command::Pin { server, server_type, why } => {
            let to = (server_type.as_str(), why.note.as_deref());
            operate::pin(&client, remote.json, &server.server, to)
        }
        Command::Unpin(several) => each("unpin", several),
        Command::Drain { servers, why } => noted("drain", servers, why),
        Command::Retire { servers, wipe: false, .. } => each("retire", servers),
        Command::Retire { servers, sure, .. } => {
            let wipe = operate::Wiping { sure, disk: None, retire: true };
            operate::wipe(&client, remote.json, &servers.servers, &wipe)
        }
        Command::Wipe(operate::Wipe { servers, disk, sure }) => {
            let wipe = operate::Wiping { sure, disk: disk.as_deref(), retire: false };
            operate::wipe(&client, remote.json, &servers.servers, &wipe)
        }
        Command::Clear(several) => each("clear", several),
        Command::Describe(describe) => describe::run(&client, remote.json, describe),
        Command::Rekey { server, old } => operate::rekey(&client, remote.json, &server.server, old),
        Command::Power(power) => power::run(&client, remote.json, power),
        Command::Invite(invite) => invite::run(&client, remote.json, invite),
        Command::Invitations => invite::list(&client, remote.json),
        Command::Uninvite { machine } => invite::remove(&client, machine),
    }
}
