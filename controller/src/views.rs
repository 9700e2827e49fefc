//! What the API says and the command line reads: the shapes of API v1. They are kept apart from the
//! records, so that records can change and the API cannot by accident.

use std::collections::BTreeMap;

use repave_protocol::{ServerId, Side};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock;
use crate::control::Kept;
use crate::fleet::{Enrolment, Event, FailureLog, Standing};

/// One page of a list. `next` goes into `after` for the page behind it, or into `before` where the
/// newest come first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerView {
    /// Hash of its device key, 64 hexadecimal digits.
    pub id: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `pending`, `approved`, `rejected`, `revoked` or `suspended`.
    pub enrolment: String,
    /// Where it stands, by name.
    pub standing: String,
    /// The same with what belongs to it: stage and percent, or a fault.
    #[schema(value_type = Object)]
    pub standing_detail: Standing,
    /// Since when, RFC 3339.
    pub standing_since: String,
    /// The type that it is or is becoming.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub server_type: Option<String>,
    /// The image that is on its disk, whole, as name:version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that it is to have, as name:version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_image: Option<String>,
    /// What the last wipe covered; gone once a target is written again.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wiped: Option<repave_protocol::Coverage>,
    /// Why it is to be what it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The last status, RFC 3339.
    pub last_seen: String,
    /// The side that was running: `default` or `target`.
    pub side: String,
    /// Version of its agent.
    pub agent: String,
    /// One-minute load average, in thousandths.
    pub load_milli: u64,
    /// Share of the CPUs' time that was not idle lately, in thousandths.
    pub busy_milli: u64,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Capacity of the disk with the default side, in bytes.
    pub disk_bytes: u64,
    /// `amd64`, …
    pub architecture: String,
    /// System serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Manufacturer and product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Hardware addresses.
    pub macs: Vec<String>,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// The balancer leaves it as it is.
    pub cordoned: bool,
    /// Why, as the operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon_note: Option<String>,
    /// It is to be this type and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// Why, as the operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_note: Option<String>,
    /// Version of the trust document that it goes by, on the side that has the older one; absent if
    /// it never said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
    /// What guards it against hanging, and whether a watchdog has reset it; absent if it never said.
    #[schema(value_type = Option<Object>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<repave_protocol::WatchdogReport>,
    /// Sources (mirrors) that lied to it or failed it again and again in its last purposing: `source`,
    /// `lied`, and `reason`, which is what it did last.
    #[schema(value_type = Vec<Object>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_sources: Vec<repave_protocol::SourceReport>,
    /// What failed here, by image.
    pub failures: Vec<FailureView>,
    /// When the log was kept that its last failure came with, RFC 3339; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<String>,
}

/// What a server's logs said when it last failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogView {
    /// The server.
    pub server: String,
    /// When it told it, RFC 3339.
    pub at: String,
    /// The side that was running: `default` or `target`.
    pub side: String,
    /// Generation of the last order that it had accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Code of the fault.
    pub code: String,
    /// The fault, for people.
    pub message: String,
    /// Last lines of the agent, oldest first: printable ASCII, anything else as `\xNN`.
    pub agent: Vec<String>,
    /// Last lines of the kernel, the same.
    pub kernel: Vec<String>,
}

impl LogView {
    pub(crate) fn of(server: ServerId, log: FailureLog) -> Self {
        Self {
            server: server.to_string(),
            at: clock::to_text(log.at_ms),
            side: side(log.side).into(),
            generation: log.generation.map(|generation| generation.0),
            code: log.fault.code,
            message: log.fault.message,
            agent: log.log.agent,
            kernel: log.log.kernel,
        }
    }
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Default => "default",
        Side::Target => "target",
    }
}

/// What went wrong with one image on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// The image, as name:version.
    pub image: String,
    /// How often.
    pub count: u32,
    /// The last time, RFC 3339.
    pub last: String,
    /// Code of the last fault.
    pub code: String,
    /// It is not tried here again until the failures are cleared.
    pub quarantined: bool,
}

