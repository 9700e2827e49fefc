//! What a server says of itself. Signed with the device key, from either side; the answer to it is
//! a directive.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::directive::BootMethod;
use crate::id::{Generation, Nonce, PoolId, ServerId};
use crate::inventory::Inventory;
use crate::limits;
use crate::log::{LogTail, without_credentials};
use crate::refusal::{Refusal, within};
use crate::source::SourceReport;
use crate::verify::Message;
use crate::wipe::{Coverage, WipePass};

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Fields that the receiver must understand or refuse the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
    /// The pool the server believes to be in.
    pub pool: PoolId,
    /// The server.
    pub server: ServerId,
    /// Random; the answer must repeat it.
    pub nonce: Nonce,
    /// Random, drawn once per boot: a new one means that the server was restarted.
    pub boot: Nonce,
    /// Counts the statuses of this boot from 0.
    pub sequence: u64,
    /// The side that is running.
    pub side: Side,
    /// The agent's version.
    pub agent: String,
    /// Generation of the last order accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Version of the trust document that the server goes by: the controller need not send what is
    /// known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
    /// What the target was last sealed as; gone once it is unsealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealReport>,
    /// What the last wipe covered; gone once a target is written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wiped: Option<Coverage>,
    /// What the server is doing.
    pub standing: Standing,
    /// The last lines of the logs; with [`Standing::Failed`] only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogTail>,
    /// Sources of the image that lied, or failed again and again, since the order came. Only with
    /// standings of a purposing: [`Standing::Purposing`], [`Standing::Leaving`], [`Standing::Failed`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_sources: Vec<SourceReport>,
    /// Milliseconds since the kernel started.
    pub uptime_ms: u64,
    /// Whether a hardware watchdog guards the server, as far as the speaker knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<WatchdogReport>,
    /// Hardware; in the first status of each boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// SHA-256 of the default partition, once it has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_partition: Option<Sha256>,
    /// Proof that somebody invited this server; it yields `pending` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
}

/// Which side of the server is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The small trusted system.
    Default,
    /// The server's present purpose.
    Target,
}

/// What the server says of its hardware watchdog. In a status that says [`Standing::Leaving`], it
/// is what holds while the target starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogReport {
    /// What guards the server.
    pub guard: Guard,
    /// A watchdog says that it reset the server, and that this boot began so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

/// What resets a server that hangs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Guard {
    /// A watchdog that is not fed for so long.
    Armed {
        /// What its driver calls it.
        device: String,
        /// Seconds.
        timeout_s: u32,
    },
    /// Nothing.
    NotArmed {
        /// Why, for people.
        reason: String,
    },
}

/// What the target was sealed as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealReport {
    /// Under which generation.
    pub generation: Generation,
    /// Server type.
    pub server_type: String,
    /// Image name.
    pub image: String,
    /// Image version.
    pub version: u64,
    /// SHA-256 of the image's OCI manifest.
    pub manifest: Sha256,
    /// Boots into it since, without an `up`.
    #[serde(default)]
    pub attempts: u32,
    /// Whether the latest boot was the agent's own, for want of a controller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
}

/// What the server is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Standing {
    /// In default, waiting for an order.
    Idle,
    /// Purposing; `stage` is the last one that was reached.
    Purposing {
        /// Last stage reached.
        stage: Stage,
        /// Bytes of the image dealt with.
        done_bytes: u64,
        /// Bytes of the image.
        total_bytes: u64,
        /// Bytes dealt with in each second, lately.
        bytes_per_s: u64,
    },
    /// About to leave for the target.
    Leaving {
        /// How.
        method: BootMethod,
    },
    /// In default, and staying there on orders.
    Staying,
    /// Wiping, on orders. That a wipe has ended is told by [`Status::wiped`].
    Wiping {
        /// What is being done.
        pass: WipePass,
        /// Bytes that this pass has dealt with.
        done_bytes: u64,
        /// Bytes to deal with, on all disks.
        total_bytes: u64,
        /// Bytes dealt with in each second, lately.
        bytes_per_s: u64,
    },
    /// The last order could not be carried out.
    Failed {
        /// Why.
        fault: Fault,
    },
    /// The target runs.
    Up {
        /// How busy it is.
        load: Load,
    },
    /// The target leaves for default on orders.
    Returning,
}

