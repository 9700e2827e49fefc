//! The server's voice: every status it signs, with a fresh nonce and a sequence that never repeats
//! within a boot. What a status says of stages is taken from values that only reached stages make.

use repave_protocol::{
    Coverage, Inventory, LogTail, Nonce, PoolId, SealReport, ServerId, Side, SigningKey,
    SourceReport, Standing, Status, TrustDocument, WatchdogReport, seal,
};

use crate::edges::{Host, Link, Logs};
use crate::event::Event;
use crate::journal::Record;
use crate::mirrors::Mirrors;

/// Signs and numbers the statuses of one boot.
#[derive(Debug)]
pub struct Voice {
    pool: PoolId,
    key: SigningKey,
    boot: Nonce,
    side: Side,
    sequence: u64,
    trust: u64,
    join_token: Option<String>,
    watchdog: Option<WatchdogReport>,
    /// Sources that failed or lied since the present order came.
    bad_sources: Vec<SourceReport>,
}

impl Voice {
    /// The voice of this boot, of a server that goes by `trust`.
    pub fn new(
        trust: &TrustDocument,
        key: SigningKey,
        boot: Nonce,
        side: Side,
        join_token: Option<String>,
    ) -> Self {
        let (pool, trust) = (trust.pool.clone(), trust.version);
        let (watchdog, bad_sources) = (None, Vec::new());
        Self { pool, key, boot, side, sequence: 0, trust, join_token, watchdog, bad_sources }
    }

    /// From now on it goes by another trust document.
    pub(crate) const fn goes_by(&mut self, trust: &TrustDocument) {
        self.trust = trust.version;
    }

    /// What guards the server from now on.
    pub(crate) fn guarded_by(&mut self, watchdog: WatchdogReport) {
        self.watchdog = Some(watchdog);
    }

    /// Names the sources that turned out to be bad, from now on. A purposing that is tried again
    /// gives each another chance, and what it did in an earlier try is still said.
    pub(crate) fn names(&mut self, mirrors: &Mirrors) {
        for report in mirrors.reports() {
            match self.bad_sources.iter_mut().find(|known| known.source == report.source) {
                Some(known) => *known = report,
                None => self.bad_sources.push(report),
            }
        }
    }

    /// Another order came, whose sources may be others.
    pub(crate) fn forget_sources(&mut self) {
        self.bad_sources.clear();
    }

    /// Who speaks.
    pub fn server(&self) -> ServerId {
        ServerId::of(&self.key.public())
    }

    /// The pool it speaks in.
    pub(crate) const fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// A sealed status, and the nonce that its answer must repeat.
    pub fn status(
        &mut self,
        host: &mut dyn Host,
        record: &Record,
        standing: Standing,
        inventory: Option<Inventory>,
    ) -> (Nonce, Vec<u8>) {
        let nonce = Nonce::from_random(host.entropy());
        let is_failed = matches!(standing, Standing::Failed { .. });
        let bad_sources = match standing.may_name_sources() {
            true => self.bad_sources.clone(),
            false => Vec::new(),
        };
        let status = Status {
            crit: Vec::new(),
            pool: self.pool.clone(),
            server: self.server(),
            nonce,
            boot: self.boot,
            sequence: self.sequence,
            side: self.side,
            agent: env!("CARGO_PKG_VERSION").into(),
            generation: record.accepted.map(|accepted| accepted.generation),
            trust: Some(self.trust),
            seal: record.seal.as_ref().map(|seal| SealReport {
                generation: seal.generation,
                server_type: seal.server_type.clone(),
                image: seal.image.clone(),
                version: seal.version,
                manifest: seal.manifest,
                attempts: seal.attempts,
                alone: seal.alone,
            }),
            wiped: record.wiped.clone().filter(Coverage::is_within_limits),
            standing,
            log: is_failed.then(|| {
                let Logs { agent, kernel } = host.logs();
                LogTail::of(&agent, &kernel)
            }),
            bad_sources,
            uptime_ms: host.uptime_ms(),
            watchdog: self.watchdog.clone(),
            inventory,
            default_partition: host.default_partition(0),
            join_token: self.join_token.clone().filter(|_| record.accepted.is_none()),
        };
        host.saw(Event::told(self.sequence, &status.standing));
        self.sequence += 1;
        (nonce, seal(&status, &self.key))
    }

    /// Says something that needs no answer.
    pub fn tell(
        &mut self,
        link: &mut dyn Link,
        host: &mut dyn Host,
        record: &Record,
        standing: Standing,
    ) {
        let (_, bytes) = self.status(host, record, standing, None);
        link.tell(bytes);
    }
}
