//! What a server remembers. Everything optional is something that may not have happened yet.

use std::collections::BTreeSet;
use std::fmt;

use repave_protocol::{BootMethod, Coverage, Fault, Generation, Guid, Sha256};
use serde::{Deserialize, Serialize};

/// Most boot partitions that are kept track of.
const BOOT_PLACES: usize = 8;
/// Most disks that are known to have been written to; with those of the boot partitions, no more than
/// a wipe can report.
const WRITTEN_DISKS: usize = 7;

/// The agent's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Seed of the device key.
    pub device_seed: Secret,
    /// GUIDs of disk, default partition and state partition, as this server was given them at its
    /// first boot. Kept before they are written, so that a cut in between is finished, not redone.
    pub identity: [Guid; 3],
    /// The newest trust document, in its envelope.
    #[serde(default)]
    pub trust: Option<String>,
    /// The last order accepted.
    #[serde(default)]
    pub accepted: Option<Accepted>,
    /// A purposing that has unsealed the target and not sealed it.
    #[serde(default)]
    pub purposing: Option<Purposing>,
    /// The target as it was last sealed.
    #[serde(default)]
    pub seal: Option<Seal>,
    /// Boot partitions that may be bootable although no seal is for them: what is being written,
    /// and what was there before, on whichever disk.
    #[serde(default)]
    pub unsealed: Vec<BootPlace>,
    /// Disks, by GUID, that were written to for a target and not wiped since.
    #[serde(default)]
    pub written: Vec<Guid>,
    /// A wipe under way, by the generation of its order.
    #[serde(default)]
    pub wiping: Option<Generation>,
    /// What the last wipe covered, until a target is written again.
    #[serde(default)]
    pub wiped: Option<Coverage>,
    /// The order to stay in default, with its reason.
    #[serde(default)]
    pub staying: Option<String>,
    /// An order took the sealed target away, or meant to: only another order boots it again.
    #[serde(default)]
    pub withdrawn: bool,
    /// Why the last order accepted was not carried out.
    #[serde(default)]
    pub failure: Option<Fault>,
}

impl Record {
    /// Keeps in mind that a disk is written to for a target.
    pub(crate) fn writes_to(&mut self, disk: Guid) {
        self.written.retain(|known| *known != disk);
        self.written.push(disk);
        let surplus = self.written.len().saturating_sub(WRITTEN_DISKS);
        for disk in self.written.drain(..surplus) {
            log::warn!("disk {disk} is forgotten: {WRITTEN_DISKS} others were written to since");
        }
    }

    /// Every disk that may hold something of a target, by GUID; no more than a wipe can report.
    pub fn target_disks(&self) -> BTreeSet<Guid> {
        let places = self.boot_places();
        // A target's root may have written any number of them here.
        let written = self.written.iter().rev().take(WRITTEN_DISKS).copied();
        written.chain(places.iter().map(|place| place.disk)).collect()
    }

    /// Every boot partition that this server has written and not blanked, as far as is known.
    pub fn boot_places(&self) -> Vec<BootPlace> {
        let sealed = self.seal.as_ref().map(|seal| seal.boot.place());
        let mut places: Vec<_> = self.unsealed.iter().copied().chain(sealed).collect();
        // Only disks that are away for good stay here; the latest are the likeliest to come back.
        let surplus = places.len().saturating_sub(BOOT_PLACES);
        for place in places.drain(..surplus) {
            log::warn!("{place} is forgotten: {BOOT_PLACES} others are known");
        }
        places
    }
}

/// The last order accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its generation.
    pub generation: Generation,
    /// Its digest, without the nonce.
    pub digest: Sha256,
}

/// A purposing under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purposing {
    /// Under which generation.
    pub generation: Generation,
    /// The image, by the digest of its OCI manifest: what is on the disk may be part of this one.
    pub manifest: Sha256,
}

/// A sealed target. It holds all that booting it takes, so that no manifest is needed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Under which generation it was purposed.
    pub generation: Generation,
    /// Server type.
    pub server_type: String,
    /// Image name.
    pub image: String,
    /// Image version.
    pub version: u64,
    /// Digest of the image's OCI manifest.
    pub manifest: Sha256,
    /// How to boot it.
    pub boot: BootPlan,
    /// Whether anything in it will ever report.
    pub reports: bool,
    /// With which time-out in seconds its system feeds the hardware watchdog; it may not.
    #[serde(default)]
    pub watchdog_s: Option<u32>,
    /// How often the default side left for it.
    #[serde(default)]
    pub departures: u64,
    /// How many of the latest departures had no `up`.
    #[serde(default)]
    pub attempts: u32,
    /// Whether it came up before the latest departure.
    #[serde(default)]
    pub came_up: bool,
    /// Whether the latest departure was the agent's own, without a controller.
    #[serde(default)]
    pub alone: bool,
}

/// How to boot a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// The method that the directive asked for.
    pub method: BootMethod,
    /// The disk's GUID.
    pub disk: Guid,
    /// The boot partition's GUID.
    pub partition: Guid,
    /// EFI program on it; without one the target is kexec-only.
    #[serde(default)]
    pub efi_path: Option<String>,
    /// Text for the EFI program.
    #[serde(default)]
    pub options: String,
    /// What kexec needs.
    #[serde(default)]
    pub kexec: Option<KexecPlan>,
}

impl BootPlan {
    /// Where its boot partition is.
    pub const fn place(&self) -> BootPlace {
        BootPlace { disk: self.disk, partition: self.partition }
    }
}

/// A boot partition, by GUIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlace {
    /// Its disk's.
    pub disk: Guid,
    /// Its own.
    pub partition: Guid,
}

impl fmt::Display for BootPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot partition {} of disk {}", self.partition, self.disk)
    }
}

/// What kexec needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KexecPlan {
    /// GUID of the partition that holds kernel and initrd.
    pub partition: Guid,
    /// Its file system.
    pub file_system: String,
    /// Kernel path.
    pub kernel: String,
    /// initrd path.
    #[serde(default)]
    pub initrd: Option<String>,
    /// Command line.
    pub options: String,
}

/// The resident's word: this departure arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpRecord {
    /// Generation of the seal that was booted.
    pub generation: Generation,
    /// The departure, as the seal counted it.
    pub departure: u64,
}

/// Bytes that never show in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Hides `bytes`.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the one who needs them.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
