//! `repave-controller`: the daemon. Everything is in the library; here are only the arguments, the
//! log, the signals and the exit code.

use std::io;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use repave_controller::daemon::{Command, Options, initialise, start};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("repave-controller: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    match options.command {
        Command::Init(flags) => {
            let made = initialise(flags.with_file()?)?;
            say(&format!(
                "directive key {}\nCA certificate {}\nNow sign a trust document that names both: repave trust sign --help",
                made.directive_key,
                made.ca.display()
            ))
        }
        Command::Run(flags) => {
            let flags = flags.with_file()?;
            log_to_stderr(flags.log_json());
            serve(&flags.run()?)
        }
    }
}

fn serve(run: &repave_controller::daemon::Run) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = start(run).await?;
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        running.stop().await;
        Ok(())
    })
}

fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("REPAVE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_target(false).init();
    }
}

fn say(text: &str) -> Result<()> {
    use io::Write;
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn tell(text: &str) {
    use io::Write;
    // Nobody is left to tell if standard error is gone, too.
    let _ = writeln!(io::stderr(), "{text}");
}
