//! What a disk image does not say about itself: how to boot it, what may be configured in it and
//! whether it reports. Whoever builds the image writes it beside the image as `boot.json`.

use std::fs;
use std::path::Path;

use repave_image::{Boot, Reports, SettingsPolicy, limits};
use repave_protocol::strict_json;
use serde::Deserialize;

use crate::error::ImportError;

/// A `boot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootDescriptor {
    /// What a server with the image is.
    pub server_type: String,
    /// Whether anything in the image reports that it is up.
    pub reports: Reports,
    /// How it is started. For a bare partition image the partition named here is that one.
    pub boot: Boot,
    /// What may be configured in it.
    #[serde(default)]
    pub settings: Option<SettingsPolicy>,
}

impl BootDescriptor {
    /// Reads it from a file.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let bytes = fs::read(path).map_err(|source| ImportError::Io {
            what: "read boot descriptor",
            path: path.into(),
            source,
        })?;
        strict_json(&bytes, limits::MANIFEST_BYTES)
            .map_err(|source| ImportError::Descriptor { path: path.into(), source })
    }
}
