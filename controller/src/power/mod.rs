//! Power: how a server that does not answer is brought home. What can be done is the trait
//! [`Power`]; how, is a table of methods, one file each; when, is decided in [`home`], which does
//! nothing itself.
//!
//! Everything here blocks, for at most the limits named in each method, so an async caller goes
//! through `spawn_blocking` (decision 0010). Nothing is retried here.

mod command;
mod config;
mod error;
pub mod home;
mod qmp;
mod redfish;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::command::CommandConfig;
pub use self::config::PowerConfig;
pub use self::error::PowerError;
pub use self::qmp::QmpConfig;
pub use self::redfish::{BootOverride, Login, Redfish, RedfishConfig, Scheme, Trust};

/// What a server's power can be told and asked. An order that was taken is not yet obeyed: a
/// management controller answers first and switches later, and whether a server is home is told by
/// its own next report. An order that is obeyed already is no error.
pub trait Power: fmt::Debug + Send + Sync {
    /// What the power is now.
    ///
    /// # Errors
    /// [`PowerError`], as all of these.
    fn status(&self) -> Result<PowerState, PowerError>;

    /// Switches it on.
    ///
    /// # Errors
    /// As [`Power::status`].
    fn on(&self) -> Result<(), PowerError>;

    /// Switches it off.
    ///
    /// # Errors
    /// As [`Power::status`].
    fn off(&self, how: Off) -> Result<(), PowerError>;

    /// Makes it start from its firmware, whatever it does now; a server that is off is switched on.
    ///
    /// # Errors
    /// As [`Power::status`].
    fn cycle(&self) -> Result<(), PowerError>;

    /// Chooses where the next start, and only that one, boots from.
    ///
    /// # Errors
    /// As [`Power::status`]; [`PowerError::NotOffered`] where there is no such choice.
    fn boot_once(&self, source: &BootSource) -> Result<(), PowerError>;
}

/// What the power of a server is (Redfish `Resource.PowerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// On; nothing is said about what runs.
    On,
    /// Off.
    Off,
    /// On its way from off to on.
    PoweringOn,
    /// On its way from on to off.
    PoweringOff,
    /// Held in the middle of its work.
    Paused,
}

/// How hard a server is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Its operating system is asked, and may take its time or refuse.
    Graceful,
    /// At once.
    Forced,
}

/// Where one start boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootSource {
    /// What the firmware has in its own order: a choice made before is withdrawn.
    Default,
    /// The first disk.
    Disk,
    /// The network.
    Network,
    /// A UEFI device path in text form (UEFI 2.10, section 10.6).
    Uefi(String),
}

impl fmt::Display for BootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Disk => f.write_str("disk"),
            Self::Network => f.write_str("network"),
            Self::Uefi(path) => f.write_str(path),
        }
    }
}
