//! `repave` as an operator meets it: what it prints, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/command.rs"]
mod command;
mod controller;
mod image;
mod offline;
mod remote;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

const BOOT: &str = r#"{"server_type":"web","reports":"none",
    "boot":{"partition":"root","kexec":{"partition":"root","kernel":"/vmlinuz"}}}"#;

/// Runs `repave` in `folder`; checks its exit code and a part of what it prints there.
fn check(folder: &Path, arguments: &[&str], code: i32, printed: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_repave"));
    command.args(arguments).current_dir(folder);
    command::check(command, code, printed)
}

#[test]
fn keys() {
    let folder = tempdir().unwrap();
    let key = check(folder.path(), &["key", "generate", "--out", "k"], 0, "\n");
    assert_eq!(key.trim().len(), 64);
    check(folder.path(), &["key", "generate", "--out", "k"], 1, "k exists already");
    check(folder.path(), &["key", "public", "k"], 0, &key);
    check(folder.path(), &["key", "public", "none"], 1, "cannot open key file none");
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

const POLICY: &str = r#"[pool]
name = "demo"
[[type]]
name = "web"
image = "web:stable"
max = 9
wanted = 4
"#;

#[test]
fn a_policy_is_tried_out() {
    let folder = tempdir().unwrap();
    let write = |text: &str| fs::write(folder.path().join("policy.toml"), text).unwrap();
    let check = |arguments: &[&str], code, printed| {
        check(folder.path(), &[&["simulate"], arguments].concat(), code, printed)
    };
    write(POLICY);
    let text = check(&["policy.toml", "--servers", "9", "--hours", "2"], 0, "no rule was broken");
    assert!(text.contains("4/4"), "{text}");
    let json = check(&["policy.toml", "--servers", "9", "--hours", "1", "--json"], 0, "summary");
    assert!(json.contains(r#""breaches": 0"#), "{json}");
    check(&["policy.toml", "--servers", "0"], 2, "--servers");
    check(&["none.toml"], 1, "cannot read policy none.toml");
    write(&POLICY.replace("max", "most"));
    check(&["policy.toml"], 3, "unknown field `most`");
    write(&POLICY.replace("wanted = 4", "wanted = "));
    check(&["policy.toml"], 3, "line 7");
    write(&POLICY.replace("wanted = 4", "wanted = 10\nmin = 11"));
    let text = check(&["policy.toml"], 3, "type web: min is 11, above its max of 9");
    assert!(text.contains("type web: wanted is 10"), "all faults at once: {text}");
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempdir().unwrap();
    let unit = include_str!("../../repave-controller.service");
    let installed = "ExecStart=/usr/bin/repave-controller ";
    assert!(unit.contains(installed));
    let here = format!("ExecStart={} ", env!("CARGO_BIN_EXE_repave-controller"));
    let path = folder.path().join("repave-controller.service");
    fs::write(&path, unit.replace(installed, &here)).unwrap();
    let mut verify = Command::new("systemd-analyze");
    let output = verify.args(["verify", "--man=no"]).arg(&path).output();
    let output = output.expect("the Debian package systemd; initramfs/deps.sh installs it");
    // A key that it does not know is only a warning to it.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