impl From<&Kept> for ServerView {
    fn from(kept: &Kept) -> Self {
        let server = &kept.server;
        let (seen, facts) = (&server.seen, &server.facts);
        let wish = server.assignment.as_ref().map(|assignment| &assignment.wish);
        let name_version = |name: &str, version: u64| format!("{name}:{version}");
        Self {
            id: server.id.to_string(),
            name: server.name.clone(),
            enrolment: enrolment(&server.enrolment).into(),
            standing: server.standing.name().into(),
            standing_detail: server.standing.clone(),
            standing_since: clock::to_text(server.standing_since_ms),
            server_type: server.server_type().map(Into::into),
            image: seen.seal.as_ref().map(|seal| name_version(&seal.image, seal.version)),
            wanted_image: wish
                .and_then(|wish| wish.image())
                .map(|image| name_version(&image.name, image.version)),
            wiped: seen.wiped.clone(),
            why: server.assignment.as_ref().map(|assignment| assignment.why.clone()),
            last_seen: clock::to_text(seen.at_ms),
            side: side(seen.side).into(),
            agent: seen.agent.clone(),
            load_milli: seen.load.load_milli,
            busy_milli: seen.load.busy_milli,
            memory_used_bytes: seen.load.memory_used_bytes,
            cpus: facts.cpus,
            memory_bytes: facts.memory_bytes,
            disk_bytes: facts.disk_bytes,
            architecture: facts.architecture.clone(),
            serial: facts.serial.clone(),
            product: facts.product.clone(),
            macs: facts.macs.clone(),
            labels: server.labels.clone(),
            cordoned: server.cordoned,
            cordon_note: server.cordon_note.clone(),
            pinned: server.pinned.clone(),
            pin_note: server.pin_note.clone(),
            trust: server.trust(),
            watchdog: seen.watchdog.clone(),
            bad_sources: seen.bad_sources.as_ref().map_or_else(Vec::new, |bad| bad.reports.clone()),
            logged: server.logged.as_ref().map(|logged| clock::to_text(logged.at_ms)),
            failures: server
                .failures
                .values()
                .map(|failures| FailureView {
                    image: name_version(&failures.image, failures.version),
                    count: failures.count,
                    last: clock::to_text(failures.last_ms),
                    code: failures.code.clone(),
                    quarantined: failures.quarantined,
                })
                .collect(),
        }
    }
}

const fn enrolment(enrolment: &Enrolment) -> &'static str {
    match enrolment {
        Enrolment::Pending => "pending",
        Enrolment::Approved { .. } => "approved",
        Enrolment::Rejected { .. } => "rejected",
        Enrolment::Revoked { .. } => "revoked",
        Enrolment::Suspended { .. } => "suspended",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Its place among all events; rising, with gaps.
    pub sequence: i64,
    /// When, RFC 3339.
    pub at: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The server it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The operator whose doing it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened: `kind` and what belongs to it.
    #[schema(value_type = Object)]
    #[serde(flatten)]
    pub what: crate::fleet::EventKind,
}

impl From<(i64, Event)> for EventView {
    fn from((sequence, event): (i64, Event)) -> Self {
        Self {
            sequence,
            at: clock::to_text(event.at_ms),
            at_ms: event.at_ms,
            server: event.server.map(|server| server.to_string()),
            actor: event.actor,
            what: event.kind,
        }
    }
}

/// The balancer's switch, and what it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalancerView {
    /// People stopped it.
    pub paused: bool,
    /// Revision of the policy in force; absent before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<i64>,
    /// The controller that answers leads, and so balances.
    pub leads: bool,
}

/// A server type and how many servers it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TypeView {
    /// Its name.
    pub name: String,
    /// Image and channel, as name:channel.
    pub image: String,
    /// The version that the channel points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Fewest servers.
    pub min: u32,
    /// Most servers.
    pub max: u32,
    /// How many it wants now.
    pub wanted: u32,
    /// How many it has: up, becoming, or silent for a short time.
    pub have: u32,
    /// How many of these are up.
    pub up: u32,
    /// Mean load of its settled servers in thousandths, where load decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_milli: Option<u32>,
}
