//! The agent: PID 1 of the default side, resident of a target. It implements the core's edges with
//! system calls and starts the core; what the core decides is not here.

pub mod configurator;
mod console;
pub mod crew;
mod direct_file;
pub mod disk;
mod field_log;
pub mod firmware;
pub mod host;
pub mod http;
pub mod https;
pub mod inventory;
pub mod link;
#[cfg(test)]
mod loop_disk;
pub mod mount;
pub mod network;
mod pace;
mod pid1;
pub mod power;
mod resident;
mod watchdog;
mod world;
mod write;

use std::process::ExitCode;

use std::io::Write;

const USAGE: &str = "usage: repave-agent resident    report from inside a target\n       \
                     repave-agent write       write an image to a device (write --help)\n       \
                     repave-agent --version\n\
                     As process 1 of the default side it takes no arguments.\n";

/// Runs what the arguments ask for; as process 1, the default side, whatever they are: they are
/// words of the kernel command line then.
pub fn run(arguments: Vec<String>, process: u32) -> ExitCode {
    if process == 1 {
        pid1::run();
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["resident"] => {
            console::start();
            resident::run();
            ExitCode::SUCCESS
        }
        ["write", "--help" | "-h"] => say(std::io::stdout(), write::USAGE),
        ["write", ref options @ ..] => write::run(options),
        ["--version"] => {
            say(std::io::stdout(), &format!("repave-agent {}\n", env!("CARGO_PKG_VERSION")))
        }
        ["--help" | "-h"] => say(std::io::stdout(), USAGE),
        _ => {
            say(std::io::stderr(), USAGE);
            ExitCode::from(2)
        }
    }
}

fn say(mut out: impl Write, text: &str) -> ExitCode {
    match out.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
