//! The fleet as the balancer sees it, out of the records. Which of its phases a server is in is
//! decided here, and nowhere else.

use std::collections::{BTreeMap, HashMap};

use repave_protocol::{Load, ServerId};

use crate::balance::{
    AvailableImage, Failure, Fleet, Hardware, HardwareId, ImageFailures, LoadMilli, Memory, Phase,
    Server as Row,
};
use crate::fleet::{Enrolment, Server, Standing, Wish};
use crate::policy::Policy;

const MIB: u64 = 1024 * 1024;

/// Everything else that the balancer is told.
pub(super) struct Around {
    /// Versions by `name:channel`.
    pub(super) available: BTreeMap<String, AvailableImage>,
    pub(super) memory: Memory,
    pub(super) paused: bool,
}

/// The fleet that these servers are.
pub(super) fn fleet(
    servers: &BTreeMap<ServerId, Server>,
    policy: &Policy,
    around: Around,
) -> Fleet {
    let mut fleet = Fleet::new(policy);
    for (known, declared) in fleet.types.iter_mut().zip(&policy.types) {
        known.image = around.available.get(&declared.image.to_string()).copied();
    }
    (fleet.memory, fleet.paused) = (around.memory, around.paused);
    let mut hardware: HashMap<Hardware, HardwareId> = HashMap::new();
    for server in servers.values().filter(|server| belongs(server)) {
        add(&mut fleet, &mut hardware, server);
    }
    fleet
}

/// Whom nobody let in, or somebody threw out, is not of the fleet.
const fn belongs(server: &Server) -> bool {
    !matches!(server.enrolment, Enrolment::Rejected { .. } | Enrolment::Revoked { .. })
}

fn add(fleet: &mut Fleet, known: &mut HashMap<Hardware, HardwareId>, server: &Server) {
    let place = u32::try_from(fleet.servers.len()).unwrap_or(u32::MAX);
    let phase = phase(server);
    let becoming = server.assignment.as_ref().and_then(|assignment| assignment.wish.purpose());
    let on_disk = server.seen.seal.as_ref();
    let is_or_becomes = match (phase, becoming) {
        (Phase::Spare | Phase::Failed, _) | (_, None) => {
            on_disk.map(|seal| (seal.server_type.as_str(), seal.version))
        }
        (_, Some(purpose)) => Some((purpose.server_type.as_str(), purpose.image.version)),
    };
    // On its way to default it is becoming nothing.
    let released = phase == Phase::Moving && becoming.is_none() && server.assignment.is_some();
    let is_or_becomes = is_or_becomes.filter(|_| !released);
    let row = Row {
        id: server.id,
        since_ms: match phase {
            Phase::Silent => server.seen.at_ms,
            _ => server.standing_since_ms,
        },
        version: is_or_becomes.map(|(_, version)| version),
        server_type: is_or_becomes.map(|(name, _)| fleet.type_id(name)),
        pinned: server.pinned.as_deref().map(|name| fleet.type_id(name)),
        hardware: hardware_id(fleet, known, server),
        load: (server.seen.load != Load::default()).then(|| LoadMilli::from(&server.seen.load)),
        phase,
        guarded: false,
        cordoned: server.cordoned,
    };
    fleet.servers.push(row);
    for failures in server.failures.values() {
        let server_type = fleet.type_id(&failures.server_type);
        let version = failures.version;
        let failures_here =
            ImageFailures { server: place, server_type, version, failures: failures.count };
        fleet.image_failures.push(failures_here);
        let (at_ms, first_at_ms) =
            (failures.last_ms, failures.first_ms.unwrap_or(failures.last_ms));
        fleet.failures.push(Failure { at_ms, first_at_ms, server_type, version });
    }
}

fn phase(server: &Server) -> Phase {
    if let Enrolment::Pending = server.enrolment {
        return Phase::Pending;
    }
    let wish = server.assignment.as_ref().map(|assignment| &assignment.wish);
    match (&server.standing, wish) {
        (Standing::Pending, _) => Phase::Pending,
        (Standing::Suspended { .. } | Standing::Retired, _) => Phase::Unusable,
        (_, Some(wish)) if wish.is_retired() => Phase::Unusable,
        (Standing::Silent, _) => Phase::Silent,
        (Standing::Quarantined { .. }, _) | (Standing::Failed { .. }, None | Some(Wish::Spare)) => {
            Phase::Failed
        }
        (Standing::Up, None) => Phase::Up,
        (Standing::Up, Some(Wish::Be { .. })) if server.is_fulfilled() => Phase::Up,
        (Standing::Idle | Standing::Staying, Some(Wish::Spare)) | (Standing::Wiped, _) => {
            Phase::Spare
        }
        // One that comes with a whole target is about to boot it.
        (Standing::Idle, None) if server.seen.seal.is_some() => Phase::Moving,
        (Standing::Idle | Standing::Staying, None) => Phase::Spare,
        _ => Phase::Moving,
    }
}

fn hardware_id(
    fleet: &mut Fleet,
    known: &mut HashMap<Hardware, HardwareId>,
    server: &Server,
) -> HardwareId {
    let hardware = Hardware {
        labels: server.labels.clone(),
        ram_mib: server.facts.memory_bytes / MIB,
        disk_mib: server.facts.disk_bytes / MIB,
        architecture: server.facts.architecture.clone(),
    };
    if let Some(id) = known.get(&hardware) {
        return *id;
    }
    let id = HardwareId(u32::try_from(fleet.hardware.len()).unwrap_or(u32::MAX));
    fleet.hardware.push(hardware.clone());
    known.insert(hardware, id);
    id
}
