//! What cargo says of the workspace and of everything it depends on.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The dependency graph, as far as the gates need it.
pub(crate) struct Metadata {
    pub(crate) root: String,
    pub(crate) packages: Vec<Package>,
}

/// One package.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Whether it is one of ours.
    pub(crate) member: bool,
    /// Direct dependencies of every kind, by name.
    pub(crate) dependencies: Vec<String>,
}

impl Metadata {
    pub(crate) fn load() -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let json: Value = serde_json::from_slice(&output.stdout)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members: Vec<String> = list(&json["workspace_members"]).map(text).collect();
        let packages = list(&json["packages"]).map(|package| Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(str::to_owned),
            member: members.contains(&text(&package["id"])),
            dependencies: list(&package["dependencies"]).map(|d| text(&d["name"])).collect(),
        });
        Ok(Self { root: text(&json["workspace_root"]), packages: packages.collect() })
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
