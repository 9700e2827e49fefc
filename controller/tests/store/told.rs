//! Whoever listens hears of every commit, those of other controllers too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use repave_controller::store::Changed;
use repave_controller::store::changes::{Changes, Expected, ServerDelete};
use repave_protocol::ServerId;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::fixture::{Database, document, event, id, on_both, run, server, servers, write};

on_both!(a_commit_is_told, a_failed_commit_is_not_told, a_large_commit_is_told_whole);

/// Far longer than a notification takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(30);

async fn next(news: &mut Receiver<Changed>) -> Changed {
    timeout(LONG, news.recv()).await.unwrap().unwrap()
}

async fn a_commit_is_told(database: Arc<Database>) {
    let store = database.open().await;
    let other = database.beside(&store).await;
    let (mut here, mut there) = (store.changes(), other.changes());
    write(&store, servers([server(1, None)])).await;
    let changes = Changes {
        servers: vec![server(2, None)],
        server_deletes: vec![ServerDelete { id: id(1), expected: Expected::Any }],
        documents: ["b", "a", "b"].iter().zip(["x", "y", "z"]).map(paper).collect(),
        events: vec![event("a", 0), event("b", 0)],
        ..Changes::default()
    };
    let committed = write(&store, changes).await;
    for news in [&mut here, &mut there] {
        let none = Vec::new;
        let first = Changed::Rows { servers: vec![id(1)], document_kinds: none(), events_to: None };
        assert_eq!(next(news).await, first);
        let second = Changed::Rows {
            servers: vec![id(2), id(1)],
            document_kinds: vec!["a".into(), "b".into()],
            events_to: committed.events.as_ref().map(|events| *events.end()),
        };
        assert_eq!(next(news).await, second);
        assert!(news.is_empty());
    }
}

fn paper((kind, key): (&&str, &str)) -> repave_controller::store::changes::DocumentPut {
    document(kind, key, Expected::Any)
}

async fn a_failed_commit_is_not_told(database: Arc<Database>) {
    let store = database.open().await;
    let other = database.beside(&store).await;
    let mut news = other.changes();
    assert!(store.commit(servers([server(1, Some(5))])).await.is_err());
    write(&store, servers([server(2, None)])).await;
    let told = next(&mut news).await;
    assert!(matches!(told, Changed::Rows { servers, .. } if servers == [id(2)]));
}

async fn a_large_commit_is_told_whole(database: Arc<Database>) {
    let store = database.open().await;
    let other = database.beside(&store).await;
    let mut news = other.changes();
    write(&store, servers((0..500).map(|n| server(n, None)))).await;
    let mut told: BTreeSet<ServerId> = BTreeSet::new();
    while told.len() < 500 {
        match next(&mut news).await {
            Changed::Rows { servers, .. } => told.extend(servers),
            Changed::Anything => panic!("500 servers fit into pieces"),
        }
    }
    write(&store, servers((500..5_000).map(|n| server(n, None)))).await;
    match next(&mut news).await {
        Changed::Rows { servers, .. } => assert_eq!(servers.len(), 4_500),
        Changed::Anything => assert!(database.url.is_some()),
    }
}

#[test]
fn a_listener_that_lost_its_connection_says_so_and_hears_again() {
    run(Database::postgres(), async |database| {
        let store = database.open().await;
        let other = database.open().await;
        let mut news = other.changes();
        let mut admin = PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let killed: Vec<bool> = sqlx::query_scalar(kill).fetch_all(&mut admin).await.unwrap();
        assert_eq!(killed, [true, true]);
        assert_eq!(next(&mut news).await, Changed::Anything);
        write(&store, servers([server(1, None)])).await;
        let told = next(&mut news).await;
        assert!(matches!(told, Changed::Rows { servers, .. } if servers == [id(1)]));
    });
}
