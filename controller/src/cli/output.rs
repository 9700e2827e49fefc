//! What commands print and write: lines and JSON on standard output, and files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::Failure;

/// Prints a line to standard output.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(&text)
}

/// Reads a text file that is small by its nature.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| Failure::File {
        what: "read",
        path: path.into(),
        source,
    })
}

/// Writes a text to a file, or to standard output where there is none.
pub(super) fn write_or_print(out: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(path) = out else { return print(text.trim_end()) };
    write(path, text.as_bytes())
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::File {
        what: "write",
        path: path.into(),
        source,
    })
}
