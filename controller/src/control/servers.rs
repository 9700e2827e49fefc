//! Servers: finding them, and what operators do to one.

use std::collections::BTreeMap;

use repave_protocol::{DiskSelector, ServerId, Wipe};
use tracing::warn;

use super::{Control, ControlError, naming, operator};
use crate::clock;
use crate::fleet::{Event, FailureLog, LOG_KEPT_MS, Server, Wish};
use crate::records::{self, kind};
use crate::store::changes::Changes;
use crate::store::{ServerFilter, ServerRow};

/// Tries at a change that somebody else's spoils: a server that reports changes its record often.
const TRIES: u32 = 10;

/// A server, and the revision of its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The server.
    pub server: Server,
    /// Its record's revision.
    pub revision: i64,
}

/// How a server is wiped.
#[derive(Clone, Debug, Default)]
pub struct Wiping {
    /// The one disk; without it, all that are known to have held a target.
    pub disk: Option<DiskSelector>,
    /// Take the server out of the pool, too.
    pub retire: bool,
    /// Also if the policy guards its data.
    pub force: bool,
}

impl Wiping {
    fn detail(&self) -> String {
        let words = [
            self.disk.as_ref().map(|disk| format!("disk {disk:?}")),
            self.retire.then(|| "retired".into()),
            self.force.then(|| "forced".into()),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        words.join(", ")
    }
}

impl Kept {
    pub(super) fn of(row: &ServerRow) -> Result<Self, ControlError> {
        Ok(Self { server: records::server(row)?, revision: row.revision })
    }
}

impl Control {
    /// One server.
    pub async fn server(&self, id: ServerId) -> Result<Kept, ControlError> {
        let rows = self.store.servers(&[id]).await?;
        match rows.first() {
            Some(row) => Kept::of(row),
            None => Err(ControlError::NotFound { what: format!("server {id}") }),
        }
    }

    /// What a server's logs said when it last failed.
    pub async fn failure_log(&self, id: ServerId) -> Result<FailureLog, ControlError> {
        let kept = self.document(kind::FAILURE_LOG, &id.to_string()).await?;
        kept.map(|(log, _)| log).ok_or_else(|| {
            let days = LOG_KEPT_MS / (24 * 60 * 60 * 1000);
            let what = format!("log of server {id}, which told of no failure for {days} days");
            ControlError::NotFound { what }
        })
    }

    /// A page of servers. One whose record cannot be read is left out, and the log says so: the
    /// others must still be seen.
    pub async fn servers(
        &self,
        filter: &ServerFilter,
        after: Option<ServerId>,
        limit: usize,
    ) -> Result<Vec<Kept>, ControlError> {
        let mut after = after;
        let mut found = Vec::new();
        // Filled up, so that a short page is the last one whatever was left out.
        while found.len() < limit {
            let rows = self.store.list_servers(filter, after, limit - found.len()).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.id);
            let readable = |row: &ServerRow| {
                Kept::of(row).inspect_err(|error| warn!("server {}: {error}", row.id)).ok()
            };
            found.extend(rows.iter().filter_map(readable));
        }
        Ok(found)
    }

