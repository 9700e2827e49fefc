//! The trust document in force: the newest that the root key signed. Which servers go by it, and so
//! whether an older key may be dropped, is decided here, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use repave_protocol::{Envelope, PublicKey, ServerId, TrustDocument};
use serde::{Deserialize, Serialize};

use super::{Control, ControlError, operator};
use crate::authority::Trusted;
use crate::clock;
use crate::fleet::Server;
use crate::records::{self, kind};
use crate::store::changes::{Changes, Expected};

const KEY: &str = "document";
/// Servers that are named; of the others only how many they are is said.
const NAMED: usize = 100;
/// The same in a sentence.
const NAMED_IN_A_SENTENCE: usize = 5;

/// Which servers go by the trust document in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrustUse {
    /// Version of the document in force.
    pub version: u64,
    /// Servers that are to go by it: all but those retired, rejected or revoked.
    pub servers: usize,
    /// How many of them do, on both of their sides.
    pub current: usize,
    /// Those that do not yet, 100 at most.
    pub behind: Vec<Behind>,
    /// How many more do not.
    pub more: usize,
}

/// A server that goes by an older trust document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Behind {
    /// The server.
    #[schema(value_type = String)]
    pub server: ServerId,
    /// What people call it.
    pub title: String,
    /// The version that it goes by, on the side that has the older one; absent if it never said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Its target goes by the one in force; its default side is told when it runs next.
    pub target_knows: bool,
    /// The last status, RFC 3339.
    pub last_seen: String,
}

impl TrustUse {
    /// Of these servers, while `version` is in force.
    fn of(servers: &BTreeMap<ServerId, Server>, version: u64) -> Self {
        let told = || servers.values().filter(|server| server.is_told());
        let late = || told().filter(|server| server.trust() < Some(version));
        let (servers, behind) = (told().count(), late().count());
        Self {
            version,
            servers,
            current: servers - behind,
            behind: late().take(NAMED).map(|server| Behind::of(server, version)).collect(),
            more: behind.saturating_sub(NAMED),
        }
    }
}

impl Behind {
    fn of(server: &Server, version: u64) -> Self {
        Self {
            server: server.id,
            title: server.title(),
            version: server.trust(),
            target_knows: server.seen.trust >= Some(version),
            last_seen: clock::to_text(server.seen.at_ms),
        }
    }
}

impl std::fmt::Display for TrustUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, servers, current, behind, more } = self;
        write!(f, "{current} of {servers} servers go by version {version}")?;
        if behind.is_empty() {
            return Ok(());
        }
        let say = |one: &Behind| match (one.target_knows, one.version) {
            (true, _) => format!("{} (its default side)", one.title),
            (false, Some(version)) => format!("{} (version {version})", one.title),
            (false, None) => format!("{} (never said)", one.title),
        };
        let named: Vec<String> = behind.iter().take(NAMED_IN_A_SENTENCE).map(say).collect();
        write!(f, "; these do not yet: {}", named.join(", "))?;
        match behind.len() - named.len() + more {
            0 => Ok(()),
            left => write!(f, " and {left} more"),
        }
    }
}

/// The directive key that `next` would drop, if there is one.
fn dropped(now: &TrustDocument, next: &TrustDocument) -> Option<PublicKey> {
    now.directive_keys.iter().find(|key| !next.directive_keys.contains(key)).copied()
}

/// Whether whoever goes by `now` already believes a key that `next` keeps.
fn overlaps(now: &TrustDocument, next: &TrustDocument) -> bool {
    now.directive_keys.iter().any(|key| next.directive_keys.contains(key))
}

impl Control {
    /// The trust document in force, if there is one yet.
    pub fn trusted(&self) -> Option<Arc<Trusted>> {
        self.trusted.borrow().clone()
    }

    pub(super) async fn refresh_trust(&self) -> Result<(), ControlError> {
        self.read_trust().await.map(drop)
    }

    /// Reads it anew, and gives the revision of its row.
    async fn read_trust(&self) -> Result<Option<i64>, ControlError> {
        let Some((envelope, revision)) = self.document::<Envelope>(kind::TRUST, KEY).await? else {
            return Ok(None);
        };
        self.trusted.send_replace(Some(Arc::new(self.parse_trust(&envelope, 0)?)));
        Ok(Some(revision))
    }

    /// Which servers go by the document in force.
    pub async fn trust_use(&self) -> Result<TrustUse, ControlError> {
        let trusted = self
            .trusted()
            .ok_or_else(|| ControlError::NotFound { what: "trust document yet".into() })?;
        self.use_of(trusted.document.version).await
    }

    async fn use_of(&self, version: u64) -> Result<TrustUse, ControlError> {
        let mut servers = BTreeMap::new();
        self.load_servers(&mut servers).await?;
        Ok(TrustUse::of(&servers, version))
    }

    /// Takes a trust document that is newer than the one in force, and of use: servers that believe
    /// it must go on believing this controller. One that drops a directive key waits until every
    /// server knows of another, unless it is forced.
    pub async fn set_trust(
        &self,
        bytes: &[u8],
        force: bool,
        actor: &str,
    ) -> Result<Arc<Trusted>, ControlError> {
        // Another controller may have taken a newer one.
        let revision = self.read_trust().await?;
        let now = self.trusted();
        let least = now.as_ref().map_or(0, |trusted| trusted.document.version);
        let (root_key, pool) = (self.setup.root_key, &self.setup.pool);
        let trusted = Trusted::parse(bytes, root_key, pool, least)?;
        trusted.check_ours(&self.authority.directive_keys(), self.authority.ca_pem())?;
        if let Some(now) = now.filter(|_| !force) {
            self.check_dropped(&now.document, &trusted.document).await?;
        }
        // What was checked against is what is replaced, whoever else sets one now.
        let expected = revision.map_or(Expected::MustNotExist, Expected::Exactly);
        let put = records::document(kind::TRUST, KEY, expected, &trusted.envelope);
        let by_force = if force { ", forced" } else { "" };
        let detail = Some(format!("version {}{by_force}", trusted.document.version));
        let event = operator(actor, clock::now_ms(), "trust.set", "", detail);
        let changes = Changes { documents: vec![put], ..Changes::default() };
        self.commit(changes, &[event]).await?;
        let trusted = Arc::new(trusted);
        self.trusted.send_replace(Some(Arc::clone(&trusted)));
        Ok(trusted)
    }

    /// Refuses to drop a key while it may be the only one that some server believes.
    async fn check_dropped(
        &self,
        now: &TrustDocument,
        next: &TrustDocument,
    ) -> Result<(), ControlError> {
        let Some(key) = dropped(now, next) else { return Ok(()) };
        let version = next.version;
        let found = self.use_of(now.version).await?;
        if found.servers == 0 {
            return Ok(());
        }
        let why = match overlaps(now, next) {
            true if found.behind.is_empty() => return Ok(()),
            true => format!(
                "version {version} drops the directive key {key}, which may be the only one that \
                 some servers believe: {found}. Wait for them, retire those that do not come \
                 back, or force it"
            ),
            false => format!(
                "version {version} drops the directive key {key} and names none that servers \
                 believe now; set a version with both keys first, or force it"
            ),
        };
        Err(ControlError::Refused(why))
    }

    fn parse_trust(&self, envelope: &Envelope, least: u64) -> Result<Trusted, ControlError> {
        let bytes = serde_json::to_vec(envelope).expect("an envelope is always JSON");
        Ok(Trusted::parse(&bytes, self.setup.root_key, &self.setup.pool, least)?)
    }
}
