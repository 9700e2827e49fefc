//! From what the controller knows to HTML. Pure: the time is an argument. Whatever servers and
//! people said of themselves is escaped by the template engine, which escapes all there is; a name
//! that a template has and the context has not is an error.

use std::cmp::Reverse;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};
use repave_protocol::{Guard, Load, Stage};
use serde::Serialize;

use crate::clock;
use crate::control::{Active, Identity, Overview};
use crate::fleet::{Event, EventKind, LOG_KEPT_MS, Logged, Server, Standing};
use crate::policy::Milli;
use crate::views::{LogView, TypeView};

/// Servers that are shown; a page of more is no glance. Those that need somebody come first.
const SERVERS: usize = 500;

/// What the page is made of.
pub(super) struct Seen {
    pub(super) pool: String,
    pub(super) active: Arc<Active>,
    pub(super) leads: bool,
    pub(super) overview: Overview,
    /// Newest first.
    pub(super) events: Vec<Event>,
    pub(super) identity: Identity,
    pub(super) now_ms: u64,
}

/// A page that is not the pool's: the login form, or what went wrong.
#[derive(Debug, Serialize)]
pub(super) struct Entrance {
    pub(super) title: String,
    pub(super) fault: Option<String>,
    /// There is a form for a token.
    pub(super) form: bool,
    /// It is loaded again after a while.
    pub(super) refresh: bool,
}

/// The pool's page.
pub(super) fn pool(seen: &Seen) -> Result<String, Error> {
    render(include_str!("page.html"), Value::from(Serde(context(seen))))
}

/// Any other page.
pub(super) fn entrance(entrance: &Entrance) -> Result<String, Error> {
    render(include_str!("entrance.html"), Value::from(Serde(entrance)))
}

/// The page of a failure's log.
pub(super) fn log(view: &LogView) -> Result<String, Error> {
    render(include_str!("log.html"), Value::from(Serde(view)))
}

fn render(template: &str, context: Value) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.template_from_str(template)?.render(context)
}

#[derive(Serialize)]
struct Context {
    pool: String,
    now: String,
    who: String,
    role: &'static str,
    paused: bool,
    leads: bool,
    frozen: bool,
    revision: Option<i64>,
    notes: Vec<String>,
    types: Vec<TypeRow>,
    servers: Vec<ServerRow>,
    /// All of them, shown or not.
    server_count: usize,
    events: Vec<EventRow>,
}

#[derive(Serialize)]
struct TypeRow {
    name: String,
    image: String,
    wanted: u32,
    have: u32,
    up: u32,
    /// Where the bar ends.
    most: u32,
    load: Option<Share>,
}

/// A share, as a bar and in words.
#[derive(Serialize)]
struct Share {
    milli: u64,
    text: String,
}

#[derive(Serialize)]
struct ServerRow {
    name: Option<String>,
    id: String,
    serial: Option<String>,
    labels: Vec<String>,
    server_type: Option<String>,
    image: Option<String>,
    standing: &'static str,
    tone: &'static str,
    progress: Option<Progress>,
    load: Option<Share>,
    seen_at: String,
    seen: String,
    remarks: Vec<String>,
    /// What guards it against hanging, in few words.
    guard: Option<String>,
    log: Option<LogLink>,
}

/// Where the log of the last failure is.
#[derive(Serialize)]
struct LogLink {
    /// The whole id.
    id: String,
    age: String,
}

#[derive(Serialize)]
struct Progress {
    stage: Stage,
    percent: u8,
    rate: Option<String>,
}

#[derive(Serialize)]
struct EventRow {
    at: String,
    /// The same as people read it.
    shown: String,
    about: String,
    what: String,
    why: String,
}

fn context(seen: &Seen) -> Context {
    let Overview { types, servers, notes, frozen } = &seen.overview;
    let mut sorted: Vec<&Server> = servers.values().collect();
    sorted.sort_by_cached_key(|server| {
        let tone = Tone::of(&server.standing);
        (tone, server.server_type().map(str::to_owned), server.title(), server.id)
    });
    Context {
        pool: seen.pool.clone(),
        now: clock::to_text(seen.now_ms),
        who: seen.identity.name.clone(),
        role: seen.identity.role.name(),
        paused: seen.active.paused,
        leads: seen.leads,
        frozen: *frozen,
        revision: seen.active.revision,
        notes: notes.clone(),
        types: types.iter().map(type_row).collect(),
        servers: sorted.into_iter().take(SERVERS).map(|one| server_row(one, seen.now_ms)).collect(),
        server_count: servers.len(),
        events: seen.events.iter().map(|event| event_row(event, &seen.overview)).collect(),
    }
}

fn type_row(view: &TypeView) -> TypeRow {
    let version = view.version.map(|version| format!(" ({version})")).unwrap_or_default();
    TypeRow {
        name: view.name.clone(),
        image: format!("{}{version}", view.image),
        wanted: view.wanted,
        have: view.have,
        up: view.up,
        most: view.wanted.max(view.have).max(1),
        load: view.load_milli.map(|milli| share(milli.into())),
    }
}

fn share(milli: u64) -> Share {
    let whole = u32::try_from(milli).unwrap_or(u32::MAX);
    Share { milli: milli.min(1000), text: Milli(whole / 10 * 10).to_string() }
}

