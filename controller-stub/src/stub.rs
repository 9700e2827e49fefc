//! The handle a test holds: starts the stub in a thread of its own, tells it what to do, asks what
//! was said, and ends it when dropped.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use repave_protocol::{Envelope, Order, PoolId, ServerId};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, AuthorityError};
use crate::http;
use crate::library::Library;
use crate::oracle::{self, Violation};
use crate::pool::Pool;
use crate::record::{Event, Record};
use crate::scenario::{Answer, Fault, Scenario};
use crate::shared::Shared;
use crate::timeline::{TimelineEvent, timeline};

/// What a stub is started with.
#[derive(Debug)]
pub struct StubSpec {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Its keys and certificates; shared, so that a stub started later can go on with them.
    pub authority: Arc<Authority>,
    /// The pool that it controls.
    pub pool: PoolId,
    /// An OCI image layout to serve at `/library`.
    pub library: Option<PathBuf>,
    /// What it does.
    pub scenario: Scenario,
}

impl StubSpec {
    /// A stub on a free port of the loopback address, without a library and with everything quiet.
    pub fn new(authority: Arc<Authority>, pool: PoolId) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            authority,
            pool,
            library: None,
            scenario: Scenario::default(),
        }
    }
}

/// Why a stub did not start.
#[derive(Debug, Error)]
pub enum StubError {
    /// It cannot listen.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It has no thread to run in.
    #[error("cannot start the thread that serves")]
    Thread(#[source] io::Error),
    /// It has no certificate to show.
    #[error("cannot serve TLS")]
    Tls(#[source] AuthorityError),
}

/// What was waited for did not come.
#[derive(Clone, Debug, Error)]
#[error(
    "nothing of the kind within {limit:?}; {statuses} statuses were received, the last one {last}"
)]
pub struct WaitError {
    /// How long it was waited.
    pub limit: Duration,
    /// How many statuses there were.
    pub statuses: usize,
    /// The last status's standing.
    pub last: String,
}

/// A running stub.
pub struct Stub {
    shared: Arc<Shared>,
    authority: Arc<Authority>,
    address: SocketAddr,
    serving: Mutex<Option<Serving>>,
}

/// The thread that serves, and what ends it.
struct Serving {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Stub {
    /// Starts it. When this returns it can be connected to.
    pub fn start(spec: StubSpec) -> Result<Self, StubError> {
        let library = spec.library.as_deref().map(Library::new);
        let pool = Pool::new(spec.pool, spec.authority.clone(), spec.scenario);
        let shared = Arc::new(Shared::new(pool, library));
        let (address, serving) = serve(&spec.authority, spec.listen, &shared)?;
        Ok(Self { shared, authority: spec.authority, address, serving: Mutex::new(Some(serving)) })
    }

    /// Ends it as a crash does: every connection breaks, and there is nobody to connect to. What it
    /// knows, it knows again after [`Stub::start_again`], as a controller with a database does.
    pub fn stop(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Serving { stop, thread }) = serving {
            // It may have ended by itself; then there is nobody left to tell.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }

    /// Serves again, at the same address.
    pub fn start_again(&self) -> Result<(), StubError> {
        self.stop();
        let (_, serving) = serve(&self.authority, self.address, &self.shared)?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its keys and certificates.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its base URL, under the first name of its certificate: what `agent.json` calls a controller.
    pub fn url(&self) -> String {
        let port = self.address.port();
        let name = self.authority.names().first().map(String::as_str);
        match name.unwrap_or("localhost") {
            name if name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
                format!("https://[{name}]:{port}")
            }
            name => format!("https://{name}:{port}"),
        }
    }

    /// The base URL of its library: what a directive calls a source.
    pub fn library_url(&self) -> String {
        self.url() + "/library"
    }

    /// Lets a server in.
    pub fn approve(&self, server: ServerId) {
        self.shared.change(|pool| pool.server(server).approve(true));
    }

    /// Sets what a server should do, or what it should be: a purpose is followed by boots after
    /// power cycles. Setting the same purpose again has the target written again.
    pub fn set_order(&self, server: ServerId, order: Order) {
        self.shared.change(|pool| pool.server(server).wish(order));
    }

    /// Replaces what is left of a server's script.
    pub fn set_script(&self, server: ServerId, answers: Vec<Answer>) {
        self.shared.change(|pool| pool.server(server).script = answers.into());
    }

    /// Replaces all faults; their counts start anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.change(|pool| pool.set_faults(faults));
    }

