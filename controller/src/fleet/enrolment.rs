//! Who belongs to the pool. A join token or an invitation makes a server known; only approval, by an
//! operator or by an invitation that names the very machine, makes it one that is given orders.

use std::collections::BTreeMap;

use repave_protocol::Status;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::event::{Event, EventKind};
use super::hardware::{Facts, Print};
use super::server::{Seen, Server};
use super::standing::Standing;

/// Whether a server belongs here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Enrolment {
    /// Known, and given no orders.
    Pending,
    /// One of ours.
    Approved {
        /// Operator or invitation.
        by: String,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Not one of ours, and not to be asked about again.
    Rejected {
        /// The operator.
        by: String,
    },
    /// One of ours until its key was no longer believed.
    Revoked {
        /// The operator.
        by: String,
    },
    /// One of ours, until somebody has looked at it.
    Suspended {
        /// What is wrong.
        reason: String,
    },
}

impl Enrolment {
    /// Whether it is given orders.
    pub const fn is_approved(&self) -> bool {
        matches!(self, Self::Approved { .. })
    }
}

/// A machine that is expected: approved at its first status, by serial number or hardware address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// System serial number or a hardware address of the machine.
    pub machine: String,
    /// How many servers may still come by it; a machine burned anew has a new key.
    pub uses: u32,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// What the server is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels that the server gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What an unknown server may show for itself, looked up by whoever keeps tokens and invitations.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Name of the join token that it showed, if that is still good.
    pub join_token: Option<String>,
    /// The invitation for its machine, if there is one, and the revision that it was read at.
    pub invitation: Option<(Invitation, i64)>,
    /// Whether anybody may ask.
    pub open: bool,
}

/// A server that is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// Nothing says that it was invited.
    #[error(
        "server {server} is not known here: give its agent.json a join token, or invite its machine"
    )]
    NotInvited {
        /// Its id, shortened.
        server: String,
    },
    /// A first status tells what the machine is.
    #[error("the first status of server {server} has no inventory")]
    NoInventory {
        /// Its id, shortened.
        server: String,
    },
}

/// A record for a server that reports for the first time.
pub fn admit(
    status: &Status,
    credentials: &Credentials,
    now_ms: u64,
) -> Result<(Server, [Event; 2]), NotAdmitted> {
    let short = || status.server.short();
    let inventory =
        status.inventory.as_ref().ok_or_else(|| NotAdmitted::NoInventory { server: short() })?;
    let facts = Facts::of(inventory);
    let is_for = |invitation: &&Invitation| {
        invitation.uses > 0
            && invitation.expires_ms > now_ms
            && (facts.serial.as_ref() == Some(&invitation.machine)
                || facts.macs.contains(&invitation.machine))
    };
    let invitation = credentials.invitation.as_ref().map(|(found, _)| found).filter(is_for);
    let (enrolment, by) = match (invitation, &credentials.join_token) {
        (Some(invitation), _) => {
            let by = format!("invitation of {}", invitation.machine);
            (Enrolment::Approved { by: by.clone(), at_ms: now_ms }, by)
        }
        (None, Some(token)) => (Enrolment::Pending, format!("join token {token}")),
        (None, None) if credentials.open => (Enrolment::Pending, "open enrolment".into()),
        (None, None) => return Err(NotAdmitted::NotInvited { server: short() }),
    };
    let standing = if enrolment.is_approved() { Standing::Idle } else { Standing::Pending };
    let server = Server {
        id: status.server,
        name: invitation.and_then(|invitation| invitation.name.clone()),
        enrolment,
        standing,
        standing_since_ms: now_ms,
        seen: Seen::of(status, None, now_ms),
        print: Print::of(inventory),
        facts,
        default_partition: status.default_partition,
        labels: invitation.map(|invitation| invitation.labels.clone()).unwrap_or_default(),
        cordoned: false,
        cordon_note: None,
        pinned: None,
        pin_note: None,
        assignment: None,
        assignments: 0,
        issued: None,
        failures: BTreeMap::new(),
        logged: None,
    };
    let enrolled = Event::of(server.id, now_ms, EventKind::Enrolled { by });
    Ok((server, [enrolled, Event::boot(status, now_ms)]))
}
