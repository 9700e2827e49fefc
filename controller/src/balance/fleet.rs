//! What the balancer is told: every server in one compact row, and what is known of each type.
//! Names and hardware are interned, so that a hundred thousand servers are a hundred thousand rows
//! of numbers. The order of rows decides ties; whoever fills a fleet keeps it stable.

use std::collections::BTreeMap;

use repave_protocol::{Load, ServerId};

use super::memory::Memory;
use crate::policy::{Measure, Policy};

/// A server type of a [`Fleet`], by its place in [`Fleet::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u16);

impl TypeId {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Hardware and labels of a [`Fleet`], by place in [`Fleet::hardware`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareId(pub u32);

/// All servers, and what happened to them.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The servers, each once.
    pub servers: Vec<Server>,
    /// The types: those of the policy first, then those that servers still are.
    pub types: Vec<KnownType>,
    /// Distinct hardware.
    pub hardware: Vec<Hardware>,
    /// Failures of images on servers since the last success or reset of the pair.
    pub image_failures: Vec<ImageFailures>,
    /// Failed purposings, at least those within the failure budget's window.
    pub failures: Vec<Failure>,
    /// What the last round handed back.
    pub memory: Memory,
    /// Whether people stopped the balancer.
    pub paused: bool,
}

/// A server type as the controller knows it.
#[derive(Clone, Debug, Default)]
pub struct KnownType {
    /// Its name.
    pub name: String,
    /// The versions of its image; without one nothing can be purposed to it.
    pub image: Option<AvailableImage>,
}

/// The versions of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvailableImage {
    /// The version that the channel points at.
    pub version: u64,
    /// The one it pointed at before, while it can still be had.
    pub previous: Option<u64>,
}

/// What a server is doing, as far as the balancer cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Known and not approved: not of the pool yet.
    Pending,
    /// In default, well, without a purpose.
    Spare,
    /// A directive is under way, or is about to be given: to its `server_type`, or, without one,
    /// to default. The controller ends this phase: up, or failed after `up_within_s`.
    Moving,
    /// The target runs and reports.
    Up,
    /// Not heard of since `since_ms`, though it should be.
    Silent,
    /// In default after a purposing that failed; may be tried again.
    Failed,
    /// Suspended, broken or retired.
    Unusable,
}

/// One server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Who.
    pub id: ServerId,
    /// Since when it is in its phase; for a silent server, when it was last heard of.
    pub since_ms: u64,
    /// The image version that it runs, is getting, or has on its disk.
    pub version: Option<u64>,
    /// What it is or is becoming. For spare and failed servers: what the sealed target on its disk
    /// is, since that may hold data; nothing after a purposing that failed half-way.
    pub server_type: Option<TypeId>,
    /// The type that people pinned it to.
    pub pinned: Option<TypeId>,
    /// Its hardware and labels.
    pub hardware: HardwareId,
    /// How busy it is; nothing where that is not reported.
    pub load: Option<LoadMilli>,
    /// What it is doing.
    pub phase: Phase,
    /// Holds data, whatever its type says: never taken.
    pub guarded: bool,
    /// Not to be touched, on orders of people.
    pub cordoned: bool,
}

/// How busy a server is, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadMilli {
    /// Share of the CPUs' time that was not idle.
    pub cpu: u32,
    /// One-minute load average.
    pub load_average: u32,
    /// Share of memory in use.
    pub memory: u32,
}

impl LoadMilli {
    /// The figure that `measure` names.
    pub const fn get(self, measure: Measure) -> u32 {
        match measure {
            Measure::Cpu => self.cpu,
            Measure::LoadAverage => self.load_average,
            Measure::Memory => self.memory,
        }
    }
}

/// From what a server reports; figures beyond a `u32` are cut to it.
impl From<&Load> for LoadMilli {
    fn from(load: &Load) -> Self {
        let narrow = |value: u128| u32::try_from(value).unwrap_or(u32::MAX);
        let memory_bytes = u128::from(load.memory_bytes.max(1));
        Self {
            cpu: narrow(load.busy_milli.into()),
            load_average: narrow(load.load_milli.into()),
            memory: narrow(u128::from(load.memory_used_bytes) * 1000 / memory_bytes),
        }
    }
}

/// What constraints look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hardware {
    /// Labels that people or tokens gave.
    pub labels: BTreeMap<String, String>,
    /// Memory, in MiB.
    pub ram_mib: u64,
    /// Its largest disk, in MiB.
    pub disk_mib: u64,
    /// Processor architecture.
    pub architecture: String,
}

/// How often an image failed on a server.
#[derive(Clone, Copy, Debug)]
pub struct ImageFailures {
    /// The server, by its place in [`Fleet::servers`].
    pub server: u32,
    /// The type that the image makes.
    pub server_type: TypeId,
    /// The image's version.
    pub version: u64,
    /// How often.
    pub failures: u32,
}

/// A purposing that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// When the controller learnt of it.
    pub at_ms: u64,
    /// When this server first failed at this image. A rollout counts servers, not their retries,
    /// lest one that is broken stop it alone.
    pub first_at_ms: u64,
    /// What the server should have become.
    pub server_type: TypeId,
    /// With which version.
    pub version: u64,
}

impl Fleet {
    /// An empty fleet that knows the types of `policy`, in its order.
    pub fn new(policy: &Policy) -> Self {
        let known = |name: &String| KnownType { name: name.clone(), image: None };
        let types = policy.types.iter().map(|declared| known(&declared.name)).collect();
        Self { types, ..Self::default() }
    }

    /// The type called `name`, made known if it was not.
    pub fn type_id(&mut self, name: &str) -> TypeId {
        let found = self.types.iter().position(|known| known.name == name);
        let index = found.unwrap_or_else(|| {
            self.types.push(KnownType { name: name.into(), image: None });
            self.types.len() - 1
        });
        TypeId(u16::try_from(index).expect("a pool has at most a few dozen types"))
    }

    /// Its name.
    pub fn type_name(&self, server_type: TypeId) -> &str {
        &self.types[server_type.index()].name
    }
}
