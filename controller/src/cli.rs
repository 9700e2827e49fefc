//! The commands of `repave`: their arguments, what they print, and their exit codes. The work is
//! done below, in the library that the command is about, or by the controller that it asks.

mod agent_config;
mod channel;
mod client;
mod event;
mod failure;
mod image;
mod key;
mod output;
mod plan;
mod pool;
mod progress;
mod remote;
mod server;
mod shell;
mod simulate;
mod span;
mod table;
mod token;
mod trust;
mod watch;

use clap::{Parser, Subcommand};

pub use client::ClientError;
pub use failure::{
    EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_USAGE, Failure,
};
use output::{print, print_json};

/// Run a pool of servers whose purpose changes.
#[derive(Debug, Parser)]
#[command(
    name = "repave",
    version,
    disable_help_subcommand = true,
    after_help = failure::EXIT_CODES
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Servers: what there is, what each is doing, and what is done to one.
    Server(server::Server),
    /// The pool and its policy.
    Pool(pool::Pool),
    /// Show what a round of balancing would move, and why.
    Plan(plan::PlanArguments),
    /// Put a policy in force, or carry a round of balancing out now.
    Apply(plan::ApplyArguments),
    /// Stop the balancer: nothing is moved until it is resumed.
    Pause(pool::Switch),
    /// Let the balancer go on.
    Resume(pool::Switch),
    /// Server types, and how many servers each wants and has.
    Type(pool::Type),
    /// Channels of images: which version each points at.
    Channel(channel::Channels),
    /// What happened, and what is happening.
    Event(event::Event),
    /// Operators' tokens.
    Token(token::Token),
    /// Tokens that unknown servers show to be let wait for approval.
    JoinToken(token::JoinTokens),
    /// Trust documents: which keys and which CA servers believe.
    #[command(subcommand)]
    Trust(trust::Command),
    /// Write agent.json, the agent's configuration on the default partition.
    AgentConfig(agent_config::AgentConfig),
    /// Signing keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Images and their library.
    #[command(subcommand)]
    Image(image::Command),
    /// Try a policy out on a simulated pool.
    Simulate(simulate::Simulate),
    /// Print a script that completes repave's commands in a shell.
    Completions(shell::Completions),
    /// Write man pages of repave and of each of its commands.
    Man(shell::Man),
}

/// Runs one command.
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Server(arguments) => server::run(&arguments),
        Command::Pool(arguments) => pool::run(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Apply(arguments) => plan::apply(&arguments),
        Command::Pause(arguments) => pool::switch(&arguments, "pause"),
        Command::Resume(arguments) => pool::switch(&arguments, "resume"),
        Command::Type(arguments) => pool::run_type(&arguments),
        Command::Channel(arguments) => channel::run(&arguments),
        Command::Event(arguments) => event::run(&arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::JoinToken(arguments) => token::run_join(&arguments),
        Command::Trust(command) => trust::run(command),
        Command::AgentConfig(arguments) => agent_config::run(&arguments),
        Command::Key(command) => key::run(command),
        Command::Image(command) => image::run(command),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
    }
}
