//! The record of one server. It is the document that the store keeps, so every field that may not
//! have been written yet has a default, and nothing that can be derived is in it.

use std::collections::BTreeMap;

use repave_protocol::{
    Coverage, Generation, Load, Nonce, Order, SealReport, ServerId, Sha256, Side, WatchdogReport,
};
use serde::{Deserialize, Serialize};

use super::enrolment::Enrolment;
use super::hardware::{Facts, Print};
use super::log::Logged;
use super::orders::{Assignment, Wish};
use super::sources::BadSources;
use super::standing::Standing;

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Hash of its device key.
    pub id: ServerId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it belongs here.
    pub enrolment: Enrolment,
    /// Where it stands.
    pub standing: Standing,
    /// When it came to stand there, in milliseconds since 1970.
    pub standing_since_ms: u64,
    /// The last status.
    pub seen: Seen,
    /// The hardware, from the last status that carried it.
    #[serde(default)]
    pub facts: Facts,
    /// What the hardware calls itself; one key with two of them is a clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<Print>,
    /// SHA-256 of the default partition, as first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_partition: Option<Sha256>,
    /// What the operator says of it; types may require some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The balancer leaves it as it is.
    #[serde(default)]
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
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
    /// How many assignments there were; each has a number of its own.
    #[serde(default)]
    pub assignments: u64,
    /// The last order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
    /// What failed here, by the digest of the image's OCI manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<Sha256, Failures>,
    /// The log that was kept with its last failure. In a box, since most servers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Box<Logged>>,
}

/// What the last status said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The boot it came from.
    pub boot: Nonce,
    /// Its number in that boot.
    pub sequence: u64,
    /// The side that was running.
    pub side: Side,
    /// The agent's version.
    pub agent: String,
    /// Generation of the last order that the default side accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// What the target is sealed as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealReport>,
    /// What the last wipe covered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wiped: Option<Coverage>,
    /// How busy it was.
    #[serde(default)]
    pub load: Load,
    /// Version of the trust document that the running side went by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u64>,
    /// Version that the default side keeps, as far as it is known. A running target learns newer
    /// ones in memory only, and nobody tells the default side before it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_trust: Option<u64>,
    /// What guarded it, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<WatchdogReport>,
    /// Sources that it named as bad in its last purposing. In a box, since most servers name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_sources: Option<Box<BadSources>>,
    /// Whether a watchdog guarded its default side when that last spoke of itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_armed: bool,
}

/// The last order issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Issued {
    /// Under this generation.
    pub generation: Generation,
    /// The order.
    pub order: Order,
    /// The assignment that it serves.
    pub assignment: u64,
    /// The generation under which that assignment's purpose, or wipe, was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposed: Option<Generation>,
    /// It was handed out, and neither success nor failure was heard of since.
    #[serde(default)]
    pub is_out: bool,
}

/// What went wrong with one image on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// The type that it was to make.
    pub server_type: String,
    /// Its name.
    pub image: String,
    /// Its version.
    pub version: u64,
    /// How often.
    pub count: u32,
    /// The first time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// The last time, in milliseconds since 1970.
    pub last_ms: u64,
    /// Code of the last fault.
    pub code: String,
    /// The image is not tried here again until an operator clears it.
    #[serde(default)]
    pub quarantined: bool,
}

impl Issued {
    /// The same without its settings, for those whom they do not concern.
    pub fn without_settings(mut self) -> Self {
        if let Order::Purpose(purpose) = &mut self.order {
            purpose.settings = Default::default();
        }
        self
    }
}

impl Server {
    /// Whether all that decides what may be done with it is as it was in `earlier`; only when it
    /// was heard of, and how busy it was, may have changed.
    pub fn stands_as(&self, earlier: &Self) -> bool {
        self.assignments == earlier.assignments
            && self.cordoned == earlier.cordoned
            && self.enrolment == earlier.enrolment
            && self.standing == earlier.standing
            && self.seen.seal == earlier.seen.seal
            && self.pinned == earlier.pinned
            && self.labels == earlier.labels
            && self.failures == earlier.failures
    }

    /// What to call it in a sentence.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.id.short(),
        }
    }

    /// The type it is or is becoming: what it was told, or else what its seal says.
    pub fn server_type(&self) -> Option<&str> {
        match &self.assignment {
            Some(assignment) => assignment.wish.server_type(),
            None => self.seen.seal.as_ref().map(|seal| seal.server_type.as_str()),
        }
    }

    /// The hands on it, each with the reason that was given.
    pub fn hands(&self) -> Vec<String> {
        let said = |note: &Option<String>| note.as_ref().map(|note| format!(": {note}"));
        let cordoned = self
            .cordoned
            .then(|| format!("cordoned{}", said(&self.cordon_note).unwrap_or_default()));
        let pinned = self.pinned.as_ref().map(|pinned| {
            format!("pinned to {pinned}{}", said(&self.pin_note).unwrap_or_default())
        });
        cordoned.into_iter().chain(pinned).collect()
    }

    /// Version of the trust document that it goes by on either side, if it ever said.
    pub fn trust(&self) -> Option<u64> {
        self.seen.trust.min(self.seen.default_trust)
    }

    /// Whether it is still to be told whom to believe: who was taken out, or thrown out, is not.
    pub fn is_told(&self) -> bool {
        let is_retired = matches!(&self.assignment, Some(one) if one.wish == Wish::Retired);
        let is_out =
            matches!(self.enrolment, Enrolment::Rejected { .. } | Enrolment::Revoked { .. });
        !is_retired && !is_out
    }

    /// Whether the wipe in force has been carried out, by the generation under which it was ordered.
    pub fn is_wiped(&self) -> bool {
        let (Some(assignment), Some(issued)) = (&self.assignment, &self.issued) else {
            return false;
        };
        let wiped = self.seen.wiped.as_ref().map(|wiped| wiped.generation);
        matches!(assignment.wish, Wish::Wiped { .. })
            && issued.assignment == assignment.number
            && issued.purposed.is_some()
            && issued.purposed == wiped
    }

    /// Whether the order in force has been carried out: the target that was wished for is sealed.
    pub fn is_fulfilled(&self) -> bool {
        let (Some(assignment), Some(issued)) = (&self.assignment, &self.issued) else {
            return false;
        };
        let (Some(purpose), Some(seal)) = (assignment.wish.purpose(), &self.seen.seal) else {
            return false;
        };
        issued.assignment == assignment.number
            && issued.purposed == Some(seal.generation)
            && seal.manifest == purpose.image.manifest
    }
}
