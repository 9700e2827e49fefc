//! Hearing what other controllers committed. Notifications are lost with the connection, so every
//! new connection begins with "anything may have changed".

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

use crate::store::error::StoreError;
use crate::store::limits;
use crate::store::notice::Notice;
use crate::store::place::Place;
use crate::store::told::{Changed, Teller};

/// The name under which PostgreSQL passes notifications on, within one database.
pub(super) const CHANNEL: &str = "repave_store";

/// A connection that hears.
pub(super) struct Ear {
    options: PgConnectOptions,
    place: Place,
    listener: PgListener,
}

impl Ear {
    /// Returns when it hears: what is committed from then on is told.
    pub(super) async fn open(options: PgConnectOptions, place: Place) -> Result<Self, StoreError> {
        let listener = place.call("listen", listener(&options)).await?;
        Ok(Self { options, place, listener })
    }

    /// Passes on what it hears, for ever: whoever owns the task aborts it.
    pub(super) async fn listen(mut self, origin: i64, teller: Teller) {
        loop {
            let error = hear(&mut self.listener, origin, &teller).await;
            let place = &self.place;
            tracing::warn!(%place, %error, "notifications are interrupted; connecting anew");
            self.listener = self.listener_again().await;
            teller.tell(Changed::Anything);
        }
    }

    /// Tries until it succeeds. There is no bound: without the server nothing else goes on either,
    /// and the pauses end at a few seconds.
    async fn listener_again(&self) -> PgListener {
        let (mut pause, longest) = limits::LISTENER_PAUSE;
        loop {
            // Between half of it and all of it, so that controllers do not come all at once.
            sleep(pause / 2 + pause.mul_f64(f64::from(random_byte()) / 512.0)).await;
            match timeout(limits::CALL, listener(&self.options)).await {
                Ok(Ok(listener)) => return listener,
                Ok(Err(_)) | Err(_) => pause = longest.min(pause * 2),
            }
        }
    }
}

/// The standard library seeds its hash maps with random numbers; one byte of them is enough here.
fn random_byte() -> u8 {
    RandomState::new().hash_one(0).to_le_bytes()[0]
}

async fn listener(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(limits::ACQUIRE)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&own).await?;
    // A new connection is ours to make, so that what was missed meanwhile is told of.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes on what it hears until the connection is lost, and says why it is.
async fn hear(listener: &mut PgListener, origin: i64, teller: &Teller) -> sqlx::Error {
    loop {
        let heard = match timeout(limits::LISTENER_CHECK, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => Notice::read(notification.payload()),
            Ok(Ok(None)) => return sqlx::Error::PoolClosed,
            Ok(Err(error)) => return error,
            Err(_) => match is_there(listener, limits::LEASE_CHECK).await {
                Ok(()) => continue,
                Err(error) => return error,
            },
        };
        match heard {
            Some(notice) if notice.from == origin => {}
            Some(notice) => teller.tell(notice.into()),
            None => teller.tell(Changed::Anything),
        }
    }
}

/// A connection whose other end is gone without a word is silent like one without news.
async fn is_there(listener: &mut PgListener, limit: Duration) -> Result<(), sqlx::Error> {
    match timeout(limit, sqlx::query("SELECT 1").execute(listener)).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
