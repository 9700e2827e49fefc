//! What a controller does without being asked. Every replica keeps its policy and trust fresh and
//! passes news on; the one that leads finds silent servers, balances, and throws old events away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use repave_protocol::ServerId;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::clock;
use crate::control::{Control, ControlError};
use crate::fleet::Server;
use crate::store::{Changed, Lease};

/// How often old events and documents are looked for.
const CLEANING: Duration = Duration::from_secs(600);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How the chores are done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Between two rounds of the balancer.
    pub(super) tick: Duration,
    /// How long events are kept.
    pub(super) keep_days: u64,
}

/// Until it is told to end.
pub(super) async fn run(control: Arc<Control>, plan: Plan, mut stopped: watch::Receiver<bool>) {
    let mut chores = Chores {
        changes: control.store().changes(),
        control,
        lease: None,
        servers: BTreeMap::new(),
        stale: Stale::Everything,
        said: BTreeSet::new(),
        cleaned: None,
        keep_days: plan.keep_days,
    };
    let mut ticks = interval(plan.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = super::told_to_end(&mut stopped) => break,
        }
        if let Err(error) = chores.round().await {
            warn!("round: {error}");
            chores.stale = Stale::Everything;
        }
    }
    if let Some(lease) = chores.lease {
        lease.release().await;
    }
}

/// Which of the servers in memory are not as they are in the store.
enum Stale {
    Everything,
    These(BTreeSet<ServerId>),
}

struct Chores {
    control: Arc<Control>,
    changes: broadcast::Receiver<Changed>,
    lease: Option<Lease>,
    servers: BTreeMap<ServerId, Server>,
    stale: Stale,
    /// What the balancer's notes were last time, so that each is put on record once.
    said: BTreeSet<String>,
    cleaned: Option<Instant>,
    keep_days: u64,
}

impl Chores {
    async fn round(&mut self) -> Result<(), ControlError> {
        let mut documents = false;
        while let Some(changed) = self.next_change() {
            documents |= self.take(changed);
        }
        if documents {
            self.control.refresh().await?;
        }
        if !self.leads().await? {
            return Ok(());
        }
        self.reload().await?;
        self.sweep().await?;
        let applied = self.control.carry_out(&self.servers, None).await?;
        let mut by_standing = BTreeMap::new();
        for server in self.servers.values() {
            *by_standing.entry(server.standing.name()).or_default() += 1;
        }
        self.control.metrics().pool(&by_standing, &applied.plan.wanted);
        self.say(&applied.plan.notes).await?;
        self.control.bring_home(&self.servers, applied.frozen).await?;
        self.clean().await
    }

    fn next_change(&mut self) -> Option<Changed> {
        match self.changes.try_recv() {
            Ok(changed) => Some(changed),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Changed::Anything),
            Err(_) => None,
        }
    }

    /// Takes news in; whether documents changed.
    fn take(&mut self, changed: Changed) -> bool {
        match changed {
            Changed::Anything => {
                self.stale = Stale::Everything;
                self.control.waiting().tell_all();
                true
            }
            Changed::Rows { servers, document_kinds, .. } => {
                // Whoever changes a record here tells its server's waiter himself.
                if self.control.store().is_shared() {
                    self.control.waiting().tell(&servers);
                }
                if let Stale::These(stale) = &mut self.stale {
                    stale.extend(servers);
                }
                !document_kinds.is_empty()
            }
        }
    }

    /// Whether this controller leads, now.
    async fn leads(&mut self) -> Result<bool, ControlError> {
        if let Some(lease) = &mut self.lease {
            if lease.is_held().await {
                return Ok(true);
            }
            warn!("another controller leads now");
            self.control.metrics().lead(false);
            self.lease = None;
        }
        self.lease = self.control.store().lead().await?;
        if self.lease.is_some() {
            info!("this controller leads");
            self.control.metrics().lead(true);
            self.stale = Stale::Everything;
        }
        Ok(self.lease.is_some())
    }

    async fn reload(&mut self) -> Result<(), ControlError> {
        match std::mem::replace(&mut self.stale, Stale::These(BTreeSet::new())) {
            Stale::Everything => self.control.load_servers(&mut self.servers).await,
            Stale::These(ids) if ids.is_empty() => Ok(()),
            Stale::These(ids) => {
                let ids: Vec<ServerId> = ids.into_iter().collect();
                self.control.reload_servers(&ids, &mut self.servers).await
            }
        }
    }

    /// Finds servers that are silent or late.
    async fn sweep(&mut self) -> Result<(), ControlError> {
        let now_ms = clock::now_ms();
        let found = self.control.overdue(&self.servers, now_ms);
        for id in &found {
            self.control.sweep(*id).await?;
        }
        self.control.reload_servers(&found, &mut self.servers).await
    }

    /// Puts new notes on record.
    async fn say(&mut self, notes: &[String]) -> Result<(), ControlError> {
        // A note that only counts down is the same note: figures do not make it new.
        let gist = |note: &String| note.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        for note in notes.iter().filter(|note| !self.said.contains(&gist(note))) {
            info!("balancer: {note}");
            self.control.note(note).await?;
        }
        self.said = notes.iter().map(gist).collect();
        Ok(())
    }

    async fn clean(&mut self) -> Result<(), ControlError> {
        if self.cleaned.is_some_and(|at| at.elapsed() < CLEANING) {
            return Ok(());
        }
        self.cleaned = Some(Instant::now());
        let now_ms = clock::now_ms();
        let before_ms = now_ms.saturating_sub(self.keep_days.saturating_mul(DAY_MS));
        let milliseconds = |at_ms| i64::try_from(at_ms).unwrap_or(i64::MAX);
        let store = self.control.store();
        store.prune_events(milliseconds(before_ms)).await?;
        store.expire_documents(milliseconds(now_ms)).await?;
        Ok(())
    }
}
