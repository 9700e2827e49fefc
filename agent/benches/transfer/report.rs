//! The table of a bench, its bars, and the same as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::limits;
use crate::made::Made;
use crate::run::Figures;

/// Most memory that a run may take.
const PEAK_RSS_BYTES: f64 = (64_u64 << 20) as f64;

/// One bar: what was measured against what it may be.
#[derive(Debug, Serialize)]
struct Bar {
    name: &'static str,
    found: f64,
    most: f64,
    is_met: bool,
}

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    inflate_and_hash: Figures,
    zstd_cpu_s: f64,
    hash_cpu_s: f64,
    load_average: String,
    cases: BTreeMap<&'static str, Figures>,
}

impl Report {
    pub(crate) fn new(made: &Made) -> Result<Self> {
        let inflated: Result<Vec<Figures>> =
            (0..5).map(|_| limits::inflate_and_hash(made)).collect();
        Ok(Self {
            inflate_and_hash: Figures::median(inflated?).context("five runs have a median")?,
            zstd_cpu_s: limits::zstd_cpu_s(made)?,
            hash_cpu_s: limits::hash_cpu_s(made)?,
            load_average: std::fs::read_to_string("/proc/loadavg")?.trim().into(),
            cases: BTreeMap::new(),
        })
    }

    pub(crate) fn add(&mut self, name: &'static str, figures: Option<Figures>) {
        let Some(figures) = figures else { return };
        println!("{}", line(name, &figures));
        self.cases.insert(name, figures);
    }

    pub(crate) fn print(&self) {
        println!("\n{}", line("inflate + hash, all cores", &self.inflate_and_hash));
        println!("CPU of zstd -d {:.2} s, of hashing {:.2} s", self.zstd_cpu_s, self.hash_cpu_s);
        for Bar { name, found, most, is_met } in self.bars() {
            let verdict = match is_met {
                true => "met".into(),
                false => format!("MISSED by {:.0} %", (found / most - 1.0) * 100.0),
            };
            println!("{name}: {found:.3}, at most {most:.3}: {verdict}");
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Whole<'a> {
            report: &'a Report,
            bars: Vec<Bar>,
        }
        std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        let text = serde_json::to_string_pretty(&Whole { report: self, bars: self.bars() })?;
        Ok(std::fs::write(path, text)?)
    }

    /// The bars whose cases were run.
    fn bars(&self) -> Vec<Bar> {
        let wall = |name| self.cases.get(name).map(|case: &Figures| case.wall_s);
        let fetched = |name| self.cases.get(name).map(|case: &Figures| case.fetched_bytes as f64);
        let peaks = ["fresh", "fresh+read-back", "upgrade", "rebuilt", "same", "disk", "sparse-2t"];
        let peaks = peaks.iter().filter_map(|name| self.cases.get(name));
        let peak = peaks.map(|case| case.peak_rss_bytes as f64).max_by(f64::total_cmp);
        let cpu = self.cases.get("fresh").map(|case| case.cpu_s);
        let limit = wall("raw limit").map(|raw| raw.max(self.inflate_and_hash.wall_s));
        let bars = [
            ("1 wall, fresh, against curl|zstd|dd", wall("fresh"), wall("curl|zstd|dd"), 0.6),
            ("1 wall, fresh, against the limits", wall("fresh"), limit, 1.25),
            ("2 wall with read-back, against without", wall("fresh+read-back"), wall("fresh"), 1.6),
            (
                "3 bytes fetched of an upgrade, against casync",
                fetched("upgrade"),
                fetched("casync upgrade"),
                1.3,
            ),
            ("3 wall of an upgrade, against casync", wall("upgrade"), wall("casync upgrade"), 0.15),
            (
                "4 wall, same again, against reading or hashing",
                wall("same"),
                wall("read+hash limit"),
                1.3,
            ),
            ("5 peak RSS in bytes", peak, Some(PEAK_RSS_BYTES), 1.0),
            (
                "5 CPU, fresh, against zstd -d and hashing",
                cpu,
                Some(self.zstd_cpu_s + self.hash_cpu_s),
                1.3,
            ),
        ];
        let bar = |(name, found, against, share): (_, Option<f64>, Option<f64>, f64)| {
            let (found, most) = (found?, against? * share);
            Some(Bar { name, found, most, is_met: found <= most })
        };
        bars.into_iter().filter_map(bar).collect()
    }
}

fn line(name: &str, figures: &Figures) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{name:26} wall {:7.3} s  CPU {:7.3} s  peak RSS {:6.1} MiB  fetched {:7.1} MiB  ({} runs)",
        figures.wall_s,
        figures.cpu_s,
        mib(figures.peak_rss_bytes),
        mib(figures.fetched_bytes),
        figures.runs
    )
}