/// How a standing looks, and which come first: what needs somebody, what moves, the rest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    Bad,
    Busy,
    Good,
    Plain,
}

impl Tone {
    const fn of(standing: &Standing) -> Self {
        match standing {
            Standing::Silent
            | Standing::Failed { .. }
            | Standing::Quarantined { .. }
            | Standing::Suspended { .. } => Self::Bad,
            Standing::Pending
            | Standing::Purposing { .. }
            | Standing::Booting
            | Standing::Wiping { .. }
            | Standing::Draining
            | Standing::Returning => Self::Busy,
            Standing::Up => Self::Good,
            Standing::Idle | Standing::Staying | Standing::Wiped | Standing::Retired => Self::Plain,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Busy => "busy",
            Self::Good => "good",
            Self::Plain => "plain",
        }
    }
}

fn server_row(server: &Server, now_ms: u64) -> ServerRow {
    let seal = server.seen.seal.as_ref();
    let progress = match server.standing {
        Standing::Purposing { stage, percent, bytes_per_s } => {
            let rate = format!("{:.0} MB/s", bytes_per_s as f64 / 1e6);
            Some(Progress { stage, percent, rate: (bytes_per_s > 0).then_some(rate) })
        }
        _ => None,
    };
    // What a silent server said of itself is old; one in default says nothing of its load.
    let is_told = server.seen.load != Load::default() && server.standing != Standing::Silent;
    let load = is_told.then_some(server.seen.load);
    ServerRow {
        name: server.name.clone(),
        id: server.id.short(),
        serial: server.facts.serial.clone(),
        labels: server.labels.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        server_type: server.server_type().map(Into::into),
        image: seal.map(|seal| format!("{}:{}", seal.image, seal.version)),
        standing: server.standing.name(),
        tone: Tone::of(&server.standing).name(),
        progress,
        load: load.map(|load| share(load.busy_milli)),
        seen_at: clock::to_text(server.seen.at_ms),
        seen: clock::age(server.seen.at_ms, now_ms),
        remarks: remarks(server),
        guard: server.seen.watchdog.as_ref().map(|report| match &report.guard {
            Guard::Armed { timeout_s, .. } => format!("watchdog {timeout_s} s"),
            Guard::NotArmed { .. } => "no watchdog".into(),
        }),
        log: server.logged.as_ref().filter(|logged| is_kept(logged, now_ms)).map(|logged| {
            LogLink { id: server.id.to_string(), age: clock::age(logged.at_ms, now_ms) }
        }),
    }
}

const fn is_kept(logged: &Logged, now_ms: u64) -> bool {
    now_ms.saturating_sub(logged.at_ms) < LOG_KEPT_MS
}

/// What is out of the ordinary, most urgent first.
fn remarks(server: &Server) -> Vec<String> {
    let mut remarks = Vec::new();
    match &server.standing {
        Standing::Failed { code, message } => remarks.push(format!("{code}: {message}")),
        Standing::Quarantined { code } => remarks.push(code.clone()),
        Standing::Suspended { reason } => remarks.push(reason.clone()),
        _ => {}
    }
    if server.seen.watchdog.as_ref().is_some_and(|report| report.expired) {
        remarks.push("reset by its watchdog".into());
    }
    let mut failures: Vec<_> = server.failures.values().collect();
    failures.sort_by_key(|one| Reverse(one.last_ms));
    remarks.extend(failures.iter().map(|one| {
        let end = if one.quarantined { ", quarantined" } else { "" };
        format!("{}:{} failed {} × ({}){end}", one.image, one.version, one.count, one.code)
    }));
    remarks.extend(server.hands());
    remarks
}

fn event_row(event: &Event, overview: &Overview) -> EventRow {
    let spare = |name: &Option<String>| name.clone().unwrap_or_else(|| "spare".into());
    let by = || event.actor.as_ref().map(|actor| format!("by {actor}")).unwrap_or_default();
    let (what, why) = match &event.kind {
        EventKind::Decision { from, to, image, why } => {
            let image = image.as_ref().map(|image| format!(" ({image})")).unwrap_or_default();
            (format!("{} → {}{image}", spare(from), spare(to)), why.clone())
        }
        EventKind::Balancer { note } => ("note".into(), note.clone()),
        EventKind::Watchdog { note, .. } => ("watchdog".into(), note.clone()),
        EventKind::Source { note, .. } => ("source".into(), note.clone()),
        EventKind::Quarantine { image, code, count } => {
            (format!("{image} quarantined"), format!("failed {count} ×, the last {code}"))
        }
        EventKind::Operator { action, subject, detail } => {
            let parts = [Some(action), subject.as_ref(), detail.as_ref()];
            let words: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
            (words.join(" "), by())
        }
        other => (other.name().into(), by()),
    };
    let title = |id| overview.servers.get(&id).map_or_else(|| id.short(), Server::title);
    let about = event.server.map(title).unwrap_or_else(|| "pool".into());
    let at = clock::to_text(event.at_ms);
    let shown = at.trim_end_matches('Z').replace('T', " ");
    EventRow { at, shown, about, what, why }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
