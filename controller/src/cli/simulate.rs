//! `repave simulate`: a policy tried out on a pool that does not exist, an hour a line.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::{Failure, print, print_json};
use crate::policy::Policy;
use crate::simulate::{Hour, Options, Summary, simulate};

/// Arguments of `repave simulate`.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// The policy, a TOML file.
    policy: PathBuf,
    /// Servers in the pool.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000_000))]
    servers: u32,
    /// Hours to simulate.
    #[arg(long, default_value_t = 48, value_parser = value_parser!(u32).range(1..=8784))]
    hours: u32,
    /// Seconds between rounds of balancing.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u32).range(1..=3600))]
    round_s: u32,
    /// What chance follows from: the same seed gives the same pool.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON: one object with `hours` and `summary`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Simulate) -> Result<(), Failure> {
    let policy = Policy::read(&arguments.policy)?;
    let Simulate { servers, hours, round_s, seed, .. } = *arguments;
    let options = Options { servers, hours, round_s, seed };
    let summary = if arguments.json {
        let mut seen = Vec::new();
        let summary = simulate(&policy, &options, |hour| {
            seen.push(hour.clone());
            Ok::<_, Failure>(())
        })?;
        print_json(&serde_json::json!({ "hours": seen, "summary": summary }))?;
        summary
    } else {
        print(&heading(&policy))?;
        let summary = simulate(&policy, &options, |hour| print(&line(hour)))?;
        print(&closing(&summary))?;
        summary
    };
    match summary.breaches {
        0 => Ok(()),
        breaches => Err(Failure::RulesBroken { breaches }),
    }
}

/// Each type's column holds `up/wanted`.
fn heading(policy: &Policy) -> String {
    let types: String =
        policy.types.iter().map(|declared| format!(" {:>15.15}", declared.name)).collect();
    format!(
        "each type: servers up/wanted at the end of the hour\n\
         hour{types} {:>8} {:>8} {:>6}  rounds held up",
        "purposed", "released", "failed"
    )
}

fn line(hour: &Hour) -> String {
    let column = |up: u32, wanted: u32| format!(" {:>15}", format!("{up}/{wanted}"));
    let types: String = hour.types.iter().map(|figure| column(figure.up, figure.wanted)).collect();
    let held = [
        ("frozen", hour.frozen_rounds),
        ("failure budget", hour.budget_rounds),
        ("rollout stopped", hour.stopped_rounds),
    ];
    let held: Vec<_> = held
        .iter()
        .filter(|(_, rounds)| *rounds > 0)
        .map(|(why, rounds)| format!("{why} {rounds}"))
        .collect();
    let (purposed, released, failed) = (hour.purposed, hour.released, hour.failed);
    let text = format!(
        "{:>4}{types} {purposed:>8} {released:>8} {failed:>6}  {}",
        hour.hour,
        held.join(", ")
    );
    text.trim_end().into()
}

fn closing(summary: &Summary) -> String {
    let Summary { rounds, purposed, released, failed, .. } = summary;
    let mut text = format!(
        "{rounds} rounds: {purposed} purposed, {failed} of them failed, {released} released; \
         frozen in {} rounds, failure budget used up in {}",
        summary.frozen_rounds, summary.budget_rounds
    );
    if summary.breaches == 0 {
        text.push_str("\nno rule was broken");
    }
    for breach in &summary.first_breaches {
        text.push_str(&format!("\nrule broken {breach}"));
    }
    text
}
