//! Power by programs of the operator's own; that a hung one dies with all that it started is proved
//! beside the code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use repave_controller::power::{BootSource, Off, PowerError, PowerState};
use serde_json::json;

use super::open;

/// A plug whose state is a file, and which writes down how it was called.
const PLUG: &str = r#"#!/bin/sh
folder=$(dirname "$0")
printf '%s|' "$@" >> "$folder/calls"
case $1 in
    status) cat "$folder/state" ;;
    on | cycle) echo on > "$folder/state" ;;
    off) echo off > "$folder/state" ;;
    shutdown) echo "cannot ask" >&2; exit 4 ;;
esac
"#;

fn write_plug(folder: &Path) -> PathBuf {
    let plug = folder.join("plug");
    fs::write(&plug, PLUG).unwrap();
    fs::set_permissions(&plug, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("state"), "off\n").unwrap();
    plug
}

#[test]
fn a_program_is_told_what_to_do_in_whole_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let plug = write_plug(folder.path());
    let calls = || {
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        fs::remove_file(folder.path().join("calls")).unwrap();
        calls
    };
    let hostile = "$(touch pwned); `id` ' \" * a";
    let power = open(json!({"kind": "command", "address": hostile,
        "argv": [plug, "{action}", "{server}", "{address}", "{boot}", "--fast"]}));
    assert_eq!(power.status().unwrap(), PowerState::Off);
    assert_eq!(calls(), format!("status|web-7|{hostile}|none|--fast|"));
    power.on().unwrap();
    assert_eq!(power.status().unwrap(), PowerState::On);
    power.off(Off::Forced).unwrap();
    assert_eq!(power.status().unwrap(), PowerState::Off);
    power.cycle().unwrap();
    assert_eq!(power.status().unwrap(), PowerState::On);
    calls();
    power.boot_once(&BootSource::Disk).unwrap();
    assert_eq!(calls(), format!("boot-once|web-7|{hostile}|disk|--fast|"));

    let error = power.off(Off::Graceful).unwrap_err();
    assert_eq!(error.to_string(), format!("{} refused: exit code 4: cannot ask", plug.display()));
    let error = power.boot_once(&BootSource::Uefi("--all".into())).unwrap_err();
    assert!(error.to_string().contains("would be taken for an option"), "{error}");
    fs::write(folder.path().join("state"), "<html>").unwrap();
    let error = power.status().unwrap_err();
    assert!(matches!(error, PowerError::Malformed { .. }), "{error}");
}

#[test]
fn without_a_placeholder_there_is_no_boot_source() {
    let power = open(json!({"kind": "command", "argv": ["true", "{action}"]}));
    power.cycle().unwrap();
    let error = power.boot_once(&BootSource::Disk).unwrap_err();
    assert!(matches!(error, PowerError::NotOffered { .. }), "{error}");
}

#[test]
fn a_program_that_hangs_is_given_up() {
    let argv = ["sh", "-c", "sleep 600 & sleep 600", "{action}"];
    let power = open(json!({"kind": "command", "argv": argv, "timeout_ms": 300}));
    assert_eq!(power.on().unwrap_err().to_string(), "sh was not done within 300 ms");
}