impl Standing {
    /// Whether a status may name sources that failed or lied.
    pub const fn may_name_sources(&self) -> bool {
        matches!(self, Self::Purposing { .. } | Self::Leaving { .. } | Self::Failed { .. })
    }
}

/// The stages of a purposing, in their order. A stage is reported when it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The directive was verified and recorded.
    Accepted,
    /// The plan stands; nothing was changed yet.
    Planned,
    /// The old target can no longer be booted.
    Unsealed,
    /// All chunks but the heads are on the disk.
    Written,
    /// All of it was read back past the cache.
    Audited,
    /// Settings are in place and were verified.
    Configured,
    /// The target is whole, and the journal says so.
    Sealed,
    /// The firmware will boot it next.
    Armed,
}

/// How busy a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// One-minute load average, in thousandths.
    pub load_milli: u64,
    /// Share of the CPUs' time that was not idle since the report before, in thousandths.
    pub busy_milli: u64,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whose it is to mend.
    pub blame: Blame,
    /// Stable name, for programs.
    pub code: String,
    /// One line for people: the thing, the place, the way out.
    pub message: String,
    /// The last stage reached before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

/// Whose fault a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The directive was wrong.
    Controller,
    /// The image, or a source that serves it.
    Image,
    /// Disk or firmware.
    Device,
    /// The way between.
    Network,
    /// The server's own configuration on its default partition.
    Configuration,
    /// The agent itself.
    Agent,
}

impl Fault {
    /// A fault whose code and message are cut to the wire's limits, at a character. What the URLs in
    /// the message say of a name and a password is left out.
    pub fn new(blame: Blame, code: &str, message: &str, stage: Option<Stage>) -> Self {
        let message =
            String::from_utf8_lossy(&without_credentials(message.as_bytes())).into_owned();
        let clipped = |text: &str, limit| text[..text.floor_char_boundary(limit)].to_owned();
        Self {
            blame,
            code: clipped(code, limits::NAME_BYTES),
            message: clipped(&message, limits::FAULT_MESSAGE_BYTES),
            stage,
        }
    }
}

/// What the receiver of a status knows.
#[derive(Clone, Debug)]
pub struct StatusExpected {
    /// Its pool.
    pub pool: PoolId,
    /// The server whose address the status came to.
    pub server: ServerId,
}

impl Message for Status {
    const PAYLOAD_TYPE: &'static str = "application/vnd.repave.status.v1+json";
    type Expected = StatusExpected;
    type Finding = ();

    fn critical(&self) -> &[String] {
        &self.crit
    }

    fn check(&self, expected: &StatusExpected) -> Result<(), Refusal> {
        if self.pool != expected.pool {
            return Err(Refusal::OtherPool {
                found: self.pool.clone(),
                own: expected.pool.clone(),
            });
        }
        if self.server != expected.server {
            return Err(Refusal::OtherServer { found: self.server, own: expected.server });
        }
        if let Some(inventory) = &self.inventory {
            let limit = limits::INVENTORY_ENTRIES as u64;
            within("disks", inventory.disks.len() as u64, limit)?;
            within("NICs", inventory.nics.len() as u64, limit)?;
        }
        if let Some(WatchdogReport { guard, .. }) = &self.watchdog {
            let text = match guard {
                Guard::Armed { device: text, .. } | Guard::NotArmed { reason: text } => text,
            };
            within("watchdog text", text.len() as u64, limits::INVENTORY_TEXT_BYTES as u64)?;
        }
        if let Some(wiped) = &self.wiped {
            wiped.check_limits()?;
        }
        if let Standing::Failed { fault } = &self.standing {
            let limit = limits::FAULT_MESSAGE_BYTES as u64;
            within("fault message", fault.message.len() as u64, limit)?;
            within("fault code", fault.code.len() as u64, limits::NAME_BYTES as u64)?;
        } else if self.log.is_some() {
            return Err(Refusal::Malformed { reason: "a log without a failure".into() });
        }
        if let Some(log) = &self.log {
            log.check()?;
        }
        if !self.bad_sources.is_empty() && !self.standing.may_name_sources() {
            return Err(Refusal::Malformed { reason: "bad sources without a purposing".into() });
        }
        SourceReport::check_all(&self.bad_sources)
    }
}
