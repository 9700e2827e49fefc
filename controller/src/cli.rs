//! The commands of `repave`: their arguments, what they print, and their exit codes. The work is
//! done below, in the library that the command is about, or by the controller that it asks.

mod agent_config;
mod failure;
mod image;
mod key;
mod output;
mod progress;
mod shell;
mod simulate;
mod trust;

use clap::{Parser, Subcommand};

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
        Command::Trust(command) => trust::run(command),
        Command::AgentConfig(arguments) => agent_config::run(&arguments),
        Command::Key(command) => key::run(command),
        Command::Image(command) => image::run(command),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Completions(arguments) => shell::completions(&arguments),
        Command::Man(arguments) => shell::man(&arguments),
    }
}
