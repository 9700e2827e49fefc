//! A PostgreSQL server that is not there, does not let us in, or goes away and comes back.

use std::error::Error;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use repave_controller::store::{self, Changed, EventFilter, StoreError};

use crate::fixture::{Database, event, events, run, write};
use crate::postgres::{self, PASSWORD, Server};

/// Everything that an operator or a log could see of an error.
fn everything(error: &StoreError) -> String {
    let mut text = format!("{error}\n{error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}\n{cause}\n{cause:?}");
        source = cause.source();
    }
    text
}

#[test]
fn a_wrong_password_is_refused_and_not_shown() {
    run(Database::sqlite(), async |database| {
        let url = postgres::shared().url("wr0ng-secret", "postgres");
        let refused = store::open(Some(&url), database.folder()).await.err().unwrap();
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
        let seen = everything(&refused);
        assert!(seen.contains("password authentication failed"), "{seen}");
        assert!(!seen.contains("wr0ng-secret"), "{seen}");
        let url = postgres::shared().url(PASSWORD, "there_is_no_such_database");
        let refused = store::open(Some(&url), database.folder()).await.err().unwrap();
        let seen = everything(&refused);
        assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
        assert!(seen.contains("does not exist") && !seen.contains(PASSWORD), "{seen}");
    });
}

#[test]
fn a_server_that_is_down_is_named() {
    run(Database::sqlite(), async |database| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://repave:{PASSWORD}@127.0.0.1:{port}/repave");
        let down = store::open(Some(&url), database.folder()).await.err().unwrap();
        assert!(matches!(down, StoreError::Unavailable { .. }), "{down:?}");
        let seen = everything(&down);
        assert!(seen.contains(&format!("repave at 127.0.0.1:{port}")), "{seen}");
        assert!(!seen.contains(PASSWORD), "{seen}");
    });
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    run(Database::sqlite(), async |database| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://repave:{PASSWORD}@127.0.0.1:{port}/repave");
        let slow = store::open(Some(&url), database.folder()).await.err().unwrap();
        assert!(matches!(slow, StoreError::Slow { .. }), "{slow:?}");
        assert!(slow.is_passing());
    });
}

#[test]
fn after_a_restart_the_same_store_works_again() {
    run(Database::sqlite(), async |database| {
        let mut server = Server::start(true);
        let url = server.database();
        let store = store::open(Some(&url), database.folder()).await.unwrap();
        let mut lease = store.lead().await.unwrap().unwrap();
        let mut news = store.changes();
        let before = write(&store, events([event("before", 0)])).await;
        let told = news.recv().await.unwrap();
        assert_eq!(
            told,
            Changed::Rows {
                servers: vec![],
                document_kinds: vec![],
                events_to: before.events.as_ref().map(|events| *events.end()),
            }
        );

        server.stop();
        let began = Instant::now();
        let failed = store.commit(events([event("meanwhile", 0)])).await.unwrap_err();
        assert!(failed.is_passing(), "{failed:?}");
        assert!(!everything(&failed).contains(PASSWORD));
        assert!(store.events(&EventFilter::default(), 0, 10).await.unwrap_err().is_passing());
        assert!(store.lead().await.unwrap_err().is_passing());
        assert!(!lease.is_held().await);
        assert!(began.elapsed() < Duration::from_secs(60));

        server.start_again();
        let after = write(&store, events([event("after", 0)])).await;
        assert!(after.revision > before.revision);
        let rows = store.events(&EventFilter::default(), 0, 10).await.unwrap();
        let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["before", "after"]);
        while news.recv().await.unwrap() != Changed::Anything {}
        assert!(store.lead().await.unwrap().is_some());
    });
}
