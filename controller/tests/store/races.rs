//! The races of PostgreSQL, held open until all who take part in them have arrived. What chance
//! would have to bring about is brought about.

use std::sync::Arc;

use repave_controller::store::{EventFilter, Store, StoreError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinHandle;

use crate::fixture::{Database, event, events, id, run, server, servers, write};

const WRITERS: i64 = 6;

/// Another session, which stands in the way of the store's.
struct Bystander(PgConnection);

impl Bystander {
    async fn new(database: &Database) -> Self {
        Self(PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap())
    }

    async fn run(&mut self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&mut self.0).await.unwrap();
    }

    /// Sessions of this database that wait for a lock.
    async fn waiting(&mut self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        sqlx::query_scalar(sql).fetch_one(&mut self.0).await.unwrap()
    }

    async fn until_waiting(&mut self, sessions: i64) {
        while self.waiting().await != sessions {
            tokio::task::yield_now().await;
        }
    }
}

/// One draws its sequences first and commits last: nobody may read the other's before.
#[test]
fn an_event_does_not_appear_below_one_that_was_read() {
    run(Database::postgres(), async |database| {
        let store = database.open().await;
        let mut bystander = Bystander::new(&database).await;
        bystander
            .run(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END'; \
                 CREATE TRIGGER dawdle AFTER INSERT ON events FOR EACH ROW \
                 WHEN (new.kind = 'slow') EXECUTE FUNCTION dawdle(); \
                 SELECT pg_advisory_lock(42)",
            )
            .await;
        let slow = commit(&store, "slow");
        bystander.until_waiting(1).await;
        let fast = commit(&store, "fast");
        // It waits, as it must, or it is through, as it must not.
        while !fast.is_finished() && bystander.waiting().await < 2 {
            tokio::task::yield_now().await;
        }
        let kinds = async |after| {
            let page = store.events(&EventFilter::default(), after, 10).await.unwrap();
            page.into_iter().map(|row| (row.sequence, row.kind)).collect::<Vec<_>>()
        };
        let mut read = kinds(0).await;
        bystander.run("SELECT pg_advisory_unlock(42)").await;
        slow.await.unwrap();
        fast.await.unwrap();
        read.extend(kinds(read.last().map_or(0, |(sequence, _)| *sequence)).await);
        let read: Vec<&str> = read.iter().map(|(_, kind)| kind.as_str()).collect();
        assert_eq!(read, ["slow", "fast"]);
    });
}

fn commit(store: &Arc<dyn Store>, kind: &'static str) -> JoinHandle<()> {
    let store = store.clone();
    tokio::spawn(async move {
        write(&store, events([event(kind, 0)])).await;
    })
}

#[test]
fn one_of_those_who_read_the_same_revision_wins() {
    run(Database::postgres(), async |database| {
        let store = database.open().await;
        let revision = write(&store, servers([server(1, None)])).await.revision;
        let hold = format!("BEGIN; SELECT FROM servers WHERE id = '{}' FOR SHARE", id(1));
        contest(&database, &store, Some(revision), &hold).await;
    });
}

#[test]
fn one_of_those_who_found_nothing_wins() {
    run(Database::postgres(), async |database| {
        let store = database.open().await;
        let hold = format!("BEGIN; INSERT INTO servers VALUES ('{}', 1, '', '', 1, '')", id(1));
        contest(&database, &store, None, &hold).await;
    });
}

async fn contest(database: &Database, store: &Arc<dyn Store>, read: Option<i64>, hold: &str) {
    let mut bystander = Bystander::new(database).await;
    bystander.run(hold).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(servers([server(1, read)])).await })
        })
        .collect();
    // Within a transaction a session sees the others as it saw them first; so another one looks.
    Bystander::new(database).await.until_waiting(WRITERS).await;
    bystander.run("ROLLBACK").await;
    let mut won = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(committed) => won.push(committed.revision),
            Err(StoreError::Conflict { found, .. }) => assert!(found.is_some()),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, [store.servers(&[id(1)]).await.unwrap()[0].revision]);
}
