//! Tables of figures: printed when they are whole, and all of them as JSON at the end. And how
//! processor time is measured, since others may use the machine at the same time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::images::Raw;

/// One row: the name of each column, and what it says.
pub(crate) type Row = Vec<(&'static str, Value)>;

/// All tables.
pub(crate) struct Report {
    whole: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(images: &[Raw]) -> Self {
        let images: Vec<Value> = images
            .iter()
            .map(|image| json!({ "name": image.name(), "bytes": image.size_bytes() }))
            .collect();
        for image in &images {
            println!("{image}");
        }
        Self { whole: Map::from_iter([("images".into(), images.into())]) }
    }

    /// Prints a table and keeps it.
    pub(crate) fn add(&mut self, name: &str, rows: Vec<Row>) {
        println!("\n{name}");
        if let Some(first) = rows.first() {
            let heads: Vec<String> = first.iter().map(|(head, _)| (*head).into()).collect();
            println!("{}", line(&heads));
        }
        for row in &rows {
            let cells: Vec<String> = row.iter().map(|(_, value)| cell(value)).collect();
            println!("{}", line(&cells));
        }
        let object = |row: Row| row.into_iter().map(|(head, value)| (head.into(), value)).collect();
        let rows: Vec<Value> = rows.into_iter().map(|row| Value::Object(object(row))).collect();
        self.whole.insert(name.into(), rows.into());
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        println!("\n{}", path.display());
        Ok(fs::write(path, serde_json::to_vec_pretty(&self.whole)?)?)
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or(f64::NAN))
        }
        other => other.to_string(),
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>14}")).collect();
    cells.join(" ")
}

/// Processor seconds of this process that `work` takes: the median of so many times.
pub(crate) fn cpu_s(times: usize, mut work: impl FnMut()) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ProcessCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let mut taken: Vec<f64> = (0..times)
        .map(|_| {
            let before = now();
            work();
            now() - before
        })
        .collect();
    taken.sort_unstable_by(f64::total_cmp);
    taken.get(times / 2).copied().unwrap_or(f64::NAN)
}

/// For people: mebibytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
