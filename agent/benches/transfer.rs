//! How fast `repave-agent write` is, beside other tools on the same bytes and the same machine, and
//! against the limits of the disk and of the processors. Needs root, and the tools that
//! `agent/benches/transfer/deps.sh` installs. See docs/decisions/0016.

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

#[path = "transfer/device.rs"]
mod device;
#[path = "transfer/limits.rs"]
mod limits;
#[path = "transfer/made.rs"]
mod made;
#[path = "transfer/report.rs"]
mod report;
#[path = "transfer/run.rs"]
mod run;
#[path = "transfer/server.rs"]
mod server;
#[path = "transfer/sparse.rs"]
mod sparse;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use device::Device;
use made::Made;
use report::Report;
use run::{Figures, Tool};
use server::Server;

/// Runs of each, of which the median is told.
const RUNS: usize = 5;

/// Who is measured on what is there before: noise, the old version, or the same image.
const CASES: [Case; 19] = [
    Case { name: "fresh", tool: Tool::Repave { image: "bench:1", read_back: false }, before: "" },
    Case {
        name: "fresh+read-back",
        tool: Tool::Repave { image: "bench:1", read_back: true },
        before: "",
    },
    Case {
        name: "upgrade",
        tool: Tool::Repave { image: "bench:2", read_back: true },
        before: "old",
    },
    Case {
        name: "rebuilt",
        tool: Tool::Repave { image: "bench:3", read_back: true },
        before: "old",
    },
    Case { name: "same", tool: Tool::Repave { image: "bench:1", read_back: true }, before: "old" },
    Case { name: "disk", tool: Tool::Repave { image: "disk:1", read_back: false }, before: "" },
    Case { name: "raw limit", tool: Tool::RawLimit, before: "" },
    Case { name: "fio, 4 threads", tool: Tool::Fio { threads: 4, uring_depth: None }, before: "" },
    Case { name: "fio, 8 threads", tool: Tool::Fio { threads: 8, uring_depth: None }, before: "" },
    Case {
        name: "fio, io_uring, 4 deep",
        tool: Tool::Fio { threads: 1, uring_depth: Some(4) },
        before: "",
    },
    Case {
        name: "fio, io_uring, 8 deep",
        tool: Tool::Fio { threads: 1, uring_depth: Some(8) },
        before: "",
    },
    Case {
        name: "fio, io_uring, 32 deep",
        tool: Tool::Fio { threads: 1, uring_depth: Some(32) },
        before: "",
    },
    Case { name: "read+hash limit", tool: Tool::ReadLimit, before: "old" },
    Case { name: "curl|zstd|dd", tool: Tool::Curl, before: "" },
    Case { name: "bmaptool", tool: Tool::Bmaptool, before: "" },
    Case { name: "coreos-installer", tool: Tool::CoreosInstaller, before: "" },
    Case { name: "casync upgrade", tool: Tool::Casync { image: "new", seed: true }, before: "old" },
    Case {
        name: "casync rebuilt",
        tool: Tool::Casync { image: "rebuilt", seed: true },
        before: "old",
    },
    Case { name: "casync fresh", tool: Tool::Casync { image: "new", seed: false }, before: "" },
];

struct Case {
    name: &'static str,
    tool: Tool,
    /// The raw image that is on the device before, or noise.
    before: &'static str,
}

fn main() -> Result<()> {
    // `cargo bench` passes flags of its own; words choose cases, a number the runs of each.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runs = words.iter().find_map(|word| word.parse().ok()).unwrap_or(RUNS);
    let names: Vec<&String> = words.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    let made = Made::new(&cache()?.join("bench"))?;
    made.warm()?;
    let server = Server::start(made.folder())?;
    let mut report = Report::new(&made)?;
    let is_named = |case: &str| names.iter().any(|name| *name == case);
    if names.is_empty() || is_named(sparse::NAME) {
        let figures = sparse::measure(made.folder(), &server)?;
        report.add(sparse::NAME, Some(figures));
    }
    let cases = CASES.iter().filter(|case| names.is_empty() || is_named(case.name));
    measure(cases, runs, &made, &server, &mut report)?;
    report.print();
    report.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/bench/report.json"))
}

/// Where what takes long to make is kept, as for everything else that is made once.
fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("REPAVE_CACHE") {
        return Ok(cache.into());
    }
    let home = env::var_os("HOME").context("HOME is not set")?;
    Ok(Path::new(&home).join(".cache/repave"))
}

/// Measures cases on one device, which there is only if there are cases. They take turns, so that what
/// else the machine does for a while is no one case's.
fn measure<'a>(
    cases: impl Iterator<Item = &'a Case>,
    runs: usize,
    made: &Made,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let mut cases: Vec<(&Case, Vec<Figures>)> = cases.map(|case| (case, Vec::new())).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let device = Device::new(made.folder(), made.device_bytes())?;
    for round in 1..=runs {
        println!("round {round} of {runs}");
        let mut failed = Vec::new();
        for (case, figures) in &mut cases {
            match measure_once(case, made, &device, server) {
                Ok(run) => figures.push(run),
                Err(error) => {
                    println!("{} is left out: {error:#}", case.name);
                    failed.push(case.name);
                }
            }
        }
        cases.retain(|(case, _)| !failed.contains(&case.name));
    }
    for (case, figures) in cases {
        report.add(case.name, Figures::median(figures));
    }
    Ok(())
}

fn measure_once(case: &Case, made: &Made, device: &Device, server: &Server) -> Result<Figures> {
    match case.before {
        "" => device.fill_with_noise()?,
        raw => device.fill_with(&made.raw(raw))?,
    }
    device.drop_caches()?;
    let fetched = server.served_bytes();
    let mut run = run::measure(&case.tool, made, device, server)?;
    run.fetched_bytes = server.served_bytes() - fetched;
    Ok(run)
}
