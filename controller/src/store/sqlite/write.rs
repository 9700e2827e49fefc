//! One commit in SQLite: a handful of statements, however many rows. Rows go in as one JSON array
//! that `json_each` takes apart again. `BEGIN IMMEDIATE` admits one writer, so what was checked at
//! the beginning is so until the end.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde::Serialize;
use sqlx::Transaction;
use sqlx::sqlite::{Sqlite, SqliteConnection, SqlitePool};

use crate::store::changes::{Changes, Committed, Expected, Key};
use crate::store::check;
use crate::store::error::StoreError;
use crate::store::place::Place;

const DOING: &str = "commit";

type Open = (Transaction<'static, Sqlite>, Committed);

pub(super) async fn commit(
    pool: &SqlitePool,
    place: &Place,
    changes: &Changes,
    touched: &[(Key, Expected)],
) -> Result<Committed, StoreError> {
    let (transaction, committed) = place.call(DOING, prepare(pool, changes, touched)).await??;
    // The driver's thread does this whether we wait or not, so it is waited for without a limit:
    // an answer that was given up could be either.
    transaction.commit().await.map_err(|source| place.failed(DOING, source))?;
    Ok(committed)
}

/// Everything but the last word. The inner error is a conflict; then all of it is undone.
async fn prepare(
    pool: &SqlitePool,
    changes: &Changes,
    touched: &[(Key, Expected)],
) -> Result<Result<Open, StoreError>, sqlx::Error> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found = found(&mut transaction, touched).await?;
    if let Err(conflict) = check::revisions(touched, &found) {
        transaction.rollback().await?;
        return Ok(Err(conflict));
    }
    let committed = write(&mut transaction, changes).await?;
    Ok(Ok((transaction, committed)))
}

/// Text, numbers and lists of them always have a JSON form.
pub(super) fn json<T: Serialize + ?Sized>(rows: &T) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}

async fn found(
    connection: &mut SqliteConnection,
    touched: &[(Key, Expected)],
) -> Result<HashMap<Key, i64>, sqlx::Error> {
    let mut servers = Vec::new();
    let mut documents = Vec::new();
    for (key, _) in touched {
        match key {
            Key::Server(id) => servers.push(id),
            Key::Document { kind, key } => documents.push((kind, key)),
        }
    }
    let mut found = HashMap::with_capacity(touched.len());
    if !servers.is_empty() {
        let sql = "SELECT id, revision FROM servers WHERE id IN (SELECT value FROM json_each(?1))";
        let query = sqlx::query_as::<_, (String, i64)>(sql).bind(json(&servers));
        for (id, revision) in query.fetch_all(&mut *connection).await? {
            let id = id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            found.insert(Key::Server(id), revision);
        }
    }
    if !documents.is_empty() {
        let sql = "SELECT documents.kind, documents.key, revision FROM json_each(?1) AS wanted \
                   JOIN documents ON documents.kind = wanted.value ->> 0 \
                   AND documents.key = wanted.value ->> 1";
        let query = sqlx::query_as::<_, (String, String, i64)>(sql).bind(json(&documents));
        for (kind, key, revision) in query.fetch_all(connection).await? {
            found.insert(Key::Document { kind, key }, revision);
        }
    }
    Ok(found)
}

async fn write(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<Committed, sqlx::Error> {
    let sql = "UPDATE commits SET revision = revision + 1 RETURNING revision";
    let revision: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    servers(connection, changes, revision).await?;
    documents(connection, changes, revision).await?;
    let events = events(connection, changes).await?;
    Ok(Committed { revision, events })
}

async fn servers(
    connection: &mut SqliteConnection,
    changes: &Changes,
    revision: i64,
) -> Result<(), sqlx::Error> {
    if !changes.servers.is_empty() {
        let put = changes
            .servers
            .iter()
            .map(|put| (put.id, &put.standing, put.server_type.as_ref(), put.seen_at_ms, &put.doc));
        // WHERE true: without it SQLite's parser takes ON for that of a join.
        let sql = "INSERT INTO servers (id, revision, standing, server_type, seen_at_ms, doc) \
                   SELECT value ->> 0, ?2, value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
                   FROM json_each(?1) WHERE true \
                   ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, \
                   standing = excluded.standing, server_type = excluded.server_type, \
                   seen_at_ms = excluded.seen_at_ms, doc = excluded.doc";
        let rows = json(&put.collect::<Vec<_>>());
        sqlx::query(sql).bind(rows).bind(revision).execute(&mut *connection).await?;
    }
    if !changes.server_deletes.is_empty() {
        let ids = changes.server_deletes.iter().map(|gone| gone.id).collect::<Vec<_>>();
        let sql = "DELETE FROM servers WHERE id IN (SELECT value FROM json_each(?1))";
        sqlx::query(sql).bind(json(&ids)).execute(connection).await?;
    }
    Ok(())
}

async fn documents(
    connection: &mut SqliteConnection,
    changes: &Changes,
    revision: i64,
) -> Result<(), sqlx::Error> {
    if !changes.documents.is_empty() {
        let put = changes.documents.iter();
        let put = put.map(|put| (&put.kind, &put.key, put.expires_at_ms, &put.doc));
        let sql = "INSERT INTO documents (kind, key, revision, expires_at_ms, doc) \
                   SELECT value ->> 0, value ->> 1, ?2, value ->> 2, value ->> 3 \
                   FROM json_each(?1) WHERE true \
                   ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision, \
                   expires_at_ms = excluded.expires_at_ms, doc = excluded.doc";
        let rows = json(&put.collect::<Vec<_>>());
        sqlx::query(sql).bind(rows).bind(revision).execute(&mut *connection).await?;
    }
    if !changes.document_deletes.is_empty() {
        let gone = changes.document_deletes.iter().map(|gone| (&gone.kind, &gone.key));
        let sql = "DELETE FROM documents WHERE (kind, key) IN \
                   (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
        let rows = json(&gone.collect::<Vec<_>>());
        sqlx::query(sql).bind(rows).execute(connection).await?;
    }
    Ok(())
}

async fn events(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<Option<RangeInclusive<i64>>, sqlx::Error> {
    let Some(further) = changes.events.len().checked_sub(1) else { return Ok(None) };
    let put = changes
        .events
        .iter()
        .map(|event| (event.at_ms, event.server, &event.kind, event.actor.as_ref(), &event.doc));
    let sql = "INSERT INTO events (at_ms, server, kind, actor, doc) \
               SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 \
               FROM json_each(?1) ORDER BY json_each.key";
    let rows = json(&put.collect::<Vec<_>>());
    let last = sqlx::query(sql).bind(rows).execute(connection).await?.last_insert_rowid();
    Ok(Some(last - i64::try_from(further).unwrap_or(0)..=last))
}
