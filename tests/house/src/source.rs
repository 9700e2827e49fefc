//! What the sources themselves must keep to: every file says what it is for, and unsafe code lives
//! in one crate.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The one crate that may hold unsafe code.
const UNSAFE_CRATE: &str = "agent/sys";
const CRATES: [&str; 11] = [
    "protocol",
    "image",
    "agent",
    "controller",
    "controller-stub",
    "qemu",
    "tests/chance",
    "tests/fuzz",
    "tests/house",
    "tests/sim",
    "tests/vm",
];

pub(crate) fn faults(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for name in CRATES {
        collect(&root.join(name), &mut files)?;
    }
    let mut faults = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        if !text.starts_with("//!") {
            faults.push(format!("{} does not begin with what it is for (//!)", name.display()));
        }
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let unsafe_at =
            code.into_iter().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"));
        if unsafe_at && !name.starts_with(UNSAFE_CRATE) && !name.ends_with("source.rs") {
            faults.push(format!(
                "{} holds unsafe code, which belongs in {UNSAFE_CRATE}",
                name.display()
            ));
        }
    }
    Ok(faults)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
