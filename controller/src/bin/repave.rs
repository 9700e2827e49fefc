//! `repave`: what an operator does by hand. Everything is in the library; here are only the
//! arguments, the error on the terminal and the exit code.

use std::process::ExitCode;

use clap::Parser;
use repave_controller::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
