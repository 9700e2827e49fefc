//! The smaller tables of a policy and their defaults. A default is what a careful operator would
//! begin with; the example file says the same numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::milli::Milli;

/// How many purposings may fail within a time before nothing more is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailureBudget {
    /// This many use the budget up.
    pub failures: u32,
    /// Within this many seconds.
    pub window_s: u64,
}

impl Default for FailureBudget {
    fn default() -> Self {
        Self { failures: 5, window_s: 3600 }
    }
}

/// Which figure of a server is compared with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The share of the CPUs' time that was not idle between two reports: 1.0 is every CPU busy.
    Cpu,
    /// The one-minute load average as it is.
    LoadAverage,
    /// The share of memory in use.
    Memory,
}

/// How many servers a type wants, by how busy they are (decision 0008).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadTarget {
    /// What is measured.
    pub measure: Measure,
    /// What its mean over the type's servers should be.
    pub target: Milli,
    /// Within this share of the target nothing changes.
    #[serde(default = "LoadTarget::default_tolerance")]
    pub tolerance: Milli,
    /// A rise must have been wanted for this many seconds.
    #[serde(default = "LoadTarget::default_stabilise_up_s")]
    pub stabilise_up_s: u64,
    /// A fall must have been wanted for this many seconds.
    #[serde(default = "LoadTarget::default_stabilise_down_s")]
    pub stabilise_down_s: u64,
    /// After a change, none for this many seconds.
    #[serde(default = "LoadTarget::default_cool_down_s")]
    pub cool_down_s: u64,
}

impl LoadTarget {
    const fn default_tolerance() -> Milli {
        Milli(100)
    }

    const fn default_stabilise_up_s() -> u64 {
        60
    }

    /// A purposing costs minutes, and giving a server away too early costs two.
    const fn default_stabilise_down_s() -> u64 {
        900
    }

    const fn default_cool_down_s() -> u64 {
        120
    }
}

/// Whether a type's servers hold what must not be overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Its servers can be purposed anew at any time.
    #[default]
    Disposable,
    /// Its servers hold data: the balancer may make more of them and never takes one.
    Guarded,
}

/// What a server needs to become one of a type; what is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requires {
    /// Labels that it must have, with these values.
    pub labels: BTreeMap<String, String>,
    /// Least memory, in MiB.
    pub ram_mib: u64,
    /// Least size of its largest disk, in MiB.
    pub disk_mib: u64,
    /// Processor architecture, such as `amd64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// Templates of what is configured inside a target; [`render`](super::settings::render) fills them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsTemplates {
    /// Host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Lines for root's `authorized_keys`; one that renders to nothing is left out.
    pub ssh_authorized_keys: Vec<String>,
    /// The image's systemd feeds the hardware watchdog, which resets a server that was not fed for so
    /// many seconds. Not a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_s: Option<u32>,
    /// Whole files.
    pub files: Vec<FileTemplate>,
}

/// One file, as templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTemplate {
    /// Absolute path in the target; not a template, so that a fact cannot choose it.
    pub path: String,
    /// Permission bits, `0o644` in TOML and 420 in JSON.
    #[serde(default = "FileTemplate::default_mode")]
    pub mode: u32,
    /// Its text.
    pub content: String,
}

impl FileTemplate {
    const fn default_mode() -> u32 {
        0o644
    }
}

/// When a server is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// It must be up this many seconds after its directive, or the purposing has failed.
    pub up_within_s: u64,
    /// Its load counts this many seconds after it came up.
    pub settle_s: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self { up_within_s: 1800, settle_s: 60 }
    }
}

/// How a new version of an image reaches the servers of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollout {
    /// Servers that go first and must settle before any other.
    pub canary: u32,
    /// Then at most this share of the type is on its way or settling.
    pub wave_share: Milli,
    /// A server counts as good this many seconds after it came up.
    pub settle_s: u64,
    /// The version may fail on so many servers, however often on each; one more stops its rollout.
    pub most_failures: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self { canary: 1, wave_share: Milli(100), settle_s: 300, most_failures: 1 }
    }
}
