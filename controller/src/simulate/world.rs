//! The simulated pool: servers that are purposed, come up or fail, fall silent and return, share
//! their type's load, and see new versions of images, some of them bad. It does what a decision
//! says and knows nothing of why.

use std::collections::BTreeMap;

use super::demand::Demand;
use super::random::Random;
use crate::balance::{
    Action, AvailableImage, Failure, Fleet, Hardware, HardwareId, ImageFailures, LoadMilli, Move,
    Phase, Server, TypeId,
};
use crate::policy::{Policy, Requires};

/// Servers that never finish a purposing, in a million.
const BROKEN: u64 = 2_000;
/// Purposings that fail by chance, in a million.
const UNLUCKY: u64 = 3_000;
/// Purposings with a bad version that fail, in a million.
const BAD_VERSION: u64 = 400_000;
/// Shortest and longest purposing.
const PURPOSING_S: (u64, u64) = (90, 600);
/// A server falls silent about once in this time.
const BETWEEN_SILENCES_S: u64 = 60 * 24 * 3600;
/// Shortest and longest silence.
const SILENCE_S: (u64, u64) = (60, 7200);
/// A new version of some image comes this often; every third is bad.
const BETWEEN_VERSIONS_S: u64 = 8 * 3600;
/// Share of the pool that an outage silences, in a million, and how long it lasts.
const OUTAGE: u64 = 400_000;
const OUTAGE_S: u64 = 900;

/// What the world alone knows of a server.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// When something happens to it next.
    next_ms: u64,
    /// Whether the purposing under way fails.
    fails: bool,
    broken: bool,
    /// What a silent server was before.
    before: Phase,
}

/// The pool and its fate.
#[derive(Debug)]
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) failed: u32,
    fates: Vec<Fate>,
    demands: Vec<Demand>,
    bad: Vec<(TypeId, u64)>,
    /// Places in [`Fleet::image_failures`].
    pairs: BTreeMap<(u32, TypeId, u64), usize>,
    random: Random,
    outage_ms: u64,
    version_ms: u64,
    versions: u32,
}

impl World {
    /// A pool of spare servers, each with hardware that some type of `policy` asks for.
    pub(super) fn new(policy: &Policy, servers: u32, hours: u32, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut fleet = Fleet::new(policy);
        for known in &mut fleet.types {
            known.image = Some(AvailableImage { version: 1, previous: None });
        }
        fleet.hardware = hardware(policy);
        let kinds = fleet.hardware.len() as u64;
        let mut server = |number: u32| Server {
            id: format!("{number:064x}").parse().expect("64 digits are an id"),
            since_ms: 0,
            version: None,
            server_type: None,
            pinned: None,
            hardware: HardwareId(random.within(0, kinds) as u32),
            load: None,
            phase: Phase::Spare,
            guarded: false,
            cordoned: false,
        };
        fleet.servers = (0..servers).map(&mut server).collect();
        let demands = policy
            .types
            .iter()
            .map(|declared| Demand::new(declared, servers, &mut random))
            .collect();
        let mut fate = |_: &Server| Fate {
            next_ms: random.within(0, 2 * BETWEEN_SILENCES_S) * 1000,
            fails: false,
            broken: random.happens(BROKEN),
            before: Phase::Spare,
        };
        let fates = fleet.servers.iter().map(&mut fate).collect();
        let outage_ms = random.within(0, u64::from(hours) * 3_600_000);
        Self {
            fleet,
            failed: 0,
            fates,
            demands,
            bad: Vec::new(),
            pairs: BTreeMap::new(),
            random,
            outage_ms,
            version_ms: BETWEEN_VERSIONS_S * 1000,
            versions: 0,
        }
    }

    /// Lets everything happen that happens up to `now_ms`.
    pub(super) fn pass(&mut self, policy: &Policy, now_ms: u64) {
        if now_ms >= self.outage_ms {
            self.outage_ms = u64::MAX;
            self.outage(now_ms);
        }
        if now_ms >= self.version_ms {
            self.version_ms += BETWEEN_VERSIONS_S * 1000;
            self.new_version();
        }
        let mut up = vec![0_u64; self.fleet.types.len()];
        for index in 0..self.fleet.servers.len() {
            if self.fates[index].next_ms <= now_ms {
                self.happen(index, now_ms);
            }
            let server = &self.fleet.servers[index];
            if let (Phase::Up, Some(id)) = (server.phase, server.server_type) {
                up[id.index()] += 1;
            }
        }
        self.share_load(&up, now_ms);
        let window_ms = policy.pool.failure_budget.window_s * 1000;
        self.fleet.failures.retain(|failure| failure.at_ms + window_ms > now_ms);
    }

