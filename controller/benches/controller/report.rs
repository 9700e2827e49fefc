//! Figures, bars, and how they are shown: a table for people, JSON for comparing runs.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::load::Window;

/// One measured thing, and what it may be at most or must be at least.
#[derive(Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bar: Option<Bar>,
    met: Option<bool>,
    load_average: f64,
}

/// What a figure is held to.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bar) => value <= bar,
            Self::AtLeast(bar) => value >= bar,
        }
    }
}

/// Everything that one run found.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    notes: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn note(&mut self, note: String) {
        println!("{note}");
        self.notes.push(note);
    }

    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        (value, unit): (f64, &'static str),
        bar: Option<Bar>,
        load_average: f64,
    ) {
        let met = bar.map(|bar| bar.holds(value));
        let figure = Figure { name: name.into(), value, unit, bar, met, load_average };
        println!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// What is said of each run of windows: medians over them.
    pub(crate) fn windows(&mut self, name: &str, windows: &[Window], answer_ms: Option<Bar>) {
        let of = |each: &dyn Fn(&Window) -> f64| median(windows.iter().map(each));
        let load = of(&|window| window.load_average);
        let ms = |us: u64| us as f64 / 1000.0;
        let took = |share: f64| of(&|window| ms(percentile(&window.took_us, share)));
        self.add(format!("{name}: answer time, p50"), (took(0.5), "ms"), None, load);
        self.add(format!("{name}: answer time, p99"), (took(0.99), "ms"), answer_ms, load);
        self.add(format!("{name}: answer time, max"), (took(1.0), "ms"), None, load);
        if windows.iter().any(|window| window.late_us.last() > Some(&0)) {
            let late = of(&|window| ms(percentile(&window.late_us, 0.99)));
            self.add(format!("{name}: generator late by, p99"), (late, "ms"), None, load);
        }
        let cpu = of(&|window| window.daemon_cpu_s / window.seconds);
        self.add(format!("{name}: CPU of the controller"), (cpu, "cores"), None, load);
        let cpu = of(&|window| window.bench_cpu_s / window.seconds);
        self.add(format!("{name}: CPU of the generator"), (cpu, "cores"), None, load);
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let missed = self.figures.iter().filter(|figure| figure.met == Some(false)).count();
        let bars = self.figures.iter().filter(|figure| figure.bar.is_some()).count();
        println!("\n{} of {bars} bars met; {}", bars - missed, path.display());
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

fn line(figure: &Figure) -> String {
    let bar = match figure.bar {
        None => String::new(),
        Some(Bar::AtMost(bar)) => format!("≤ {bar:.0}"),
        Some(Bar::AtLeast(bar)) => format!("≥ {bar:.0}"),
    };
    let met = figure.met.map_or("", |met| if met { "met" } else { "MISSED" });
    format!(
        "{:<60} {:>9.1} {:<6} {bar:<8} {met:<7} load {:.1}",
        figure.name, figure.value, figure.unit, figure.load_average
    )
}

/// Answers a second, the median window's.
pub(crate) fn rate(windows: &[Window]) -> f64 {
    median(windows.iter().map(|window| window.took_us.len() as f64 / window.seconds))
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
