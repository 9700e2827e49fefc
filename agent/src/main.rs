//! `repave-agent`: PID 1 of the default side, or the resident of a target.

use std::process::ExitCode;

fn main() -> ExitCode {
    repave_agent::run(std::env::args().skip(1).collect(), std::process::id())
}