    fn happen(&mut self, index: usize, now_ms: u64) {
        let next_silence_ms = now_ms + self.random.within(1, 2 * BETWEEN_SILENCES_S) * 1000;
        let fate = &mut self.fates[index];
        let server = &mut self.fleet.servers[index];
        let silence_s = self.random.within(SILENCE_S.0, SILENCE_S.1);
        match server.phase {
            Phase::Moving if fate.fails => {
                fate.next_ms = next_silence_ms;
                self.fail(index, now_ms);
                return;
            }
            Phase::Moving if server.server_type.is_some() => {
                server.phase = Phase::Up;
                let key = server.server_type.zip(server.version);
                if let Some(&pair) =
                    key.and_then(|(id, version)| self.pairs.get(&(index as u32, id, version)))
                {
                    self.fleet.image_failures[pair].failures = 0;
                }
                fate.next_ms = next_silence_ms;
            }
            Phase::Moving => {
                server.phase = Phase::Spare;
                fate.next_ms = next_silence_ms;
            }
            Phase::Silent => {
                server.phase = fate.before;
                fate.next_ms = next_silence_ms;
            }
            phase => {
                fate.before = phase;
                server.phase = Phase::Silent;
                fate.next_ms = now_ms + silence_s * 1000;
            }
        }
        server.since_ms = now_ms;
    }

    fn fail(&mut self, index: usize, now_ms: u64) {
        let server = &mut self.fleet.servers[index];
        if let (Some(id), Some(version)) = (server.server_type, server.version) {
            let key = (index as u32, id, version);
            let pairs = &mut self.fleet.image_failures;
            let place = *self.pairs.entry(key).or_insert_with(|| {
                let server = index as u32;
                pairs.push(ImageFailures { server, server_type: id, version, failures: 0 });
                pairs.len() - 1
            });
            let first_at_ms = if pairs[place].failures == 0 { now_ms } else { 0 };
            pairs[place].failures += 1;
            let failure = Failure { at_ms: now_ms, first_at_ms, server_type: id, version };
            self.fleet.failures.push(failure);
        }
        self.failed += 1;
        server.phase = Phase::Failed;
        (server.server_type, server.version, server.since_ms) = (None, None, now_ms);
    }

    fn outage(&mut self, now_ms: u64) {
        for index in 0..self.fleet.servers.len() {
            let resting =
                matches!(self.fleet.servers[index].phase, Phase::Up | Phase::Spare | Phase::Failed);
            if resting && self.random.happens(OUTAGE) {
                self.happen(index, now_ms);
                self.fates[index].next_ms = now_ms + OUTAGE_S * 1000;
            }
        }
    }

    fn new_version(&mut self) {
        let types = self.fleet.types.len() as u64;
        if types == 0 {
            return;
        }
        let id = TypeId(self.random.within(0, types) as u16);
        self.versions += 1;
        let image = self.fleet.types[id.index()].image.as_mut().expect("every type has an image");
        // The channel is never pointed from a bad version to a worse one: previous is a good one.
        if !self.bad.contains(&(id, image.version)) {
            image.previous = Some(image.version);
        }
        image.version += 1;
        if self.versions.is_multiple_of(3) {
            self.bad.push((id, image.version));
        }
    }

    fn share_load(&mut self, up: &[u64], now_ms: u64) {
        let demands = self.demands.iter().zip(up);
        let shares: Vec<u64> =
            demands.map(|(demand, &up)| demand.at(now_ms / 1000) / up.max(1)).collect();
        let random = &mut self.random;
        for server in &mut self.fleet.servers {
            if let (Phase::Up, Some(id)) = (server.phase, server.server_type) {
                // From 95 to 105 per cent of its share.
                let load = (shares[id.index()] * random.within(950, 1050) / 1000) as u32;
                server.load = Some(LoadMilli { cpu: load, load_average: load, memory: load });
            }
        }
    }

    /// Carries `moves` out.
    pub(super) fn begin(&mut self, moves: &[Move], now_ms: u64) {
        for step in moves {
            let fate = &mut self.fates[step.index as usize];
            let server = &mut self.fleet.servers[step.index as usize];
            let purpose = match step.action {
                Action::Purpose { to, version } => Some((to, version)),
                Action::Release => None,
            };
            server.phase = Phase::Moving;
            server.since_ms = now_ms;
            (server.server_type, server.version) = purpose.unzip();
            let bad = purpose.is_some_and(|purpose| self.bad.contains(&purpose));
            let unlucky = if bad { BAD_VERSION } else { UNLUCKY };
            fate.fails = purpose.is_some() && (self.random.happens(unlucky) || fate.broken);
            let takes_s = step.drain_s + self.random.within(PURPOSING_S.0, PURPOSING_S.1);
            fate.next_ms = now_ms + takes_s * 1000;
        }
    }
}

/// Hardware for each type's requirements; memory and disk are enough for all.
fn hardware(policy: &Policy) -> Vec<Hardware> {
    let all = || policy.types.iter().map(|declared| &declared.requires);
    let ram_mib = all().map(|requires| requires.ram_mib).max().unwrap_or(0);
    let disk_mib = all().map(|requires| requires.disk_mib).max().unwrap_or(0);
    let of = |requires: &Requires| Hardware {
        labels: requires.labels.clone(),
        ram_mib,
        disk_mib,
        architecture: requires.architecture.clone().unwrap_or_else(|| "amd64".into()),
    };
    let mut kinds: Vec<_> = all().map(of).collect();
    kinds.push(of(&Requires::default()));
    kinds
}
