//! `repave` as an operator meets it: what it prints, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

const BOOT: &str = r#"{"server_type":"web","reports":"none",
    "boot":{"partition":"root","kexec":{"partition":"root","kernel":"/vmlinuz"}}}"#;

/// Runs `repave` in `folder`; checks its exit code and a part of what it prints there.
fn check(folder: &Path, arguments: &[&str], code: i32, printed: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_repave"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let bytes = if code == 0 { output.stdout } else { output.stderr };
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(printed), "{arguments:?}: {text}");
    text
}

#[test]
fn keys() {
    let folder = tempdir().unwrap();
    let key = check(folder.path(), &["key", "generate", "--out", "k"], 0, "\n");
    assert_eq!(key.trim().len(), 64);
    check(folder.path(), &["key", "generate", "--out", "k"], 1, "k exists already");
    check(folder.path(), &["key", "generate", "--out", "no/k"], 1, "cannot create key file no/k");
}

#[test]
fn usage() {
    let folder = tempdir().unwrap();
    check(folder.path(), &["--help"], 0, "Exit codes");
    check(folder.path(), &["paint"], 2, "paint");
    let image = ["image", "verify", "web", "--library", "l"];
    check(folder.path(), &image, 2, "an image is NAME:VERSION");
}

#[test]
fn what_is_refused_is_named() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("boot.json"), BOOT).unwrap();
    fs::write(folder.path().join("disk.raw"), vec![1; 100_000]).unwrap();
    check(folder.path(), &["key", "generate", "--out", "k"], 0, "");
    let import = |source, name, key| {
        [
            "image",
            "import",
            source,
            "--name",
            name,
            "--version",
            "1",
            "--boot",
            "boot.json",
            "--library",
            "library",
            "--key",
            key,
        ]
    };
    let check = |arguments: &[&str], code, printed| check(folder.path(), arguments, code, printed);
    check(&import("disk.raw", "web", "none"), 1, "cannot open key file none");
    check(&import("none.raw", "web", "k"), 1, "cannot open none.raw");
    check(&import("disk.raw", "web", "k"), 3, "neither a GPT nor");
    check(&["image", "list", "--library", "library"], 0, "");
    check(&["image", "list", "--library", "library", "--json"], 0, "[]");
    check(&["image", "inspect", "web:1", "--library", "library"], 3, "has no image web:1");
    check(&["image", "list", "--library", "."], 3, "is not an OCI image layout");
}