    /// A trust document that travels along with each directive from now on.
    pub fn set_trust(&self, document: Option<Envelope>) {
        self.shared.change(|pool| pool.trust = document);
    }

    /// Tells when a server was powered on, for its timeline.
    pub fn mark_power_on(&self, server: ServerId, at: Instant) {
        let at_ms = self.shared.at_ms(at);
        self.shared.change(|pool| pool.power_ons.push((server, at_ms)));
    }

    /// Every server that reported, in the order of their first statuses.
    pub fn servers(&self) -> Vec<ServerId> {
        self.shared.read(Pool::arrivals)
    }

    /// Every status of every server.
    pub fn records(&self) -> Vec<Record> {
        self.shared.read(|pool| pool.records.clone())
    }

    /// Every status of one server.
    pub fn statuses(&self, server: ServerId) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.status.server == server);
        records
    }

    /// Everything that happened.
    pub fn events(&self) -> Vec<Event> {
        self.shared.read(|pool| pool.events.clone())
    }

    /// Blocks until there is a record that fits, and gives the first one. It looks at the whole
    /// history, so that nothing is missed; `limit` only guards against hanging.
    pub fn wait_for(
        &self,
        mut fits: impl FnMut(&Record) -> bool,
        limit: Duration,
    ) -> Result<Record, WaitError> {
        self.wait(limit, |pool| pool.records.iter().find(|record| fits(record)).cloned())
    }

    /// The same for anything that happened.
    pub fn wait_for_event(
        &self,
        mut fits: impl FnMut(&Event) -> bool,
        limit: Duration,
    ) -> Result<Event, WaitError> {
        self.wait(limit, |pool| pool.events.iter().find(|event| fits(event)).cloned())
    }

    /// What happened after the first `seen` events; blocks until there is something, at most for
    /// `limit`.
    pub fn events_after(&self, seen: usize, limit: Duration) -> Vec<Event> {
        let found = self.shared.wait(limit, |pool| {
            let news = pool.events.get(seen..)?;
            (!news.is_empty()).then(|| news.to_vec())
        });
        found.unwrap_or_default()
    }

    fn wait<R>(
        &self,
        limit: Duration,
        look: impl FnMut(&Pool) -> Option<R>,
    ) -> Result<R, WaitError> {
        let nothing = |pool: &Pool| WaitError {
            limit,
            statuses: pool.records.len(),
            last: pool
                .records
                .last()
                .map_or_else(|| "none".into(), |record| format!("{:?}", record.status.standing)),
        };
        let found = self.shared.wait(limit, look);
        found.ok_or_else(|| self.shared.read(nothing))
    }

    /// What servers said that they cannot have.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.read(|pool| oracle::check(&pool.records))
    }

    /// When a server reached what.
    pub fn timeline(&self, server: ServerId) -> Vec<TimelineEvent> {
        self.shared.read(|pool| timeline(&pool.records, &pool.power_ons, server))
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves in a thread of its own; gives the address, which a port 0 leaves open.
fn serve(
    authority: &Authority,
    listen: SocketAddr,
    shared: &Arc<Shared>,
) -> Result<(SocketAddr, Serving), StubError> {
    let listen_failed = |source| StubError::Listen { address: listen, source };
    let tls = authority.tls().map_err(StubError::Tls)?;
    let listener = TcpListener::bind(listen).map_err(listen_failed)?;
    listener.set_nonblocking(true).map_err(listen_failed)?;
    let address = listener.local_addr().map_err(listen_failed)?;
    // One thread: answers stay in the order of their statuses, and a test in its own hands.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StubError::Thread)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(listen_failed)?
    };
    let (stop, stopped) = oneshot::channel();
    let shared = shared.clone();
    let serve = move || {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        runtime.spawn(http::serve(listener, acceptor, shared));
        // Told to stop, or left alone: either way the runtime ends, and every connection with it.
        let _ = runtime.block_on(stopped);
    };
    let thread = std::thread::Builder::new()
        .name("controller-stub".into())
        .spawn(serve)
        .map_err(StubError::Thread)?;
    Ok((address, Serving { stop, thread }))
}
