//! A wipe: what is ordered, how it is reported while it runs, and what it covered. What a disk keeps
//! out of everybody's reach (spare and remapped blocks) is in none of these numbers.

use serde::{Deserialize, Serialize};

use crate::directive::DiskSelector;
use crate::id::{Generation, Guid};
use crate::limits;
use crate::refusal::{Refusal, within};

/// Make every block that a target may have used zero, and read all of it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wipe {
    /// Why, for people; the server stays in default with this reason.
    pub reason: String,
    /// The one disk to wipe; without it, the default side's disk and every other that the server
    /// knows to have held a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSelector>,
}

/// What a wipe is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WipePass {
    /// Every block is made zero.
    Zeroing,
    /// Every block is read from the medium.
    ReadingBack,
}

/// What a finished wipe covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Under which order.
    pub generation: Generation,
    /// Every range, in the order in which they were wiped.
    pub ranges: Vec<WipedRange>,
    /// GUIDs of disks that held a target and are not covered: they are away, or were not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Guid>,
}

/// A range of one disk, all of which was read as zero past the page cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipedRange {
    /// The disk, by the system's name for it.
    pub disk: String,
    /// The disk's serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The disk's world-wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// First byte.
    pub offset_bytes: u64,
    /// How many bytes there are to wipe.
    pub length_bytes: u64,
    /// Bytes that were overwritten by the run that finished; the others were read as zero before.
    pub written_bytes: u64,
    /// Bytes that were read back as zero, after a flush.
    pub read_back_bytes: u64,
}

impl Wipe {
    pub(crate) fn check_limits(&self) -> Result<(), Refusal> {
        within("wipe reason", self.reason.len() as u64, limits::FAULT_MESSAGE_BYTES as u64)
    }
}

impl Coverage {
    /// Whether a status may carry it.
    pub fn is_within_limits(&self) -> bool {
        self.check_limits().is_ok()
    }

    pub(crate) fn check_limits(&self) -> Result<(), Refusal> {
        within("wiped ranges", self.ranges.len() as u64, limits::WIPED_RANGES as u64)?;
        within("disks not wiped", self.missing.len() as u64, limits::WIPED_RANGES as u64)
    }
}
