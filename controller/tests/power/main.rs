//! Power against what it will meet: an emulator of Redfish that others wrote, beside their client;
//! controllers that lie; QEMU; and programs.
//!
//! The emulator and the client come from PyPI by `common/venv.sh`, once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside_sushy;
mod commands;
mod controllers;
mod emulator;
mod hostile;
mod http_server;
#[path = "../common/python.rs"]
mod python;
mod qemu;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use repave_controller::power::{Power, PowerConfig};
use serde_json::Value;

/// How long anything may take before a test gives up on it; nothing waits this long that works.
const GUARD: Duration = Duration::from_secs(60);

/// The power that these settings open.
fn open(settings: Value) -> Box<dyn Power> {
    serde_json::from_value::<PowerConfig>(settings).unwrap().open("web-7").unwrap()
}

/// A file that nobody but us may read.
fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
