//! `make torture CUTS=n`: power cuts in real virtual machines, until there are n results; what was
//! done before counts. `make torture AGAIN=folder` powers on once more from what a failure left.
//!
//! Exit code 0: every cut so far led home. 1: one did not, or the campaign could not go on.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use repave_vm::torture::campaign::Campaign;
use repave_vm::torture::{Images, results};
use repave_vm::{build_folder, say};

/// After so many cuts the roads are recorded anew.
const ROUND: u64 = 60;

struct Options {
    cuts: u64,
    seed: u64,
    debian: bool,
    again: Option<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(|options| torture(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("torture: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options { cuts: 0, seed: 1, debian: false, again: None };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--cuts" => options.cuts = value.parse().context("--cuts")?,
            "--seed" => options.seed = value.parse().context("--seed")?,
            "--target" if value == "tiny" => options.debian = false,
            "--target" if value == "debian" => options.debian = true,
            "--again" => options.again = Some(value.into()),
            _ => bail!(
                "{name} {value}: unknown; there are --cuts, --seed, --target tiny|debian, --again"
            ),
        }
    }
    Ok(options)
}

fn torture(options: &Options) -> Result<bool> {
    let name = if options.debian { "debian" } else { "tiny" };
    let folder = build_folder().join("torture").join(name);
    let images =
        if options.debian { Images::debian()? } else { Images::tiny(&folder.join("images"))? };
    let campaign = Campaign::new(&folder, &images)?;
    if let Some(again) = &options.again {
        campaign.again(again)?;
        return Ok(true);
    }
    let results = folder.join("results.jsonl");
    loop {
        let lines = results::read(&results)?;
        let missing = options.cuts.saturating_sub(lines.len() as u64);
        if missing == 0 {
            break;
        }
        say(&format!("{} cuts are done; roads are recorded", lines.len()));
        let roads = campaign.record()?;
        let next = lines.iter().map(|line| line.number + 1).max().unwrap_or(0);
        campaign.cuts(options.seed, (next, next + missing.min(ROUND)), &roads)?;
    }
    let lines = results::read(&results)?;
    say(&results::table(&lines));
    let failed: Vec<u64> =
        lines.iter().filter(|line| line.failure.is_some()).map(|line| line.number).collect();
    if !failed.is_empty() {
        say(&format!("failed: {failed:?}; see {}", folder.join("failures").display()));
    }
    Ok(failed.is_empty())
}
