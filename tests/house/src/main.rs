//! Runs every gate over the workspace and prints what breaks one; `make check` calls it. The rules
//! themselves are data beside it: `tests/floors.txt` and `tests/licences.txt`.

mod floors;
mod licences;
mod metadata;
mod source;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use metadata::Metadata;

fn main() -> Result<ExitCode> {
    let metadata = Metadata::load()?;
    let root = metadata.root.clone();
    let read = |name: &str| {
        let path = Path::new(&root).join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut faults = floors::faults(&metadata, &read("tests/floors.txt")?);
    faults.extend(licences::faults(&metadata, &read("tests/licences.txt")?));
    faults.extend(source::faults(Path::new(&root))?);
    for fault in &faults {
        complain(fault);
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stderr, reason = "this is a command-line tool; stderr is its report")]
fn complain(fault: &str) {
    eprintln!("house: {fault}");
}