    /// The server that people mean by `text`: its id, the beginning of it, or its name.
    pub async fn find_server(&self, text: &str) -> Result<ServerId, ControlError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let fits = |server: &Server| {
            let by_id = text.len() >= 4 && server.id.to_string().starts_with(text);
            by_id || server.name.as_deref() == Some(text)
        };
        let known = self.snapshot().await?;
        let mut found: Vec<ServerId> =
            known.values().filter(|server| fits(server)).map(|server| server.id).collect();
        // A moment ago it may have been another's name.
        if let [one] = found[..]
            && !fits(&self.server(one).await?.server)
        {
            found.clear();
        }
        // It may have come, or got its name elsewhere, within this moment.
        if found.is_empty() {
            let mut all = BTreeMap::new();
            self.load_servers(&mut all).await?;
            found = all.values().filter(|server| fits(server)).map(|server| server.id).collect();
        }
        let what = format!("server {text:?}");
        match found.as_slice() {
            [] => Err(ControlError::NotFound { what }),
            [one] => Ok(*one),
            several => {
                let found = several.iter().take(3).map(ServerId::short).collect::<Vec<_>>();
                Err(ControlError::Ambiguous { what, found: found.join(", ") })
            }
        }
    }

    /// Changes one server's record. `change` may be called again if the record changed meanwhile,
    /// unless `expected` fixes the revision.
    pub async fn change_server(
        &self,
        id: ServerId,
        expected: Option<i64>,
        mut change: impl FnMut(&mut Server, u64) -> Result<Vec<Event>, ControlError>,
    ) -> Result<Kept, ControlError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut kept = self.server(id).await?;
            if expected.is_some_and(|expected| expected != kept.revision) {
                return Err(ControlError::Changed { what: format!("server {id}") });
            }
            let events = change(&mut kept.server, clock::now_ms())?;
            let put = records::put(&kept.server, Some(kept.revision));
            let changes = Changes { servers: vec![put], ..Changes::default() };
            match self.commit(changes, &events).await {
                Ok(()) => {
                    self.waiting.tell(&[id]);
                    return self.server(id).await;
                }
                Err(ControlError::Changed { .. }) if expected.is_none() && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An operator's change, on record with its name.
    async fn operate(
        &self,
        id: ServerId,
        expected: Option<i64>,
        (actor, action, detail): (&str, &str, Option<String>),
        mut change: impl FnMut(&mut Server, u64) -> Result<Vec<Event>, ControlError>,
    ) -> Result<Kept, ControlError> {
        self.change_server(id, expected, |server, now_ms| {
            let mut events = change(server, now_ms)?;
            let mut event = operator(actor, now_ms, action, "", detail.clone());
            event.server = Some(id);
            events.insert(0, event);
            Ok(events)
        })
        .await
    }

    /// Lets a server in, or back in.
    pub async fn approve(
        &self,
        id: ServerId,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        self.operate(id, expected, (actor, "server.approve", None), |server, now_ms| {
            Ok(server.approve(actor, now_ms).into_iter().collect())
        })
        .await
    }

    /// Rejects a pending server, or revokes an approved one.
    pub async fn expel(
        &self,
        id: ServerId,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        self.operate(id, expected, (actor, "server.expel", None), |server, now_ms| {
            Ok(server.expel(actor, now_ms).into_iter().collect())
        })
        .await
    }

    /// Keeps the balancer from a server, and says why, or lets it at it again.
    pub async fn cordon(
        &self,
        id: ServerId,
        expected: Option<i64>,
        (cordoned, note): (bool, Option<&str>),
        actor: &str,
    ) -> Result<Kept, ControlError> {
        naming::check_note(note)?;
        let action = if cordoned { "server.cordon" } else { "server.uncordon" };
        let note: Option<String> = note.map(Into::into);
        self.operate(id, expected, (actor, action, note.clone()), |server, _| {
            server.cordoned = cordoned;
            server.cordon_note = note.clone().filter(|_| cordoned);
            Ok(Vec::new())
        })
        .await
    }

    /// Says that a server is to be of one type and no other, or that it may be any again.
    pub async fn pin(
        &self,
        id: ServerId,
        expected: Option<i64>,
        (to, note): (Option<&str>, Option<&str>),
        actor: &str,
    ) -> Result<Kept, ControlError> {
        naming::check_note(note)?;
        if let Some(name) = to {
            self.declared(name)?;
        }
        let action = if to.is_some() { "server.pin" } else { "server.unpin" };
        let said = note.map(|note| format!(": {note}")).unwrap_or_default();
        let detail = to.map(|name| format!("{name}{said}"));
        self.operate(id, expected, (actor, action, detail), |server, _| {
            server.pinned = to.map(Into::into);
            server.pin_note = note.filter(|_| to.is_some()).map(Into::into);
            Ok(Vec::new())
        })
        .await
    }

    /// Takes a server's purpose away and keeps the balancer from giving it another.
    pub async fn drain(
        &self,
        id: ServerId,
        expected: Option<i64>,
        note: Option<&str>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        naming::check_note(note)?;
        let active = self.active();
        let note: Option<String> = note.map(Into::into);
        self.operate(id, expected, (actor, "server.drain", note.clone()), |server, now_ms| {
            let drain_ms = active.drain_ms(server.server_type());
            (server.cordoned, server.cordon_note) = (true, note.clone());
            let why = format!("{actor} drained it");
            Ok(vec![server.assign(Wish::Spare, &why, Some(actor), now_ms, drain_ms)])
        })
        .await
    }

    /// Takes a server out of the pool: it goes to default and stays there.
    pub async fn retire(
        &self,
        id: ServerId,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        self.operate(id, expected, (actor, "server.retire", None), |server, now_ms| {
            let why = format!("{actor} retired it");
            Ok(vec![server.assign(Wish::Retired, &why, Some(actor), now_ms, 0)])
        })
        .await
    }

    /// Wipes what a server was from its disks and keeps it in default. One whose type's data is
    /// guarded is wiped only if that is forced.
    pub async fn wipe(
        &self,
        id: ServerId,
        expected: Option<i64>,
        how: &Wiping,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        let active = self.active();
        let detail = Some(how.detail());
        self.operate(id, expected, (actor, "server.wipe", detail), |server, now_ms| {
            if !how.force && active.is_guarded(server) {
                let (title, kind) = (server.title(), server.server_type().unwrap_or_default());
                return Err(ControlError::Refused(format!(
                    "{title} has guarded data, being of type {kind:?}; force the wipe to lose it"
                )));
            }
            server.cordoned = true;
            let why = format!("{actor} wiped it");
            let wipe = Wipe { reason: why.clone(), disk: how.disk.clone() };
            let wish = Wish::Wiped { wipe, retired: how.retire };
            Ok(vec![server.assign(wish, &why, Some(actor), now_ms, 0)])
        })
        .await
    }

    /// Forgets what failed on a server, so that it is tried again.
    pub async fn clear(
        &self,
        id: ServerId,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        self.operate(id, expected, (actor, "server.clear", None), |server, _| {
            server.clear_failures();
            Ok(Vec::new())
        })
        .await
    }

    /// Gives a server a name and labels.
    pub async fn describe(
        &self,
        id: ServerId,
        expected: Option<i64>,
        (name, labels): (Option<String>, BTreeMap<String, String>),
        actor: &str,
    ) -> Result<Kept, ControlError> {
        naming::check(name.as_deref(), &labels)?;
        let detail = Some(format!("{name:?} {labels:?}"));
        self.operate(id, expected, (actor, "server.describe", detail), |server, _| {
            server.name = name.clone();
            server.labels = labels.clone();
            Ok(Vec::new())
        })
        .await
    }

    /// Lets `new` take over from `old`, whose machine it is: in one commit, so that never both or
    /// neither of them is the machine. `expected` is the revision of `new`.
    pub async fn rekey(
        &self,
        old: ServerId,
        new: ServerId,
        expected: Option<i64>,
        actor: &str,
    ) -> Result<Kept, ControlError> {
        if old == new {
            let why = format!("server {new} cannot take over from itself; name its old record");
            return Err(ControlError::Refused(why));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.rekey_once((old, new), expected, actor).await {
                Ok(()) => break,
                Err(ControlError::Changed { .. }) if expected.is_none() && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        self.waiting.tell(&[old, new]);
        self.server(new).await
    }

    async fn rekey_once(
        &self,
        (old, new): (ServerId, ServerId),
        expected: Option<i64>,
        actor: &str,
    ) -> Result<(), ControlError> {
        let (mut before, mut after) = (self.server(old).await?, self.server(new).await?);
        if expected.is_some_and(|expected| expected != after.revision) {
            return Err(ControlError::Changed { what: format!("server {new}") });
        }
        let now_ms = clock::now_ms();
        let mut event = operator(actor, now_ms, "server.rekey", &old.to_string(), None);
        event.server = Some(new);
        let mut events = vec![event];
        events.extend(after.server.succeed(&mut before.server, actor, now_ms));
        let servers = vec![
            records::put(&before.server, Some(before.revision)),
            records::put(&after.server, Some(after.revision)),
        ];
        self.commit(Changes { servers, ..Changes::default() }, &events).await
    }
}
