//! The daemon: opens what there is, starts the engine, serves, and keeps the pool's house until it
//! is told to end. Everything that is done here is asked for in [`Options`].

mod chores;
mod library;
mod options;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use repave_protocol::Refusal;
use rustix::process::{Resource, getrlimit, setrlimit};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;
use tracing::{info, warn};

pub use options::{Command, Options, Run, initialise};

use crate::api::{self, App};
use crate::authority::{Authority, TrustError};
use crate::control::{Control, ControlError, Setup};
use crate::engine::Engine;
use crate::owner_only;
use crate::shelf::Shelf;
use crate::store;

/// A trust document that lies here at the start is taken, if it is newer than the one in force.
const TRUST: &str = "trust.json";
/// Where the first start leaves the token of the first admin.
const ADMIN_TOKEN: &str = "admin.token";
/// How often the certificate is made anew; it is good for three months.
const CERTIFICATE_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long connections may take to end once the daemon is told to.
const GRACE: Duration = Duration::from_secs(10);

/// A daemon that serves.
pub struct Running {
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The pool's operations.
    pub control: Arc<Control>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Tells it to end, and waits until it has.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.serving.await;
        self.control.store().close().await;
    }

    /// A switch that tells it to end.
    pub fn stopper(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }
}

/// Every server keeps a connection open: as many files as the system lets us have.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!("the limit on open files stays as it is: {error}");
    }
}

/// Starts everything. When it returns, the daemon can be connected to.
pub async fn start(run: &Run) -> Result<Running> {
    raise_file_limit();
    let state = &run.state;
    let authority = Authority::open_or_create(state, &run.names, OffsetDateTime::now_utc())?;
    let authority = Arc::new(authority);
    let store =
        store::open(run.database_url.as_deref(), state).await.context("opening the store")?;
    let setup = Setup {
        pool: run.pool.clone(),
        root_key: run.root_key,
        sources: run.sources(),
        open_enrolment: run.open_enrolment,
        power_commands: run.power_commands,
        wait_ms: run.wait_ms,
    };
    let shelf = Shelf::open(&run.library, &run.registry).context("opening the library")?;
    let control = Control::open(setup, shelf.clone(), store, Arc::clone(&authority)).await?;
    take_trust(&control, state.join(TRUST)).await?;
    warn_of_lost_keys(&control).await?;
    if let Some(first) = control.first_token().await? {
        let path = state.join(ADMIN_TOKEN);
        owner_only::write(&path, &format!("{}\n", first.token))
            .with_context(|| format!("cannot write {}", path.display()))?;
        info!(path = %path.display(), "first admin token written");
    }
    let engine =
        Engine::start(Arc::clone(control.store()), Arc::clone(&control) as _, control.terms());
    let poll = Duration::from_millis(run.poll_ms);
    let listener = bind(run.listen).await?;
    let address = listener.local_addr().context("looking at the listening socket")?;
    let (stop, stopped) = watch::channel(false);
    let app = App::new(Arc::clone(&control), engine, poll, run.rate_per_s, stopped.clone());
    let tls = watch::Sender::new(authority.tls(OffsetDateTime::now_utc())?);
    tokio::spawn(renew(Arc::clone(&authority), tls.clone(), stopped.clone()));
    let blobs = match run.blob_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    if let Some(remote) = shelf.remote() {
        library::look(Arc::clone(&remote)).await;
        tokio::spawn(library::run(remote, stopped.clone()));
    }
    tokio::spawn(chores::run(Arc::clone(&control), run.chores(), stopped.clone()));
    let routes = api::router(app, &shelf);
    let plain = blobs.map(|listener| {
        let routes = api::blobs::routes(&shelf);
        tokio::spawn(serve::plain(listener, routes, stopped.clone()))
    });
    let serving = tokio::spawn(async move {
        serve::tls(listener, tls.subscribe(), routes, stopped).await;
        if let Some(plain) = plain {
            let _ = plain.await;
        }
    });
    info!(%address, pool = %run.pool, "listening");
    Ok(Running { address, control, stop, serving })
}

/// Returns once the daemon is told to end.
async fn told_to_end(stopped: &mut watch::Receiver<bool>) {
    // An error says that whoever could tell is gone, which is the end, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Takes the trust document of the state folder, so that a first start needs no token.
async fn take_trust(control: &Control, path: PathBuf) -> Result<()> {
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(_) if control.trusted().is_some() => return Ok(()),
        Err(_) => {
            warn!("there is no trust document yet; servers cannot believe this controller");
            return Ok(());
        }
    };
    let known = control.trusted().map(|trusted| trusted.envelope.clone());
    if known.is_some() && known == serde_json::from_slice(&bytes).ok() {
        return Ok(());
    }
    match control.set_trust(&bytes, false, TRUST).await {
        Ok(trusted) => info!(version = trusted.document.version, "trust document taken"),
        // What was set since is newer than what lay here at the first start: all is well.
        Err(ControlError::Trust(TrustError::Refused(Refusal::Rollback {
            found, least, ..
        }))) => {
            info!("{} holds version {found}; {least} is in force", path.display());
        }
        Err(error) if known.is_some() => warn!("{}: {error}", path.display()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    Ok(())
}

/// Says so if a directive key that servers still go by is not here: whoever goes by an older trust
/// document may believe no other, and can then be told nothing.
async fn warn_of_lost_keys(control: &Control) -> Result<()> {
    let Some(trusted) = control.trusted() else { return Ok(()) };
    let own = control.authority().directive_keys();
    let lost = trusted.document.directive_keys.iter().find(|key| !own.contains(key));
    if let Some(key) = lost {
        let found = control.trust_use().await?;
        if !found.behind.is_empty() {
            warn!("directive key {key} is not here, which some servers may need: {found}");
        }
    }
    Ok(())
}

/// Makes the certificate anew long before it ends.
async fn renew(
    authority: Arc<Authority>,
    tls: watch::Sender<Arc<ServerConfig>>,
    mut stopped: watch::Receiver<bool>,
) {
    while tokio::time::timeout(CERTIFICATE_AGE, stopped.changed()).await.is_err() {
        match authority.tls(OffsetDateTime::now_utc()) {
            Ok(fresh) => drop(tls.send_replace(fresh)),
            Err(error) => warn!("the certificate was not renewed: {error}"),
        }
    }
}
