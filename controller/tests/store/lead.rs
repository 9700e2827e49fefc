//! One leads. Whoever lost the lead knows it, and another may have it.

use std::sync::Arc;

use repave_controller::store::{Lease, Store};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::fixture::{Database, on_both, run};

on_both!(one_of_all_leads);

async fn one_of_all_leads(database: Arc<Database>) {
    let store = database.open().await;
    let other = database.beside(&store).await;
    let mut lease = store.lead().await.unwrap().unwrap();
    assert!(store.lead().await.unwrap().is_none());
    assert!(other.lead().await.unwrap().is_none());
    assert!(lease.is_held().await);
    lease.release().await;
    let lease = until_leading(&other).await;
    assert!(store.lead().await.unwrap().is_none());
    drop(lease);
    until_leading(&store).await;
}

/// The server notices in its own time that a connection was closed.
async fn until_leading(store: &Arc<dyn Store>) -> Lease {
    loop {
        if let Some(lease) = store.lead().await.unwrap() {
            return lease;
        }
    }
}

#[test]
fn a_lease_ends_with_its_connection() {
    run(Database::postgres(), async |database| {
        let store = database.open().await;
        let mut lease = store.lead().await.unwrap().unwrap();
        assert!(lease.is_held().await);
        let mut admin = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database \
                    ON pg_locks.database = pg_database.oid WHERE locktype = 'advisory' \
                    AND datname = current_database()";
        let killed: Vec<bool> = sqlx::query_scalar(kill).fetch_all(&mut admin).await.unwrap();
        assert_eq!(killed, [true]);
        let mut next = until_leading(&database.open().await).await;
        assert!(!lease.is_held().await);
        assert!(!lease.is_held().await);
        lease.release().await;
        assert!(next.is_held().await);
    });
}
