//! What a stub does, as data: who is approved and becomes what, which answers are scripted, which
//! faults strike. All of it can come from a JSON file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use repave_protocol::{Generation, Inventory, Order, ServerId, Sha256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How long a status without news for its server is held, unless the scenario says otherwise.
const POLL_MS: u64 = 10_000;
/// After how long a server should report again, unless the scenario says otherwise.
const WAIT_MS: u64 = 500;

/// The whole of it. What a file leaves out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Who is approved at the first status, and what it becomes. The first entry that fits counts.
    pub enrolments: Vec<Enrolment>,
    /// What every server is answered, in this order, before the stub's own logic has its turn.
    /// Statuses that tell of progress wait for no answer, and use none of these up.
    pub script: Vec<Answer>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// For how long a status is held when its answer would only be `wait`.
    pub poll_ms: u64,
    /// What `wait` says.
    pub wait_ms: u64,
    /// After this many failures in a row an order is given up, and the server told to stay;
    /// without it, the order is repeated for ever.
    pub retries: Option<u32>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            enrolments: Vec::new(),
            script: Vec::new(),
            faults: Vec::new(),
            poll_ms: POLL_MS,
            wait_ms: WAIT_MS,
            retries: None,
        }
    }
}

/// One expected server, or one kind of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Which.
    pub select: Select,
    /// What it becomes; without it, it is approved and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The generation under which it was ordered that before this stub's time, if it was: then
    /// the order is not a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Generation>,
}

/// A server by what its inventory claims, or by its turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Each.
    Anyone,
    /// The one that was the n-th to report, counted from 0.
    Arrival(usize),
    /// The one whose system or whose disk has this serial number.
    Serial(String),
    /// The one with this hardware address.
    Mac(String),
}

impl Select {
    pub(crate) fn fits(&self, arrival: usize, inventory: Option<&Inventory>) -> bool {
        let claims = |test: &dyn Fn(&Inventory) -> bool| inventory.is_some_and(test);
        match self {
            Self::Anyone => true,
            Self::Arrival(turn) => *turn == arrival,
            Self::Serial(serial) => claims(&|inventory| {
                let disks = inventory.disks.iter().map(|disk| &disk.serial);
                disks.chain([&inventory.dmi.serial]).any(|found| found.as_ref() == Some(serial))
            }),
            Self::Mac(mac) => claims(&|inventory| inventory.nics.iter().any(|nic| &nic.mac == mac)),
        }
    }
}

/// One scripted answer. A hostile one carries the order that the stub would have sent honestly,
/// under a generation far above: an agent that obeys it shows it in its next status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What the stub's own logic says.
    Genuine,
    /// This order, honestly signed.
    Order(Order),
    /// The last order again, under its generation, whatever the status says.
    Repeat,
    /// The bytes of the answer before, which name an older nonce.
    Stale,
    /// Properly made, but signed by a key that nobody trusts.
    Forged,
    /// For another server.
    OtherServer,
    /// For another pool.
    OtherPool,
    /// For another nonce.
    OtherNonce,
    /// Demands that an unknown field be understood.
    UnknownCritical,
    /// Under a generation below the one that the server has accepted.
    LowerGeneration,
    /// Another order under the generation that the server has accepted.
    ReusedGeneration,
    /// Any bytes.
    Raw(Vec<u8>),
}

impl Answer {
    /// Whether an agent must refuse it.
    pub const fn is_hostile(&self) -> bool {
        !matches!(self, Self::Genuine | Self::Order(_) | Self::Repeat)
    }

    /// Whether it can be made for a server that has accepted a generation, or has been answered
    /// before; until then its turn has not come.
    pub(crate) fn is_possible(&self, accepted: Option<Generation>, answered: bool) -> bool {
        match self {
            Self::Stale => answered,
            Self::LowerGeneration => accepted > Some(Generation(0)),
            Self::ReusedGeneration => accepted.is_some(),
            _ => true,
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it may strike.
    pub on: Target,
    /// What happens to them.
    pub action: Action,
    /// How many of them it lets pass first.
    #[serde(default)]
    pub skip: u32,
    /// Of those after that, it strikes each n-th; 0 is as good as 1.
    #[serde(default)]
    pub every: u32,
    /// How often it strikes; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Fault {
    /// A fault that strikes each request for `on`, for ever.
    pub const fn new(on: Target, action: Action) -> Self {
        Self { on, action, skip: 0, every: 1, times: None }
    }

    /// The same, `times` times only.
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Whether it strikes the request that has `before` others of its target before it.
    pub(crate) fn strikes(&self, before: u32) -> bool {
        let Some(turn) = before.checked_sub(self.skip) else {
            return false;
        };
        let every = self.every.max(1);
        turn % every == 0 && self.times.is_none_or(|times| turn / every < times)
    }
}

/// Which requests a fault may strike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Any server's statuses.
    Statuses,
    /// One server's statuses.
    StatusesOf(ServerId),
    /// Any blob.
    Blobs,
    /// One blob.
    Blob(Sha256),
}

/// What happens to a request. An offset is into the body of the answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Answered with this HTTP status and nothing done.
    Refuse(u16),
    /// Answered this many milliseconds later.
    DelayMs(u64),
    /// Carried out, but the connection closes without an answer.
    Drop,
    /// The connection closes after at most this many bytes of the body.
    TruncateAt(u64),
    /// A whole, well-framed answer of only this many bytes.
    ShortenTo(u64),
    /// One bit of the byte at this offset is flipped.
    CorruptAt(u64),
    /// Redirected elsewhere.
    RedirectTo(String),
    /// The right bytes under a `Content-Range` that is off by one.
    WrongRange,
    /// The whole blob with 200, where a range was asked for.
    FullBody,
    /// Said to be compressed.
    ContentEncoding(String),
    /// A web page with 200, as a captive portal gives.
    Page,
    /// For a status: answered as by a script.
    Answer(Answer),
}

/// Why a scenario cannot be had from its file.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// It cannot be read.
    #[error("cannot read the scenario {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a scenario.
    #[error("{path} is not a scenario")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Scenario {
    /// The scenario in a JSON file.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let bytes = fs::read(path)
            .map_err(|source| ScenarioError::Unreadable { path: path.into(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| ScenarioError::Malformed { path: path.into(), source })
    }
}
